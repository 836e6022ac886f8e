"""Long arrays that are small matrices times a long array: what is done to their short side is done to the matrices.

With C of M x N and N much larger than M, Q C + a y^T is a long array of two parts. Solving a triangular system with
it, multiplying it by a matrix from the left, scaling it and adding to it change Q and a only; and sums over the long
axis of products of two such arrays need C C^T and C y alone. In the gradient of a sparse Gaussian process that leaves
one product of a small matrix with C, where there were two products and a solve with N right-hand sides.

Nothing is moved through a solve that is done first: C = L^-1 K is as accurate as it was written, while
L^-1 (K K^T) L^-T would lose twice the digits that L^-1 K does.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from memline.ir.graph import Graph, Op, Value
from memline.rewrites.match import op_of, seen_through
from memline.rewrites.rule import REASSOCIATES, Rewriting, rule, written

_LONG = 4
"""An axis is long if it has so many times the elements of the other."""
_MOST_PARTS, _DEPTH = 6, 16
_SUMS = frozenset("add add_any sub".split())


@dataclass(frozen=True)
class _Step:
    """A linear map of the rows of a matrix, with what it reads beside it."""

    apply: Callable[..., Any]
    operands: tuple[Value, ...] = ()
    is_heavy: bool = False
    """Whether it is a product or a solve."""


@dataclass(frozen=True)
class _Part:
    """A long array, its long axis, and the steps that are taken with it, in order. A vector has one row."""

    base: Value
    axis: int
    steps: tuple[_Step, ...] = ()

    def then(self, step: _Step) -> _Part:
        return _Part(self.base, self.axis, (*self.steps, step))

    @property
    def is_heavy(self) -> bool:
        return any(step.is_heavy for step in self.steps)

    @property
    def operands(self) -> tuple[Value, ...]:
        return tuple(v for step in self.steps for v in step.operands)

    def rows(self, base: Any) -> Any:
        """Returns the base as a matrix of rows along the long axis."""
        return base[None] if base.ndim == 1 else base.T if self.axis == 0 else base

    def applied(self, x: Any, given: Iterator[Any]) -> Any:
        """Returns the steps' result for a matrix with as many rows as the base, reading operands as they come."""
        for step in self.steps:
            x = step.apply(x, *itertools.islice(given, len(step.operands)))
        return x


@rule("small_factors", REASSOCIATES, "dot_general", "reduce_sum", "triangular_solve", joint=True)
def small_factors(scope: Graph, node: Op) -> Rewriting | None:
    """L^-1 (Q C + a y^T) = (L^-1 Q) C + (L^-1 a) y^T, and (Q C)(R C)^T = Q (C C^T) R^T, for long C and y."""
    if not jnp.issubdtype(node.outputs[0].dtype, np.floating) or len({v.dtype for v in node.inputs}) > 1:
        return None
    if node.kind == "reduce_sum":
        return _sum_of_products(scope, node)
    if node.kind == "dot_general":
        found = _contraction(scope, node)
        if found is not None:
            return found
    return _long_result(scope, node)


def _contraction(scope: Graph, node: Op) -> Rewriting | None:
    """(sum of parts) times (sum of parts), transposed: every pair of bases is multiplied, and the steps come after."""
    (left_sum, right_sum), batch = node.params["dimension_numbers"]
    if any(batch) or len(left_sum) != 1 or not _is_plain(node):
        return None
    sides = [
        _parts(scope, v, int(axes[0])) if _is_long(v, int(axes[0])) else None
        for v, axes in zip(node.inputs, (left_sum, right_sum), strict=True)
    ]
    left, right = (
        parts or (_Part(v, int(axes[0])),)
        for parts, v, axes in zip(sides, node.inputs, (left_sum, right_sum), strict=True)
    )
    (value,) = node.outputs
    if not _share_bases(left, right):
        return None

    def product(*arrays: Any) -> Any:
        return _summed_pairs(left, right, iter(arrays)).reshape(value.shape)

    return written(value, product, *_pair_operands(left, right), source=node.source)


