"""Applies moves to a graph: finds the value that a move names, and runs the move's pass there."""

from __future__ import annotations

from collections.abc import Iterable

from memline.analysis.axes import Region, grow_region
from memline.analysis.tape import tapes
from memline.errors import PlanError
from memline.ir.dead import drop_dead
from memline.ir.graph import Graph, Value
from memline.ir.scopes import loop_bodies, map_scopes
from memline.passes.defer import defer
from memline.passes.products import turn_products
from memline.passes.rewrite import rewrite
from memline.passes.slim import slim
from memline.passes.split import split
from memline.plan.moves import Compile, Keep, Move, Recompute, Rewrite, SlimTape, SplitAxis, TurnProducts
from memline.rewrites.rule import table

# Going backwards from a big value, producers this much smaller are not worth making in pieces.
_SMALL_SHARE = 64
_SMALL_BYTES = 1 << 20


def apply_moves(graph: Graph, moves: Iterable[Move]) -> Graph:
    """Returns the graph with the moves made in order.

    Raises:
      PlanError: a move names a value that is not there, or does not apply to it.
    """
    kept: list[str] = []
    for move in moves:
        if isinstance(move, Keep):
            kept.append(move.value)
        elif isinstance(move, Recompute):
            kept = [name for name in kept if name != move.value]
        elif isinstance(move, TurnProducts):
            graph = _turn(graph, move)
        elif isinstance(move, SlimTape):
            graph = _slim(graph, move)
        elif isinstance(move, Rewrite):
            graph = _rewrite(graph, move)
        elif isinstance(move, Compile):
            continue  # says how to compile, not what
        else:
            graph = apply_split(graph, move, frozenset(kept))
            kept = []
    if kept:
        raise PlanError(f"Keep({kept[0]!r}) is not followed by the SplitAxis it belongs to", page=Keep.page)
    return graph


def _turn(graph: Graph, move: TurnProducts) -> Graph:
    turned, found = turn_products(graph, frozenset(move.values))
    missing = [name for name in move.values if name not in found]
    if missing:
        raise PlanError(
            f"TurnProducts: the program has no matrix product {missing[0]} whose left operand is contracted "
            "along one axis that is not its last",
            page=move.page,
        )
    return turned


def _slim(graph: Graph, move: SlimTape) -> Graph:
    found = False

    def transform(scope: Graph, is_tail: bool) -> Graph:
        nonlocal found
        del is_tail
        for tape in tapes(scope):
            if any(tape.writer.outputs[at].name == move.value for at in tape.dropped):
                found = True
                return slim(scope, tape)
        return scope

    slimmed = map_scopes(graph, transform)
    if not found:
        raise PlanError(
            f"{move}: no loop stacks {move.value} only for loops that could cheaply compute it again", page=move.page
        )
    return slimmed


def _rewrite(graph: Graph, move: Rewrite) -> Graph:
    rule = table().get(move.rule)
    if rule is None:
        raise PlanError(
            f"{move}: this memline has no rule {move.rule}. Its rules: {', '.join(table())}.", page=move.page
        )
    is_there = is_done = False

    def transform(scope: Graph, is_tail: bool) -> Graph:
        nonlocal is_there, is_done
        value = _value_named(scope, move.value)
        if value is None:
            return scope
        found = rule.match(scope, scope.producer[value])
        is_there = True
        if found is None or found.value is not value:
            return scope
        is_done = is_done or not is_tail
        return rewrite(scope, found)

    result = map_scopes(graph, transform)
    if not is_there:
        raise _no_such_value(move)
    if not is_done:
        raise PlanError(
            f"{move}: the rule does not apply to {move.value}. It rests on: {rule.identity}", page=move.page
        )
    return drop_dead(result)


def tape_moves(graph: Graph) -> list[tuple[SlimTape, int]]:
    """Returns the moves that make the tapes of a graph's loops smaller, each with the bytes it saves."""
    return [
        (SlimTape(tape.writer.outputs[min(tape.dropped)].name), tape.saved_bytes)
        for scope in (graph, *loop_bodies(graph))
        for tape in tapes(scope)
    ]


def region_of(graph: Graph, value: Value, axis: int) -> Region | None:
    """Returns the region that splitting a value makes; how far it reaches depends on the value alone."""
    return grow_region(graph, value, axis, min(_SMALL_BYTES, value.size_bytes // _SMALL_SHARE))


def apply_split(graph: Graph, move: SplitAxis, kept: frozenset[str], made: tuple[Graph, Graph] | None = None) -> Graph:
    """Returns the graph with one value split, in whichever loops' bodies it is.

    Where the split of one of these bodies is known already, `made` is that body and what it becomes.
    """
    found = False

    def transform(scope: Graph, is_tail: bool) -> Graph:
        nonlocal found
        if made is not None and scope is made[0]:
            found = True
            return made[1]
        value = _value_named(scope, move.value)
        if value is None:
            return scope
        try:
            result = _split_here(scope, value, move, kept)
        except PlanError:
            if is_tail:  # a last, shorter call may be too short for the move, and then needs it less
                return scope
            raise
        found = True
        return result

    result = map_scopes(graph, transform)
    if not found:
        raise _no_such_value(move)
    return result


def _no_such_value(move: SplitAxis | Rewrite) -> PlanError:
    return PlanError(
        f"{move}: the program has no value {move.value}. Print the plan's graph for the names it has.", page=move.page
    )


def _value_named(graph: Graph, name: str) -> Value | None:
    return next((v for v in graph.producer if v.name == name), None)


def _split_here(graph: Graph, value: Value, move: SplitAxis, kept: frozenset[str]) -> Graph:
    if move.axis >= value.ndim:
        raise PlanError(f"{move}: {value} has {value.ndim} axes, numbered from 0", page=move.page)
    region = region_of(graph, value, move.axis)
    if region is None:
        raise PlanError(f"{move}: {value} cannot be made in chunks of axis {move.axis}", page=move.page)
    unit = region.along[value].unit
    if move.chunk % unit or move.chunk > value.shape[move.axis]:
        raise PlanError(
            f"{move}: the chunk must be a multiple of {unit} and at most {value.shape[move.axis]}", page=move.page
        )
    region = defer(region)
    crossing = {v.name: v for v in region.crossing}
    for name in kept - crossing.keys():
        raise PlanError(f"Keep({name!r}): no stage of {move} reads {name} of an earlier one", page=Keep.page)
    return split(region, move.chunk // unit, frozenset(crossing[name] for name in kept))
