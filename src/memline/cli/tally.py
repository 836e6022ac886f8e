"""What `memline run` has seen: each jitted function, what became of its programs, as a page and as JSON."""

from __future__ import annotations

import resource
import threading
from dataclasses import asdict, dataclass, field
from typing import Any

from memline.units import format_bytes

VERSION = 1
_MOST_SMALL = 12
_MOST_LEFT = 3


@dataclass(frozen=True)
class Planned:
    """One signature of a function: what its program takes, and what was done to it. Sizes in bytes."""

    signature: tuple[str, ...]
    plain_bytes: int | None
    """The peak of the program as written, by memline's model."""
    planned_bytes: int | None
    compiled_bytes: int | None
    moves: tuple[str, ...]
    left_whole: tuple[str, ...]
    is_small: bool
    """Whether it is so far below the limit that it was compiled as `jax.jit` does."""


@dataclass
class Seen:
    """A jitted function of the script, by its name and its line."""

    name: str
    place: str
    planned: list[Planned] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    """Why a program was not planned: it went on with plain `jax.jit`, or stopped the script."""
    spliced: int = 0
    """How often it was called inside a transformation, such as an eager `jax.grad`, and planned there."""


class Tally:
    """Collects what is seen, from any thread. It keeps figures and texts, never a program or an array."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self._lock = threading.Lock()
        self._seen: dict[tuple[str, str], Seen] = {}

    @property
    def seen(self) -> tuple[Seen, ...]:
        return tuple(self._seen.values())

    def planned(self, name: str, place: str, planned: Planned) -> None:
        """Adds a planned program; one that is equal to another of that function is told once."""
        with self._lock:
            known = self._of(name, place).planned
            if planned not in known:
                known.append(planned)

    def refused(self, name: str, place: str, reason: str) -> None:
        """Adds why a program was not planned."""
        with self._lock:
            known = self._of(name, place).refused
            if reason not in known:
                known.append(reason)

    def spliced(self, name: str, place: str) -> None:
        """Counts a call inside a transformation."""
        with self._lock:
            self._of(name, place).spliced += 1

    def _of(self, name: str, place: str) -> Seen:
        return self._seen.setdefault((name, place), Seen(name, place))

    def to_dict(self) -> dict[str, Any]:
        """Returns the summary as values that JSON has."""
        return {
            "memline_run": VERSION,
            "limit_bytes": self.limit_bytes,
            "process_peak_bytes": process_peak_bytes(),
            "functions": [asdict(seen) for seen in self.seen],
        }

    def __str__(self) -> str:
        return _page(self)


def process_peak_bytes() -> int:
    """Returns the most resident memory that this process ever had: Python, JAX, compiling and all."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _page(tally: Tally) -> str:
    told, small = [], []
    for seen in tally.seen:
        is_small = all(p.is_small for p in seen.planned) and not seen.refused and not seen.spliced
        (small if is_small else told).append(seen)
    count = len(tally.seen)
    functions = f"{count} jitted function{'s' * (count != 1)}"
    lines = [f"memline run: {functions} under {format_bytes(tally.limit_bytes)}"]
    for seen in told:
        signatures = len(seen.planned)
        many = f", {signatures} signatures" if signatures > 1 else ""
        lines.append(f"  {seen.name} ({seen.place}){many}")
        for planned in seen.planned:
            lines.extend(f"    {line}" for line in _told(planned, with_types=signatures > 1))
        if seen.spliced:
            calls = "once" if seen.spliced == 1 else f"{seen.spliced} times"
            lines.append(f"    planned inside a transformation around it, {calls}")
        lines.extend(f"    not planned: {reason}" for reason in seen.refused)
    if small:
        names = [f"{seen.name} ({seen.place})" for seen in small[:_MOST_SMALL]]
        more = f" and {len(small) - _MOST_SMALL} more" if len(small) > _MOST_SMALL else ""
        lines.append(f"  {len(small)} far below the limit, left to plain jax.jit: {', '.join(names)}{more}")
    if not count:
        lines.append("  nothing was jitted, or nothing that was jitted was called")
    lines.append(f"  the process held {format_bytes(process_peak_bytes())} at most, with Python, JAX and its compiler")
    return "\n".join(lines)


def _told(planned: Planned, *, with_types: bool) -> list[str]:
    types = (
        f"({', '.join(planned.signature[:4])}{', ...' if len(planned.signature) > 4 else ''}) " if with_types else ""
    )
    figures = (
        f"{types}plain {_size(planned.plain_bytes)}, planned {_size(planned.planned_bytes)}, "
        f"compiled {_size(planned.compiled_bytes)}"
    )
    if planned.is_small:
        return [f"{figures}; far below the limit: plain jax.jit"]
    moves = f"{len(planned.moves)} move{'s' * (len(planned.moves) != 1)}" if planned.moves else "fits as it is"
    left = planned.left_whole
    more = [f"  and {len(left) - _MOST_LEFT} more left whole"] if len(left) > _MOST_LEFT else []
    return [
        f"{figures}; {moves}",
        *(f"  {move}" for move in planned.moves),
        *(f"  left whole: {reason}" for reason in left[:_MOST_LEFT]),
        *more,
    ]


def _size(n_bytes: int | None) -> str:
    return "-" if n_bytes is None else format_bytes(n_bytes)
