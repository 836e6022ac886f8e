"""Looks once more at the splits of a plan that fits: which could be coarser, or left out, now that all are there.

The search makes one split after another, and each gets the chunk that was best before the next was there. What a
later split saves may leave room that an earlier one no longer needs to make.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from memline.analysis.peak import Peak
from memline.errors import PlanError
from memline.ir.graph import Graph
from memline.ir.scopes import loop_bodies
from memline.plan.apply import apply_moves, region_of
from memline.plan.candidates import Target, chunk_grid
from memline.plan.moves import Keep, Move, Recompute, SplitAxis
from memline.plan.plan import Decision
from memline.plan.state import State

_GAIN = 0.9
"""A plan is changed where its estimated time falls to this share or less."""
_ROUNDS = 2
_EFFORT = 20_000
"""Nodes of graphs made for one plan; some seconds on one core."""


@dataclass(frozen=True)
class _Group:
    """One move that changes the graph, after the `Keep`s that belong to it."""

    at: int
    """Which it was in the plan that the look began with."""
    decisions: tuple[Decision, ...]


@dataclass(frozen=True, eq=False)
class _Made:
    groups: tuple[_Group, ...]
    graph: Graph
    peak: Peak
    seconds: float


def widened(whole: Graph, decisions: tuple[Decision, ...], target: Target) -> State | None:
    """Returns the plan with larger chunks, or with splits left out, that fits and is clearly faster; None if none is.

    Args:
      whole: the program as written.
      decisions: the plan's.
      target: what it must fit.

    Raises:
      PlanError: the plan is not one of that program.
    """
    begun = _made(whole, _groups(decisions), target)
    best, effort = begun, 0
    for _ in range(_ROUNDS):
        before = best
        for at in reversed([group.at for group in best.groups]):
            group = next(group for group in best.groups if group.at == at)
            for groups in _coarser(whole, best.groups, group):
                effort += best.graph.size
                if effort > _EFFORT:
                    break
                best = _better(whole, groups, target, best)
        if best is before:
            break
    if best.seconds > _GAIN * begun.seconds:
        return None
    return _told(begun, best)


def _groups(decisions: tuple[Decision, ...]) -> tuple[_Group, ...]:
    found: list[list[Decision]] = [[]]
    for decision in decisions:
        found[-1].append(decision)
        if not isinstance(decision.move, Keep | Recompute):
            found.append([])
    return tuple(_Group(at, tuple(group)) for at, group in enumerate(found) if group)


def _moves(groups: tuple[_Group, ...]) -> list[Move]:
    return [decision.move for group in groups for decision in group.decisions]


def _made(whole: Graph, groups: tuple[_Group, ...], target: Target) -> _Made:
    graph = apply_moves(whole, _moves(groups))
    peak = target.peak(graph)
    return _Made(groups, graph, peak, target.seconds(graph, peak))


def _better(whole: Graph, groups: tuple[_Group, ...], target: Target, best: _Made) -> _Made:
    """Returns what these moves make, if it fits and is faster than the best so far; else that."""
    try:
        made = _made(whole, groups, target)
    except PlanError:  # a later move names what only the finer split has
        return best
    return made if made.peak.total_bytes <= target.limit_bytes and made.seconds < best.seconds else best


def _coarser(whole: Graph, groups: tuple[_Group, ...], group: _Group) -> Iterator[tuple[_Group, ...]]:
    """Yields the moves without one split, and with larger chunks of it, the largest first."""
    *keeps, decision = group.decisions
    move = decision.move
    if not isinstance(move, SplitAxis):
        return
    place = groups.index(group)
    before, after = groups[:place], groups[place + 1 :]
    yield (*before, *after)
    graph = apply_moves(whole, _moves(before))
    for scope in (graph, *loop_bodies(graph)):
        value = next((v for v in scope.producer if v.name == move.value), None)
        region = None if value is None else region_of(scope, value, move.axis)
        if value is not None and region is not None:
            unit = region.along[value].unit
            for chunk in (c * unit for c in chunk_grid(region.steps) if c * unit > move.chunk):
                coarse = replace(decision, move=replace(move, chunk=chunk))
                yield (*before, _Group(group.at, (*keeps, coarse)), *after)
            return


def _told(begun: _Made, best: _Made) -> State:
    """Returns what came of it, with the reasons of the moves that changed."""
    times = f"estimated {begun.seconds * 1e3:.3g} ms -> {best.seconds * 1e3:.3g} ms for all of these"
    decisions: list[Decision] = []
    for group in best.groups:
        *keeps, decision = group.decisions
        old = begun.groups[group.at].decisions[-1].move
        if decision.move != old and isinstance(old, SplitAxis):
            why = f"its chunk was {old.chunk} until the other splits were there: {times}"
            decision = replace(decision, reason=f"{decision.reason}; {why}")
        decisions += [*keeps, decision]
    left = {group.at for group in best.groups}
    gone = [str(move) for group in begun.groups if group.at not in left for move in _moves((group,))]
    notes = (f"not needed once the other splits are there: {', '.join(gone)}",) if gone else ()
    return State(best.graph, tuple(decisions), best.peak, best.seconds, notes)
