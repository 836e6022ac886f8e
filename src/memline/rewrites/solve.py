"""A rule for inverses that are only multiplied by something: to solve for that instead."""

from __future__ import annotations

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax

from memline.ir.graph import Graph, Op, Value
from memline.rewrites.diagonals import diagonal_mask
from memline.rewrites.match import is_usual, op_of
from memline.rewrites.rule import REASSOCIATES, Rewriting, rule, written
from memline.rules import table
from memline.rules.folds import apply_op

_LINEAR = {"triangular_solve": 1, "gather": 0}
"""Ops that are linear in one of their operands, and in which."""
_MOVES = frozenset("transpose reshape squeeze expand_dims broadcast_in_dim copy stop_gradient".split())


@rule("solve", REASSOCIATES, "dot_general")
def solve(scope: Graph, node: Op) -> Rewriting | None:
    """(L (M I)) b = L (M b) for linear maps L and M: inv(A) is made by solving for I, and inv(A) b solves for b.

    The factors of A, and the order in which each solve adds its terms, are those of the inverse.
    """
    (left, right), batch = node.params["dimension_numbers"]
    if any(batch) or len(left) != 1 or node.params.get("out_sharding") is not None:
        return None
    if len({v.dtype for v in (*node.inputs, *node.outputs)}) > 1 or not is_usual(node.outputs[0].dtype):
        return None
    for side, axis in enumerate((int(left[0]), int(right[0]))):
        inverse, given = node.inputs[side], node.inputs[1 - side]
        chain = _maps_of_identity(scope, inverse, axis)
        columns = math.prod(given.shape) // max(1, inverse.shape[axis])
        if chain is None or columns >= inverse.shape[axis]:
            continue
        other_axis = int((right, left)[side][0])
        return _solved(node, chain, side, axis, other_axis, given)
    return None


class _Chain:
    """Linear ops that were applied to an identity, the last first, with the axis of each along its columns."""

    def __init__(self) -> None:
        self.steps: list[tuple[Op, int, int, int]] = []
        """(op, which operand, that operand's axis along the columns, the result's)"""
        self.start: Value | None = None
        self.start_axis = 0

    @property
    def others(self) -> list[Value]:
        """What the ops read beside what they are linear in."""
        return [v for op, position, _, _ in self.steps for at, v in enumerate(op.inputs) if at != position]


def _maps_of_identity(scope: Graph, v: Value, axis: int) -> _Chain | None:
    """Returns the linear maps, a solve among them, that made a value of an identity with columns along an axis."""
    chain = _Chain()
    while (op := op_of(scope, v)) is not None:
        if _is_shared(scope, v):
            return None
        if op.kind == "convert_element_type" and diagonal_mask(scope, op.inputs[0]) in ((0, 1), (1, 0)) and v.ndim == 2:
            chain.start, chain.start_axis = v, axis
            return chain if any(step[0].kind == "triangular_solve" for step in chain.steps) else None
        position = 0 if op.kind in _MOVES else _LINEAR.get(op.kind)
        before = None if position is None else _parallel_axis(op, position, axis)
        if position is None or before is None:
            return None
        chain.steps.append((op, position, before, axis))
        v, axis = op.inputs[position], before
    return None


def _is_shared(scope: Graph, v: Value) -> bool:
    op = op_of(scope, v)
    is_identity = op is not None and op.kind == "convert_element_type"
    return not is_identity and (v in scope.outputs or len(scope.consumers.get(v, ())) > 1)


def _parallel_axis(op: Op, position: int, axis: int) -> int | None:
    """Returns the operand's axis that runs along one of the result's, and along nothing else."""
    for dim in table.dims_of(op):
        if dim.fold is not None or not any(m.axis == axis and m.unit == 1 for m in dim.results):
            continue
        members = [m for m in dim.operands if m.position == position]
        if len(dim.operands) == 1 and len(members) == 1 and members[0].unit == 1:
            return members[0].axis
    return None


def _solved(node: Op, chain: _Chain, side: int, axis: int, other_axis: int, given: Value) -> Rewriting:
    start = chain.start
    assert start is not None
    rest = [n for at, n in enumerate(given.shape) if at != other_axis]
    columns = math.prod(rest)

    def solution(given: jax.Array, *others: jax.Array) -> jax.Array:
        x = jnp.moveaxis(given, other_axis, 0).reshape(given.shape[other_axis], columns)
        x = x if chain.start_axis == 1 else x.T
        waiting = list(others)
        operands_of: list[list[jax.Array]] = []
        for op, _, _, _ in chain.steps:
            operands_of.append([waiting.pop(0) for _ in range(len(op.inputs) - 1)])
        for (op, position, before, after), beside in zip(reversed(chain.steps), reversed(operands_of), strict=True):
            operands = [*beside[:position], x, *beside[position:]]
            x = _applied(op, position, before, after, columns, operands)
        x = jnp.moveaxis(x, axis, -1).reshape(*(n for at, n in enumerate(x.shape) if at != axis), *rest)
        if side == 1:  # what is given was the left operand: its axes come first
            x = lax.transpose(x, [*range(x.ndim - len(rest), x.ndim), *range(x.ndim - len(rest))])
        return x

    return written(node.outputs[0], solution, given, *chain.others, source=node.source)


def _applied(op: Op, position: int, before: int, after: int, columns: int, operands: Sequence[jax.Array]) -> jax.Array:
    """Computes an op for another number of columns."""
    shapes = [list(v.shape) for v in op.inputs]
    shapes[position][before] = columns
    made = [list(op.outputs[0].shape)]
    made[0][after] = columns
    params = table.resized_params(op, [tuple(s) for s in shapes], [tuple(s) for s in made])
    resized = Op(op.primitive, params, op.inputs, op.outputs, op.source, op.context)
    (result,) = apply_op(resized, list(operands))
    return result
