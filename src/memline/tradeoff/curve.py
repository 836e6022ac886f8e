"""The curve as a value: points with their figures and plans, as a table and as JSON."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, fields
from typing import Any

from memline.errors import PlanError
from memline.plan.plan import Plan
from memline.plan.record import read_record
from memline.units import format_bytes, format_seconds

VERSION = 1
NEAR_FASTEST = 1.05
"""A point within this factor of the fastest is as good as the fastest."""


@dataclass(frozen=True)
class Point:
    """What a program costs under one limit. Sizes in bytes, times in seconds of one call."""

    limit_bytes: int
    """The smallest limit that was asked for and got this plan."""
    compiled_peak_bytes: int
    estimated_seconds: float
    plan: Plan
    measured_seconds: float | None = None
    """The median over calls in fresh processes; None where nothing was measured, or a call would take minutes."""
    measured_peak_bytes: int | None = None
    """By how much a call raised the peak memory of a fresh process: temporaries and results."""

    @property
    def seconds(self) -> float:
        """The measured time, or else the estimated one."""
        return self.estimated_seconds if self.measured_seconds is None else self.measured_seconds


@dataclass(frozen=True)
class Curve:
    """The trade of memory against time. Made by `memline.curve`; prints as a table.

    Attributes:
      points: from the smallest limit that a plan was found for upwards. More memory never costs more time: what fits a
        small limit fits a larger one, so a plan that needs more and is not faster is no point of the curve.
      plain: the program as it was written, as plain `jax.jit` compiles it but for library calls whose memory no account
        shows.
      tried: every plan that was compiled, those that are no points and that of `plain` among them, by compiled peak.
    """

    points: tuple[Point, ...]
    plain: Point
    tried: tuple[Point, ...]

    @property
    def recommended(self) -> Point:
        """The point of the smallest limit whose time is within 5% of the fastest."""
        enough = NEAR_FASTEST * min(point.seconds for point in self.points)
        return next(point for point in self.points if point.seconds <= enough)

    def to_json(self) -> str:
        """Returns the curve as JSON text, versioned; `Curve.from_json` reads it back equal."""
        data: dict[str, Any] = {"memline_curve": VERSION, "plain": _point_data(self.plain)}
        for name in ("points", "tried"):
            data[name] = [_point_data(point) for point in getattr(self, name)]
        return json.dumps(data, indent=1)

    @classmethod
    def from_json(cls, text: str | bytes) -> Curve:
        """Returns the curve that `to_json` wrote.

        Raises:
          PlanError: the text is not a curve, or one of another version, or its fields are off.
        """
        data = read_record(text, "curve", VERSION)
        if set(data) != {f.name for f in fields(cls)}:
            raise PlanError(f"a curve has points, tried and plain, not {', '.join(sorted(data))}")
        for name in ("points", "tried"):
            if not isinstance(data[name], list) or not data[name]:
                raise PlanError(f"a curve's {name} are a list of one or more points, not {data[name]!r}")
        points, tried = (tuple(map(_point_from, data[name])) for name in ("points", "tried"))
        return cls(points, _point_from(data["plain"]), tried)

    def plot(self, where: Any = None) -> Any:
        """Draws the curve with matplotlib.

        Args:
          where: the path of a picture to write, or matplotlib axes to draw into; None for axes of a new figure.

        Returns:
          The axes.

        Raises:
          MissingPackageError: matplotlib is not installed.
        """
        from memline.tradeoff.plot import plot  # only here: memline itself needs no matplotlib

        return plot(self, where)

    def __str__(self) -> str:
        return _page(self)


def _point_data(point: Point) -> dict[str, Any]:
    return {f.name: getattr(point, f.name) for f in fields(point)} | {"plan": json.loads(point.plan.to_json())}


def _point_from(data: Any) -> Point:
    names = {f.name for f in fields(Point)}
    if not isinstance(data, dict) or set(data) != names:
        raise PlanError(f"a point of a curve has the fields {', '.join(sorted(names))}: {str(data)[:80]}")
    for name in ("limit_bytes", "compiled_peak_bytes", "measured_peak_bytes"):
        number = data[name]
        if number is None and name == "measured_peak_bytes":
            continue
        if isinstance(number, bool) or not isinstance(number, int) or number < 0:
            raise PlanError(f"a point's {name} is a whole number from 0, not {number!r}")
    for name in ("estimated_seconds", "measured_seconds"):
        number = data[name]
        if number is None and name == "measured_seconds":
            continue
        if isinstance(number, bool) or not isinstance(number, int | float) or not 0 <= number < math.inf:
            raise PlanError(f"a point's {name} is a number from 0, not {number!r}")
    return Point(**{**data, "plan": Plan.from_json(json.dumps(data["plan"]))})


def _page(curve: Curve) -> str:
    has_times = curve.plain.measured_seconds is not None
    heads = ["limit", "compiled peak", "estimated", *(["measured", "measured peak"] if has_times else []), "moves"]
    rows = [_row(format_bytes(p.limit_bytes, up=True), p, curve, has_times) for p in curve.points]
    rows.append(_row("as written", curve.plain, curve, has_times))
    widths = [max(map(len, column)) for column in zip(heads, *rows, strict=True)]
    lines = ["memline curve: what a call costs under a limit"]
    for row in (heads, *rows):
        lines.append("  " + "   ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)))
    best = curve.recommended
    limit = format_bytes(best.limit_bytes, up=True)
    share = best.compiled_peak_bytes / curve.plain.compiled_peak_bytes if curve.plain.compiled_peak_bytes else 1.0
    ratio = best.seconds / curve.plain.seconds if curve.plain.seconds else 1.0
    lines.append(
        f"  Ask for {limit}: the smallest limit within 5% of the fastest "
        f"({share:.0%} of the memory of the program as written, {ratio:.2f} of its time)."
    )
    return "\n".join(lines)


def _row(name: str, point: Point, curve: Curve, has_times: bool) -> list[str]:
    cells = [name, format_bytes(point.compiled_peak_bytes), format_seconds(point.estimated_seconds)]
    if has_times:
        peak = "-" if point.measured_peak_bytes is None else format_bytes(point.measured_peak_bytes)
        cells += ["-" if point.measured_seconds is None else format_seconds(point.measured_seconds), peak]
    mark = " <" if point is curve.recommended else "  "
    return [*cells, f"{len(point.plan.moves)}{mark}"]
