"""The forms in which `jnp.eye`, `jnp.diag`, `jnp.trace` and `jnp.diagonal` come out: masks, and indices of a gather."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from memline.analysis.spelling import fill_of
from memline.ir.graph import Graph, Op, Value
from memline.rewrites.match import op_of, seen_through


def counted_axis(scope: Graph, v: Value) -> int | None:
    """Returns the axis along which a value holds 0, 1, 2, ... and is otherwise the same; None of other values."""
    seen = seen_through(scope, v)
    if seen.value.is_const:
        axis = _counted_const(seen.value)
        return None if axis is None else seen.axes[axis]
    op = op_of(scope, seen.value, "iota", "add", "select_n", "convert_element_type")
    if op is None:
        return None
    if op.kind == "iota":
        return seen.axes[op.params["dimension"]]
    inner = _counted_operand(scope, op)
    if inner is None:
        return None
    axis = counted_axis(scope, inner)
    return None if axis is None else seen.axes[axis]


def _counted_const(v: Value) -> int | None:
    """Returns the axis along which a constant counts, as `np.arange` does; it has no other axis."""
    axes = [axis for axis, size in enumerate(v.shape) if size != 1]
    if len(axes) != 1 or not np.issubdtype(v.dtype, np.integer):
        return None
    return axes[0] if np.array_equal(np.ravel(v.const), np.arange(v.shape[axes[0]])) else None


def _counted_operand(scope: Graph, op: Op) -> Value | None:
    """Returns the operand that an op only repeats: plus 0, another integer type, negative ones counted from the end."""
    if op.kind == "convert_element_type":
        kinds = (op.inputs[0].dtype, op.outputs[0].dtype)
        wide = all(d.kind in "iu" and np.iinfo(d).max >= max(op.inputs[0].shape, default=0) for d in kinds)
        return op.inputs[0] if wide else None
    if op.kind == "add":
        return op.inputs[0] if fill_of(scope, op.inputs[1]) == 0 else None
    if len(op.inputs) != 3:
        return None
    x = op.inputs[1]
    if op.inputs[0].is_const:
        return None if np.any(op.inputs[0].const) else x
    is_negative = op_of(scope, op.inputs[0], "lt")
    if is_negative is None or is_negative.inputs[0] is not x or fill_of(scope, is_negative.inputs[1]) != 0:
        return None
    return x


def diagonal_mask(scope: Graph, v: Value) -> tuple[int, int] | None:
    """Returns the two axes of a truth value that is true where they are equal; None of other values.

    >>> import jax, jax.numpy as jnp
    >>> from memline.ir.trace import trace
    >>> program = trace(lambda: jnp.eye(4) != 0)
    >>> diagonal_mask(program, next(node.outputs[0] for node in program.nodes if node.kind == "eq"))
    (0, 1)
    """
    seen = seen_through(scope, v)
    op = op_of(scope, seen.value, "eq")
    if op is None:
        return None
    a, b = (counted_axis(scope, x) for x in op.inputs)
    if a is None or b is None or a == b:
        return None
    outer_a, outer_b = seen.axes[a], seen.axes[b]
    if outer_a is None or outer_b is None or v.shape[outer_a] != v.shape[outer_b]:
        return None
    return outer_a, outer_b


def diagonal_of(scope: Graph, op: Op) -> tuple[int, ...] | None:
    """Returns, for each axis of a gather's operand, the axis of the result along it, if the gather takes a diagonal.

    The result's axis is that of two of the operand's axes; along all others it takes everything.
    """
    if op.kind != "gather":
        return None
    operand = op.inputs[0]
    numbers = op.params["dimension_numbers"]
    two = _square(scope, op, numbers.collapsed_slice_dims, numbers.start_index_map)
    if two is None:
        return None
    if tuple(op.params["slice_sizes"]) != tuple(1 if axis in two else n for axis, n in enumerate(operand.shape)):
        return None
    rest = iter(int(a) for a in numbers.offset_dims)
    (along,) = (axis for axis in range(op.outputs[0].ndim) if axis not in set(numbers.offset_dims))
    return tuple(along if axis in two else next(rest) for axis in range(operand.ndim))


def diagonal_written(scope: Graph, op: Op) -> tuple[int, int] | None:
    """Returns the two axes on whose diagonal a scatter writes, if it writes all of it; None of other scatters.

    >>> import jax.numpy as jnp
    >>> from memline.ir.trace import trace
    >>> program = trace(lambda x: x.at[jnp.diag_indices(4)].add(1), jnp.zeros((4, 4)))
    >>> diagonal_written(program, program.nodes[-1])
    (0, 1)
    """
    if not op.kind.startswith("scatter"):
        return None
    operand, _, updates = op.inputs
    numbers = op.params["dimension_numbers"]
    two = _square(scope, op, numbers.inserted_window_dims, numbers.scatter_dims_to_operand_dims)
    if two is None:
        return None
    spanned = [updates.shape[a] for a in numbers.update_window_dims]
    return two if spanned == [n for axis, n in enumerate(operand.shape) if axis not in two] else None


def _square(scope: Graph, op: Op, dropped: Sequence[int], indexed: Sequence[int]) -> tuple[int, int] | None:
    """Returns the two axes of an op's operand that its indices go along at once, from end to end."""
    operand, rows = op.inputs[:2]
    two = tuple(int(a) for a in dropped)
    if len(two) != 2 or tuple(int(a) for a in indexed) != two or op.params["dimension_numbers"].operand_batching_dims:
        return None
    n = operand.shape[two[0]]
    if operand.shape[two[1]] != n or rows.shape != (n, 2):
        return None
    columns = op_of(scope, rows, "concatenate")
    if columns is None or len(columns.inputs) != 2 or columns.params["dimension"] != 1:
        return None
    return two if all(counted_axis(scope, column) == 0 for column in columns.inputs) else None
