"""Writes gathers and scatters whose places count along an axis so that this axis can be cut.

`logits[jnp.arange(n), labels]` takes from each row an element of its own. As JAX traces it both axes of `logits` are
indexed by data, so that a rule sees an array that is needed whole. An index that counts 0, 1, 2, ... along the whole
axis that it indexes is one of a batch: gathers and scatters have a form of their own for those, the one that
`take_along_axis` is traced to, and XLA compiles both alike.

Where both indices count along one axis, a diagonal is taken or written. It becomes a mask, which can be cut along
either of its axes: a gradient that reads a matrix and its transpose cuts one along the rows and the other along the
columns. That touches the whole matrix instead of its diagonal, and so is done only where the program makes the matrix,
in an op that can itself be cut along one of the two axes. A diagonal of a sum of products stays for `rewrites`, which
never makes the matrix.

Results are the same bit for bit.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from memline.ir.build import Builder
from memline.ir.graph import Graph, Node, Op, Value
from memline.ir.scopes import map_scopes
from memline.rewrites.diagonals import counted_axis, diagonal_of, diagonal_written
from memline.rewrites.match import op_of
from memline.rewrites.reading import sum_of
from memline.rules import table

_OPERAND, _INDICES, _UPDATES = 0, 1, 2
_LEAST_BYTES = 1 << 16
"""Smaller matrices are never what a program is cut for."""

_COMBINED: dict[str, Callable[[Any, Any], Any]] = {
    "scatter": lambda old, new: new,
    "scatter-add": lax.add,
    "scatter-sub": lax.sub,
    "scatter-mul": lax.mul,
    "scatter-min": lax.min,
    "scatter-max": lax.max,
}
"""What becomes of an element and its update, by primitive."""


def count_places(graph: Graph) -> Graph:
    """Returns the graph, and all that loops and branches in it run, with counted indices as batches or masks.

    >>> import jax
    >>> from memline.ir.trace import trace
    >>> picked = trace(lambda x, i: x[jnp.arange(5), i], *(jax.ShapeDtypeStruct(s, "int32") for s in ((5, 9), (5,))))
    >>> [op] = [node for node in count_places(picked).nodes if node.kind == "gather"]
    >>> op.params["dimension_numbers"].operand_batching_dims
    (0,)
    """
    return map_scopes(graph, lambda scope, _: _counted_here(scope))


def _counted_here(scope: Graph) -> Graph:
    nodes: list[Node] = []
    changed = False
    for node in scope.nodes:
        made = _rewritten(scope, node) if isinstance(node, Op) and node.kind in ("gather", *_COMBINED) else None
        nodes.extend(made or [node])
        changed = changed or made is not None
    return Graph(scope.inputs, tuple(nodes), scope.outputs) if changed else scope


def _rewritten(scope: Graph, op: Op) -> list[Node] | None:
    """Returns what stands in an op's place; None where it stays."""
    if op.kind == "gather":
        places = diagonal_of(scope, op)
        if places is not None:
            return _masked_gather(op, places) if _is_cut_matrix(scope, op) and sum_of(scope, op) is None else None
    else:
        written = diagonal_written(scope, op)
        if written is not None:
            return _masked_scatter(op, *written) if _is_cut_matrix(scope, op) else None
    return _batched(scope, op)


def _is_cut_matrix(scope: Graph, op: Op) -> bool:
    """Whether the array whose diagonal is meant is made by an op that can be cut along an axis of the diagonal."""
    matrix = op.inputs[_OPERAND]
    if matrix.size_bytes < _LEAST_BYTES or jnp.issubdtype(matrix.dtype, jax.dtypes.extended):
        return False
    maker = op_of(scope, matrix)
    if maker is None:
        return False
    if maker.kind in _COMBINED and diagonal_written(scope, maker) is not None:
        return _is_cut_matrix(scope, maker)
    numbers = op.params["dimension_numbers"]
    two = numbers.collapsed_slice_dims if op.kind == "gather" else numbers.inserted_window_dims
    at = maker.outputs.index(matrix)
    return any(m.position == at and m.axis in two for dim in table.dims_of(maker) for m in dim.results)


def _masked_gather(op: Op, places: tuple[int, ...]) -> list[Node] | None:
    """Returns the diagonal as the maximum along masked columns, of bits: no float, not even -0 or a NaN, changes."""
    matrix, result = op.inputs[_OPERAND], op.outputs[0]
    rows, columns = (int(axis) for axis in op.params["dimension_numbers"].collapsed_slice_dims)
    bits = _bits(matrix.dtype)
    if bits is None:
        return None
    rest = [places[axis] for axis in range(matrix.ndim) if axis != columns]

    def diagonal(x: jax.Array) -> jax.Array:
        whole = lax.bitcast_convert_type(x, bits) if bits != x.dtype else x
        kept = jnp.where(_mask(x.shape, rows, columns), whole, jnp.zeros((), bits))
        found = lax.transpose(lax.reduce_max(kept, [columns]), np.argsort(rest))
        return lax.bitcast_convert_type(found, x.dtype) if bits != x.dtype else found

    return _nodes(op, diagonal, (matrix,), result)


