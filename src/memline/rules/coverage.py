"""What becomes of each primitive: split by a rule, inlined, opened for its body, or left whole, and why.

A primitive that JAX gains later is found here as `undecided`, and a test then fails.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from memline import compat
from memline.ir.trace import INLINED
from memline.rules import table

_ACROSS = "speaks with other devices: its axes are theirs"
_ORDER = "an effect: it has its place in the program"
_PLACE = "says where an array is kept"
_WHOLE = {
    "all_gather": _ACROSS,
    "all_to_all": _ACROSS,
    "axis_index": _ACROSS,
    "pmax": _ACROSS,
    "pmin": _ACROSS,
    "ppermute": _ACROSS,
    "psum": _ACROSS,
    "ragged_all_to_all": _ACROSS,
    "after_all": _ORDER,
    "create_token": _ORDER,
    "get": _ORDER,
    "swap": _ORDER,
    "device_put": _PLACE,
    "sharding_constraint": _PLACE,
    "stage": _PLACE,
    "approx_top_k": "its answer depends on how much it sees at once",
    "dce_sink": "keeps what would be dropped",
    "empty2": "an array that nobody has written yet",
    "rng_bit_generator": "draws from a state that each call moves on",
    "rng_uniform": "draws from a state that nobody holds",
}

_OPENED = {
    "scan": "splits pass through it, or run along its steps; its body is planned",
    "while": "splits pass through it where its test does not fold their axis; what it runs is planned",
    "cond": "splits pass through it where they pass through every branch; its branches are planned",
}

_FATES = ("split", "inlined", "opened", "whole", "undecided")


@dataclass(frozen=True)
class Coverage:
    """What becomes of one primitive."""

    primitive: str
    fate: str
    """``split``, ``inlined``, ``opened``, ``whole`` or ``undecided``."""
    why: str = ""


def coverage() -> tuple[Coverage, ...]:
    """Returns what becomes of each primitive that this JAX exports or memline has a rule for, sorted by name.

    >>> [entry.fate for entry in coverage() if entry.primitive in ("dot_general", "jit", "psum")]
    ['split', 'inlined', 'whole']
    """
    return tuple(_fate(name, primitive) for name, primitive in sorted(_primitives().items()))


def coverage_text() -> str:
    """Returns the coverage as a table."""
    entries = coverage()
    width = max(len(entry.primitive) for entry in entries)
    lines = [f"{entry.primitive:<{width}}  {entry.fate:<9}  {entry.why}".rstrip() for entry in entries]
    counts = {fate: sum(entry.fate == fate for entry in entries) for fate in _FATES}
    total = ", ".join(f"{count} {fate}" for fate, count in counts.items())
    return "\n".join([*lines, "", f"{len(entries)} primitives: {total}"])


def _primitives() -> dict[str, Any]:
    return {**{p.name: p for p in table.registered_primitives()}, **compat.exported_primitives()}


def _fate(name: str, primitive: Any) -> Coverage:
    if table.has_axes_rule(primitive):
        return Coverage(name, "split")
    if name in INLINED or name == "custom_linear_solve":
        return Coverage(name, "inlined", "what it calls is planned in its place")
    if name in _OPENED:
        return Coverage(name, "opened", _OPENED[name])
    if name in _WHOLE:
        return Coverage(name, "whole", _WHOLE[name])
    return Coverage(name, "undecided")
