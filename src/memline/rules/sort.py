"""Sorting and `top_k`: parallel along the axes that are not ordered; `top_k` also folds along its own.

`approx_top_k` has no rule: its answer depends on how the compiler divides the axis.
"""

from __future__ import annotations

import math
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from memline import compat
from memline.ir.graph import Op
from memline.rules import folds, table
from memline.rules.folds import Arrays, Fold
from memline.rules.table import Dim, Member


@table.axes(lax.sort_p)
def sort(op: Op) -> list[Dim]:
    """Every axis links in all operands and results, but the one that is sorted."""
    return [
        Dim(
            tuple(Member(position, axis) for position in range(len(op.inputs))),
            tuple(Member(position, axis) for position in range(len(op.outputs))),
        )
        for axis in range(op.inputs[0].ndim)
        if axis != op.params["dimension"]
    ]


@table.flops(lax.sort_p)
def sort_flops(op: Op) -> float:
    """n log n comparisons for each row, of as many operands as are keys."""
    shape = op.inputs[0].shape
    n = shape[op.params["dimension"]]
    return op.params["num_keys"] * math.prod(shape) * max(1.0, math.log2(max(n, 1)))


def _top_k_axis(op: Op) -> int:
    return op.params.get("axis", op.inputs[0].ndim - 1) % op.inputs[0].ndim


@table.axes(lax.top_k_p)
def top_k(op: Op) -> list[Dim]:
    """Other axes link in values and indices; the searched one folds."""
    searched = _top_k_axis(op)
    dims = []
    for axis in range(op.inputs[0].ndim):
        if axis != searched:
            dims.append(Dim((Member(0, axis),), (Member(0, axis), Member(1, axis))))
        elif op.params["k"] > 0:
            dims.append(Dim((Member(0, axis),), fold="top_k"))
    return dims


@table.flops(lax.top_k_p)
def top_k_flops(op: Op) -> float:
    """A comparison with the worst of the kept elements, and a place among them for some."""
    return math.prod(op.inputs[0].shape) * (1.0 + math.log2(op.params["k"] + 1))


def _last_in_order(dtype: Any) -> Any:
    """Returns the value that `top_k` puts last: of floats, in its total order, a NaN with all bits set."""
    if not jnp.issubdtype(dtype, np.floating):
        return jnp.asarray(folds.lowest(dtype), dtype)
    bits = np.dtype(f"int{8 * compat.itemsize_bytes(dtype)}")
    return lax.bitcast_convert_type(np.asarray(-1, bits), dtype)


def _top_k_of(op: Op, x: Any, k: int) -> list[Any]:
    return compat.bind(op.primitive, {**op.params, "k": k}, [x], op.context)


def _top_k_init(op: Op, whole: Arrays) -> Arrays:
    values, indices = op.outputs
    return [
        jnp.broadcast_to(_last_in_order(values.dtype), values.shape),
        jnp.zeros(indices.shape, indices.dtype),
    ]


def _top_k_step(op: Op, start: Any, accs: Arrays, operands: Arrays) -> Arrays:
    """Merges the best of the chunk with the best so far.

    `top_k` promises the lower index among equals, so the candidates stand in order of index: the
    elements kept so far, then those of the chunk. Before k elements were seen the accumulators end in
    fillers. The chunk's elements are written over them, and the fillers that are left come last, so
    that no filler is taken for an element that equals it.
    """
    (x,) = operands
    axis, k = _top_k_axis(op), op.params["k"]
    values, indices = _top_k_of(op, x, min(k, x.shape[axis]))
    indices = indices + jnp.asarray(start, indices.dtype)
    offset = jnp.minimum(jnp.asarray(start, jnp.int32), k)
    values = _written_after(accs[0], values, offset, axis)
    indices = _written_after(accs[1], indices, offset, axis)
    values, places = _top_k_of(op, values, k)
    return [values, jnp.take_along_axis(indices, places, axis=axis, mode="promise_in_bounds")]


def _written_after(kept: Any, found: Any, offset: Any, axis: int) -> Any:
    """Returns `kept` made longer by the size of `found`, which is written into it at `offset`."""
    filler = jnp.broadcast_to(_last_in_order(kept.dtype), found.shape)
    longer = lax.concatenate([kept, filler], axis)
    starts = [offset if d == axis else jnp.int32(0) for d in range(kept.ndim)]
    return lax.dynamic_update_slice(longer, found, starts, allow_negative_indices=False)


folds.register("top_k", Fold(_top_k_init, _top_k_step, lambda op, accs: accs))