def _sum_of_products(scope: Graph, node: Op) -> Rewriting | None:
    """The sum of all elements of a product of two long arrays: the trace of one times the other, transposed."""
    factors = op_of(scope, node.inputs[0], "mul")
    if factors is None or len(node.params["axes"]) != factors.outputs[0].ndim or factors.outputs[0].ndim != 2:
        return None
    axis = max((0, 1), key=lambda a: factors.outputs[0].shape[a])
    if any(v.shape != factors.outputs[0].shape or not _is_long(v, axis) for v in factors.inputs):
        return None
    left, right = (_parts(scope, v, axis) for v in factors.inputs)
    if not _share_bases(left, right):
        return None

    def total(*arrays: Any) -> Any:
        return jnp.trace(_summed_pairs(left, right, iter(arrays)))

    return written(node.outputs[0], total, *_pair_operands(left, right), source=node.source)


def _share_bases(left: Sequence[_Part], right: Sequence[_Part]) -> bool:
    """Whether anything is gained by multiplying bases: matrices with themselves and with vectors, but no others."""
    matrices = {(p.base, p.axis) for p in (*left, *right) if p.base.ndim == 2}
    return len(matrices) == 1 and any(part.steps for part in (*left, *right))


def _long_result(scope: Graph, node: Op) -> Rewriting | None:
    """The parts of a long array: each base times the small matrix that its steps are."""
    (value,) = node.outputs
    if value.ndim != 2:
        return None
    axis = max((0, 1), key=lambda a: value.shape[a])
    if not _is_long(value, axis):
        return None
    parts = _parts(scope, value, axis)
    if not any(sum(step.is_heavy for step in part.steps) > 1 for part in parts):
        return None

    def assembled(*arrays: Any) -> Any:
        given = iter(arrays)
        factors: dict[tuple[Value, int], Any] = {}
        for part in parts:
            n_rows = 1 if part.base.ndim == 1 else part.base.shape[1 - part.axis]
            factor = part.applied(jnp.eye(n_rows, dtype=value.dtype), given)
            key = part.base, part.axis
            factors[key] = factors[key] + factor if key in factors else factor
        total: Any = None
        for part in dict.fromkeys(_Part(p.base, p.axis) for p in parts):
            base, factor = part.rows(next(given)), factors[part.base, part.axis]
            product = factor * base if base.shape[0] == 1 else jnp.matmul(factor, base, precision="highest")
            total = product if total is None else total + product
        return total if axis == 1 else total.T

    bases = tuple(base for base, _ in dict.fromkeys((p.base, p.axis) for p in parts))
    return written(value, assembled, *(v for p in parts for v in p.operands), *bases, source=node.source)


def _summed_pairs(left: Sequence[_Part], right: Sequence[_Part], given: Iterator[Any]) -> Any:
    """Returns the sum over pairs of parts of one times the other, transposed, as a small matrix.

    What such sums have in common is written alike for all of them, in the highest precision that one asks for.
    """
    total: Any = None
    for one, other in itertools.product(left, right):
        first, second = one.rows(next(given)), other.rows(next(given))
        product = jnp.matmul(first, second.T, precision="highest")
        small = one.applied(other.applied(product.T, given).T, given)
        total = small if total is None else total + small
    return total


def _pair_operands(left: Sequence[_Part], right: Sequence[_Part]) -> list[Value]:
    pairs = itertools.product(left, right)
    return [v for one, other in pairs for v in (one.base, other.base, *other.operands, *one.operands)]


def _parts(scope: Graph, v: Value, axis: int, depth: int = 0) -> tuple[_Part, ...]:
    """Returns the parts of a long array; the array itself as one where nothing is known of it."""
    itself = (_Part(v, axis),)
    op = op_of(scope, v)
    if op is None or depth > _DEPTH:
        return itself

    def within(operand: Value, along: int) -> tuple[_Part, ...]:
        return _parts(scope, operand, along, depth + 1)

    found: tuple[_Part, ...] | None = None
    if op.kind == "transpose" and v.ndim == 2:
        found = within(op.inputs[0], 1 - axis)
    elif op.kind in _SUMS and all(x.shape == v.shape for x in op.inputs):
        first, second = (within(x, axis) for x in op.inputs)
        found = (*first, *(p.then(_Step(jnp.negative)) for p in second)) if op.kind == "sub" else (*first, *second)
    elif op.kind == "neg":
        found = tuple(p.then(_Step(jnp.negative)) for p in within(op.inputs[0], axis))
    elif op.kind in ("mul", "div"):
        found = _scaled(scope, op, axis, within)
    elif op.kind == "triangular_solve":
        found = _solved(op, axis, within)
    elif op.kind == "dot_general" and v.ndim == 2 and _is_plain(op):
        found = _multiplied(op, axis, within)
    return itself if found is None or len(found) > _MOST_PARTS else found


