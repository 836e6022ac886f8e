"""How the points of a curve are found: the floor first, then limits up to what the program needs as it was written."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from memline.errors import MemoryLimitError
from memline.options import Options
from memline.planning import Planned, Planner, Spec
from memline.tradeoff.curve import Curve, Point
from memline.verify.measured import measure_compiled

_FLOOR_TRIES = 6
_STEP = 1.15
"""By how much the room for temporaries grows from one try at the floor to the next."""
_ROUNDS = 3
_SLOW_S = 5.0
"""A call that takes longer is timed once."""
_ENDLESS_S = 60.0
"""A call that is estimated to take longer is not timed."""


def sample(planner: Planner, options: Options, points: int) -> dict[Point, Planned]:
    """Returns the plans found for limits from the floor up, each once, and last the program as it was written.

    Args:
      planner: plans the call.
      options: how to plan.
      points: how many limits to ask for beside the floor.
    """
    whole = planner.planned(Spec(None, None, options))
    fixed_bytes = whole.plan.argument_bytes + whole.plan.output_bytes - whole.plan.alias_bytes
    plain_bytes = _peak(whole)
    found: list[tuple[int, Planned]] = []
    floor = _floor(planner, options, fixed_bytes, plain_bytes)
    if floor is not None:
        found.append(floor)
        for limit_bytes in _limits(fixed_bytes, floor[0], plain_bytes, points):
            try:
                found.append((limit_bytes, planner.planned(Spec(limit_bytes, None, options))))
            except MemoryLimitError:  # the search is greedy: what fits less may miss more, and then that serves
                continue
    distinct: dict[Any, tuple[int, Planned]] = {}
    for limit_bytes, planned in found:
        distinct.setdefault(planned.plan.moves, (limit_bytes, planned))
    distinct.pop((), None)
    plain = _point(plain_bytes, whole)
    return {**{_point(limit_bytes, planned): planned for limit_bytes, planned in distinct.values()}, plain: whole}


def curve_of(found: Sequence[Point]) -> Curve:
    """Returns the curve of points, of which the last is the program as it was written."""
    chosen: list[Point] = []
    for point in sorted(found, key=lambda p: (p.limit_bytes, p.seconds)):
        if not chosen or point.seconds < chosen[-1].seconds:
            chosen.append(point)
    return Curve(tuple(chosen), found[-1], tuple(sorted(found, key=lambda p: p.compiled_peak_bytes)))


def measured(
    found: Mapping[Point, Planned], args: tuple[Any, ...], kwargs: Mapping[str, Any], repeats: int
) -> list[Point]:
    """Returns the points with times and peaks measured, each program in fresh processes that take turns.

    A call that takes seconds is timed once, and one that would take minutes is not run at all: the smallest limits
    of some programs can only be met by loops of single rows inside loops of single rows.
    """
    times: dict[Point, list[float]] = {point: [] for point in found}
    peaks: dict[Point, int] = dict.fromkeys(found, 0)
    for _ in range(_ROUNDS):
        for point, planned in found.items():
            seconds = max(times[point], default=point.estimated_seconds)
            if seconds > (_SLOW_S if times[point] else _ENDLESS_S):
                continue
            often = repeats if seconds <= _SLOW_S else 0
            each = measure_compiled(planned.candidate.compiled, args, kwargs, repeats=often)
            times[point] += each.times_s or (each.first_s,)
            peaks[point] = max(peaks[point], each.peak_bytes)
    return [
        replace(point, measured_seconds=statistics.median(times[point]), measured_peak_bytes=peaks[point])
        if times[point]
        else point
        for point in found
    ]


def _floor(planner: Planner, options: Options, fixed_bytes: int, plain_bytes: int) -> tuple[int, Planned] | None:
    """Returns the smallest limit that was seen to be met, with its plan; None where nothing below plain's is.

    The floor that a failed search tells is the smallest peak it met on its way. Asked for as a limit it may lead the
    search another way, so it is asked for, and a little more where it is missed.
    """
    limit_bytes = fixed_bytes + 1
    for _ in range(_FLOOR_TRIES):
        if limit_bytes >= plain_bytes:
            return None
        try:
            return limit_bytes, planner.planned(Spec(limit_bytes, None, options))
        except MemoryLimitError as error:
            more_bytes = fixed_bytes + int((limit_bytes - fixed_bytes) * _STEP)
            limit_bytes = max(error.floor_bytes or error.needed_bytes, more_bytes, limit_bytes + 1)
    return None


def _limits(fixed_bytes: int, floor_bytes: int, plain_bytes: int, points: int) -> list[int]:
    """Returns limits above the floor, up to what the program needs as it was written, geometric in temporaries."""
    least, most = max(floor_bytes - fixed_bytes, 1), plain_bytes - fixed_bytes
    steps = ((most / least) ** (k / points) for k in range(1, points))
    return [*(fixed_bytes + int(least * step) for step in steps), plain_bytes]


def _point(limit_bytes: int, planned: Planned) -> Point:
    plan = planned.plan
    return Point(limit_bytes, _peak(planned), plan.estimated_seconds or 0.0, plan)


def _peak(planned: Planned) -> int:
    return planned.candidate.peak.total_bytes