def _masked_scatter(op: Op, rows: int, columns: int) -> list[Node]:
    """Returns the array with its diagonal combined with the updates, everywhere else as it was."""
    matrix, updates = op.inputs[_OPERAND], op.inputs[_UPDATES]
    windows = op.params["dimension_numbers"].update_window_dims
    rest = iter(axis for axis in range(matrix.ndim) if axis not in (rows, columns))
    along = [next(rest) if axis in windows else rows for axis in range(updates.ndim)]
    combined = _COMBINED[op.kind]

    def written(x: jax.Array, update: jax.Array) -> jax.Array:
        new = combined(x, lax.broadcast_in_dim(update, x.shape, along))
        return jnp.where(_mask(x.shape, rows, columns), new, x)

    return _nodes(op, written, (matrix, updates), op.outputs[0])


def _mask(shape: tuple[int, ...], rows: int, columns: int) -> jax.Array:
    return lax.broadcasted_iota(jnp.int32, shape, rows) == lax.broadcasted_iota(jnp.int32, shape, columns)


def _bits(dtype: Any) -> Any:
    """Returns the type of whole numbers from 0 that holds the bits of a type; None where there is none."""
    is_number = jnp.issubdtype(dtype, np.integer) or jnp.issubdtype(dtype, np.floating)
    if not is_number or dtype.itemsize not in (1, 2, 4, 8) or jnp.dtype(dtype).name.endswith(("int4", "int2")):
        return None  # truth values, complex numbers and numbers of part of a byte stay as they are
    return jnp.dtype(f"uint{8 * dtype.itemsize}")


def _nodes(op: Op, fun: Callable[..., Any], operands: tuple[Value, ...], result: Value) -> list[Node]:
    """Returns the nodes of a function of values whose result is `result`."""
    builder = Builder(f"{result.name}.d")
    (made,) = builder.call(fun, *operands, source=op.source)
    last = builder.nodes[-1]
    assert isinstance(last, Op)
    assert last.outputs == (made,)
    return [*builder.nodes[:-1], replace(last, outputs=(result,))]


def _batched(scope: Graph, op: Op) -> list[Node] | None:
    """Returns the op with its counted indices as axes of a batch, and what makes the other indices."""
    is_gather = op.kind == "gather"
    numbers = op.params["dimension_numbers"]
    operand, indices = op.inputs[_OPERAND], op.inputs[_INDICES]
    indexed = numbers.start_index_map if is_gather else numbers.scatter_dims_to_operand_dims
    dropped = numbers.collapsed_slice_dims if is_gather else numbers.inserted_window_dims
    of_indices = numbers.start_indices_batching_dims if is_gather else numbers.scatter_indices_batching_dims
    batches = dict(zip(map(int, numbers.operand_batching_dims), map(int, of_indices), strict=True))
    was = len(batches)
    pieces: list[Value] = []
    kept: list[int] = []
    at = 0
    columns = _columns(scope, indices)
    for piece in columns:
        axes = [int(axis) for axis in indexed[at : at + piece.shape[-1]]]
        at += len(axes)
        along = counted_axis(scope, piece) if len(axes) == 1 and axes[0] in dropped else None
        is_last = piece is columns[-1] and not pieces
        if along is None or is_last or along in batches.values() or operand.shape[axes[0]] != indices.shape[along]:
            pieces.append(piece)
            kept += axes
        else:
            batches[axes[0]] = along
    if len(batches) == was:
        return None
    shared = sorted(batches.items())
    new = {
        "operand_batching_dims": tuple(axis for axis, _ in shared),
        "start_indices_batching_dims" if is_gather else "scatter_indices_batching_dims": tuple(a for _, a in shared),
        "start_index_map" if is_gather else "scatter_dims_to_operand_dims": tuple(kept),
        "collapsed_slice_dims" if is_gather else "inserted_window_dims": tuple(
            axis for axis in dropped if axis not in batches
        ),
    }
    params = {**op.params, "dimension_numbers": numbers._replace(**new), "indices_are_sorted": False}
    builder = Builder(f"{op.outputs[0].name}.i")
    rest = pieces[0]
    if len(pieces) > 1:
        (rest,) = builder.call(
            lambda *columns: lax.concatenate(columns, columns[0].ndim - 1), *pieces, source=op.source
        )
    return [*builder.nodes, replace(op, params=params, inputs=(operand, rest, *op.inputs[_UPDATES:]))]


def _columns(scope: Graph, indices: Value) -> tuple[Value, ...]:
    """Returns the arrays of indices that an op reads side by side."""
    maker = op_of(scope, indices, "concatenate")
    is_of_columns = maker is not None and maker.params["dimension"] == indices.ndim - 1
    return maker.inputs if maker is not None and is_of_columns and math.prod(indices.shape) else (indices,)