_Within = Callable[[Value, int], tuple[_Part, ...]]


def _scaled(scope: Graph, op: Op, axis: int, within: _Within) -> tuple[_Part, ...] | None:
    for at in (1, 0) if op.kind == "mul" else (1,):
        number = _scalar(scope, op.inputs[at])
        if number is not None and op.inputs[1 - at].shape == op.outputs[0].shape:
            scale = jnp.multiply if op.kind == "mul" else jnp.divide
            return tuple(p.then(_Step(scale, (number,))) for p in within(op.inputs[1 - at], axis))
    return _outer(scope, op, axis) if op.kind == "mul" else None


def _outer(scope: Graph, op: Op, axis: int) -> tuple[_Part, ...] | None:
    """The one part of a product of two vectors, one broadcast along each axis."""
    seen = [seen_through(scope, v) for v in op.inputs]
    for long, short in (seen, reversed(seen)):
        if (long.axes, short.axes) == ((axis,), (1 - axis,)) and op.outputs[0].ndim == 2:
            return (_Part(long.value, 0, (_Step(_times_column, (short.value,), is_heavy=True),)),)
    return None


def _times_column(x: Any, a: Any) -> Any:
    return a[:, None] * x


def _scalar(scope: Graph, v: Value) -> Value | None:
    """Returns the number that all elements of a value are, if that is seen."""
    while v.ndim and (op := op_of(scope, v)) is not None and op.kind in ("broadcast_in_dim", "reshape"):
        v = op.inputs[0]
    return v if not v.ndim else None


def _solved(op: Op, axis: int, within: _Within) -> tuple[_Part, ...] | None:
    matrix, given = op.inputs
    params = op.params
    is_left = params["left_side"]
    if given.ndim != 2 or axis != (1 if is_left else 0):
        return None
    parts = within(given, axis)
    if not any(part.is_heavy for part in parts):
        return None  # what is solved for first stays as it is

    def solve(x: Any, a: Any) -> Any:  # X A^-1, transposed, is A^-T X^T
        transposed = params["transpose_a"] == is_left
        options = {name: params[name] for name in ("lower", "conjugate_a", "unit_diagonal")}
        return lax.linalg.triangular_solve(a, x, left_side=True, transpose_a=transposed, **options)

    return tuple(part.then(_Step(solve, (matrix,), is_heavy=True)) for part in parts)


def _multiplied(op: Op, axis: int, within: _Within) -> tuple[_Part, ...] | None:
    (left_sum, right_sum), batch = op.params["dimension_numbers"]
    if any(batch) or len(left_sum) > 1:
        return None
    side = axis  # rows of the result are the left operand's, columns the right one's
    long, small = op.inputs[side], op.inputs[1 - side]
    if not left_sum:  # an outer product
        if long.ndim != 1:
            return None
        return tuple(p.then(_Step(_times_column, (small,), is_heavy=True)) for p in within(long, 0))
    summed = int((left_sum, right_sum)[side][0])
    small_summed = int((left_sum, right_sum)[1 - side][0])
    if long.ndim != 2 or small.ndim != 2 or not _is_long(long, 1 - summed):
        return None

    def multiply(x: Any, a: Any) -> Any:
        return jnp.matmul(a if small_summed == 1 else a.T, x, precision=op.params["precision"])

    return tuple(p.then(_Step(multiply, (small,), is_heavy=True)) for p in within(long, 1 - summed))


def _is_long(v: Value, axis: int) -> bool:
    if v.ndim == 1:
        return True
    return v.ndim == 2 and v.shape[axis] >= _LONG * max(v.shape[1 - axis], 1)


def _is_plain(op: Op) -> bool:
    """Whether a product has one type, and no placement of its own to keep."""
    wanted = op.params.get("preferred_element_type")
    types = {v.dtype for v in (*op.inputs, *op.outputs)} | ({np.dtype(wanted)} if wanted is not None else set())
    return len(types) == 1 and op.params.get("out_sharding") is None
