"""What a report tells of a plan: its figures and its moves."""

from __future__ import annotations

from collections.abc import Callable

from memline.plan.moves import Move
from memline.plan.plan import Plan
from memline.report.record import MoveTold, Origin, Place, Program, Record

AS_WRITTEN, PLANNED = "as written", "planned"
Places = Callable[[str], Place | None]
"""Returns the user's line that makes the value of a name."""


def record_of_plan(plan: Plan, origin: Origin, title: str = "plan") -> Record:
    """Returns the record of a plan alone, without the graph: figures and moves, but no steps.

    A plan that is written by hand has no figures, and its record no programs.
    """
    programs = []
    if plan.whole_peak_bytes is not None:
        programs.append(_figures(plan, AS_WRITTEN, plan.whole_peak_bytes, None, plan.whole_seconds))
    if plan.planned_peak_bytes is not None and plan.decisions:
        seconds = plan.estimated_seconds
        programs.append(_figures(plan, PLANNED, plan.planned_peak_bytes, plan.compiled_peak_bytes, seconds))
    return Record(
        title=title,
        place=None,
        origin=origin,
        limit_bytes=plan.limit_bytes,
        floor_bytes=plan.floor_bytes,
        planning_seconds=planning_seconds(plan),
        moves=moves_told(plan, lambda name: None),
        left_whole=plan.left_whole,
        notes=plan.notes,
        programs=tuple(programs),
    )


def planning_seconds(plan: Plan) -> float:
    """Returns what the search took, with its compiles and what was tuned."""
    return plan.planning_seconds + plan.compile_seconds + plan.tuning_seconds


def moves_told(plan: Plan, place_of: Places) -> tuple[MoveTold, ...]:
    """Returns a plan's moves as a report has them."""
    return tuple(
        MoveTold(type(d.move).__name__, str(d.move), d.reason, d.saved_bytes, _place(d.move, place_of))
        for d in plan.decisions
    )


def _place(move: Move, place_of: Places) -> Place | None:
    names = getattr(move, "values", None) or (getattr(move, "value", ""),)
    return place_of(names[0])


def _figures(plan: Plan, name: str, peak_bytes: int, compiled: int | None, seconds: float | None) -> Program:
    return Program(
        name=name,
        nodes=0,
        argument_bytes=plan.argument_bytes,
        output_bytes=plan.output_bytes,
        alias_bytes=plan.alias_bytes,
        planned_peak_bytes=peak_bytes,
        compiled_peak_bytes=compiled,
        measured_peak_bytes=None,
        estimated_seconds=seconds,
        measured_seconds=None,
        steps=(),
        bands=(),
        values=(),
        peak=0,
        at_peak=(),
    )
