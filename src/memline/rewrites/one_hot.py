"""Rules for products with a matrix of ones and zeros, one 1 in a row: to pick rows, or to add up those of a class."""

from __future__ import annotations

import math
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from memline.analysis.spelling import fill_of
from memline.ir.graph import Graph, Op, Value
from memline.rewrites.diagonals import counted_axis
from memline.rewrites.match import is_usual, op_of, seen_through
from memline.rewrites.rule import Rewriting, approximate, rule, written
from memline.rules.folds import wide_dtype

_FEW = 64
"""With fewer classes a product is as fast as indexing."""
_FEW_TO_ADD = 256
"""The same, where the rows of a class are added: that goes one by one, and not in vectors."""


@dataclass(frozen=True)
class OneHot:
    """An array that is 1 where its index along one axis is the class, and else 0."""

    classes: Value
    """The class at each place: whole numbers, of which some may be out of range."""
    order: tuple[int, ...]
    """The axes of `classes`, in the order in which the array has them."""
    axis: int
    """The array's axis along which the classes run."""


def one_hot_of(scope: Graph, v: Value) -> OneHot | None:
    """Returns the classes of an array that is one-hot; None of other arrays.

    >>> from memline.ir.trace import trace
    >>> program = trace(lambda i: jax.nn.one_hot(i, 9), jax.ShapeDtypeStruct((5,), "int32"))
    >>> found = one_hot_of(program, program.outputs[0])
    >>> found.classes is program.inputs[0], found.axis
    (True, 1)
    """
    seen = seen_through(scope, v)
    where = op_of(scope, seen.value, "convert_element_type", "select_n")
    if where is None:
        return None
    if where.kind == "select_n" and [fill_of(scope, x) for x in where.inputs[1:]] != [0, 1]:
        return None
    is_equal = seen_through(scope, where.inputs[0])
    op = op_of(scope, is_equal.value, "eq")
    if op is None:
        return None
    for counted, other in (op.inputs, op.inputs[::-1]):
        axis = counted_axis(scope, counted)
        if axis is None:
            continue
        inner = seen_through(scope, other)
        places = [is_equal.axes[a] for a in inner.axes if a is not None]
        outer = [seen.axes[a] for a in (is_equal.axes[axis], *places) if a is not None]
        if any(a is None for a in outer) or len(outer) != len(places) + 1 or outer[0] in outer[1:]:
            continue
        numbers = [a for a in outer if a is not None]
        covered = math.prod(v.shape[a] for a in numbers) == math.prod(v.shape)
        if not covered or not np.issubdtype(inner.value.dtype, np.integer):
            continue
        wide = [a for a, at in enumerate(inner.axes) if at is not None]
        order = [a for _, a in sorted(zip(numbers[1:], wide, strict=True))]
        unit = [a for a in range(inner.value.ndim) if a not in order]
        return OneHot(inner.value, (*unit, *order), numbers[0])
    return None


@rule("one_hot_gather", approximate(), "dot_general")
def one_hot_gather(scope: Graph, node: Op) -> Rewriting | None:
    """one_hot(i) E = E[i], and rows of zeros where i is out of range.

    Exact on finite numbers. As written, an infinity or a NaN in any row of E is multiplied by zeros, and makes the
    results of all others NaN; hence the tag.
    """
    found = _product(scope, node)
    if found is None:
        return None
    hot, side, contracted = found
    array, table = node.inputs[side], node.inputs[1 - side]
    if contracted[side] != hot.axis or array.shape[hot.axis] < _FEW:
        return None
    places = tuple(n for axis, n in enumerate(array.shape) if axis != hot.axis)
    result = node.outputs[0]

    def rows(classes: jax.Array, table: jax.Array) -> jax.Array:
        classes = lax.transpose(classes, hot.order).reshape(places)
        taken = (
            jnp.moveaxis(table, contracted[1 - side], 0)
            .at[classes]
            .get(mode="fill", fill_value=0, wrap_negative_indices=False)
        )
        if side == 1:  # the axes of the left operand come first
            taken = lax.transpose(taken, [*range(len(places), taken.ndim), *range(len(places))])
        return taken.astype(result.dtype)

    return written(result, rows, hot.classes, table, source=node.source)


@rule("one_hot_sum", approximate(), "dot_general")
def one_hot_sum(scope: Graph, node: Op) -> Rewriting | None:
    """one_hot(i)^T X adds the rows of X that are of each class: a segment sum.

    The terms left out are zeros wherever X is finite; see `one_hot_gather`. The others are added one after another, in
    a type of at least 32 bits.
    """
    found = _product(scope, node)
    if found is None:
        return None
    hot, side, contracted = found
    array, rows = node.inputs[side], node.inputs[1 - side]
    if array.ndim != 2 or contracted[side] == hot.axis or array.shape[hot.axis] < _FEW_TO_ADD:
        return None
    n, result = array.shape[hot.axis], node.outputs[0]
    wide = wide_dtype(result.dtype)

    def sums(classes: jax.Array, rows: jax.Array) -> jax.Array:
        rows = jnp.moveaxis(rows, contracted[1 - side], 0).astype(wide)
        zeros = jnp.zeros((n, *rows.shape[1:]), wide)
        added = zeros.at[classes.reshape(-1)].add(rows, mode="drop", wrap_negative_indices=False)
        if side == 1:
            added = jnp.moveaxis(added, 0, -1)
        return added.astype(result.dtype)

    return written(result, sums, hot.classes, rows, source=node.source)


def _product(scope: Graph, node: Op) -> tuple[OneHot, int, tuple[int, int]] | None:
    """Returns the one-hot operand of a product along one axis, which operand it is, and both contracted axes."""
    (left, right), batch = node.params["dimension_numbers"]
    if any(batch) or len(left) != 1 or node.params.get("out_sharding") is not None:
        return None
    if not is_usual(node.outputs[0].dtype):
        return None
    for side, v in enumerate(node.inputs):
        hot = one_hot_of(scope, v)
        if hot is not None:
            return hot, side, (int(left[0]), int(right[0]))
    return None
