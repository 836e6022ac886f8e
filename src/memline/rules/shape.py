"""Primitives that move elements without computing: broadcast, reshape, transpose, slices, pads, iota."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from memline.ir.graph import Op
from memline.rules import table
from memline.rules.table import Dim, Member, Shape

_FREE = (
    lax.broadcast_in_dim_p,
    lax.reshape_p,
    lax.squeeze_p,
    lax.transpose_p,
    lax.slice_p,
    lax.iota_p,
    lax.stack_p,
    lax.unstack_p,
    lax.tile_p,
    lax.bitcast_convert_type_p,
)


@table.flops(*_FREE)
def no_flops(op: Op) -> float:
    """These primitives compute nothing."""
    return 0.0


@table.axes(lax.broadcast_in_dim_p)
def broadcast_in_dim(op: Op) -> list[Dim]:
    """Axes that are carried over link; the new ones depend on no operand, and are parallel too."""
    (x, *_), (y,) = op.inputs, op.outputs
    source = {int(d): axis for axis, d in enumerate(op.params["broadcast_dimensions"])}
    dims = []
    for axis, size in enumerate(y.shape):
        from_axis = source.get(axis)
        linked = from_axis is not None and x.shape[from_axis] == size
        operands = (Member(0, from_axis),) if linked and from_axis is not None else ()
        dims.append(Dim(operands, (Member(0, axis),)))
    return dims


@table.resize(lax.broadcast_in_dim_p)
def resize_broadcast_in_dim(op: Op, ins: Sequence[Shape], outs: Sequence[Shape]) -> dict[str, Any]:
    """The result's shape is a param."""
    return {**op.params, "shape": outs[0]}


@table.axes(lax.reshape_p)
def reshape(op: Op) -> list[Dim]:
    """Axes that are kept link; of a merged or split group the major axes link, as blocks of the other."""
    if op.params.get("dimensions") is not None:
        return []
    dims = []
    for operand_axes, result_axes in _reshape_groups(op.inputs[0].shape, op.outputs[0].shape):
        a, b = operand_axes[0], result_axes[0]
        size_a, size_b = op.inputs[0].shape[a], op.outputs[0].shape[b]
        steps = math.gcd(size_a, size_b)
        if steps > 1:
            dims.append(Dim((Member(0, a, size_a // steps),), (Member(0, b, size_b // steps),)))
    return dims


@table.resize(lax.reshape_p)
def resize_reshape(op: Op, ins: Sequence[Shape], outs: Sequence[Shape]) -> dict[str, Any]:
    """The result's shape is a param."""
    return {**op.params, "new_sizes": outs[0]}


def _reshape_groups(a: Shape, b: Shape) -> list[tuple[list[int], list[int]]]:
    """Returns the smallest groups of consecutive axes of equal product; axes of size 1 are left out."""
    left = [k for k, s in enumerate(a) if s != 1]
    right = [k for k, s in enumerate(b) if s != 1]
    if math.prod(a) == 0:
        return []
    groups = []
    i = j = 0
    while i < len(left) and j < len(right):
        i0, j0 = i, j
        size_a, size_b = a[left[i]], b[right[j]]
        i, j = i + 1, j + 1
        while size_a != size_b:
            if size_a < size_b:
                size_a *= a[left[i]]
                i += 1
            else:
                size_b *= b[right[j]]
                j += 1
        groups.append((left[i0:i], right[j0:j]))
    return groups


@table.axes(lax.squeeze_p)
def squeeze(op: Op) -> list[Dim]:
    """The axes that stay link."""
    gone = {d % op.inputs[0].ndim for d in op.params["dimensions"]}
    kept = [axis for axis in range(op.inputs[0].ndim) if axis not in gone]
    return [Dim((Member(0, a),), (Member(0, b),)) for b, a in enumerate(kept)]


@table.axes(lax.transpose_p)
def transpose(op: Op) -> list[Dim]:
    """Every axis links with where it goes."""
    return [Dim((Member(0, int(a)),), (Member(0, b),)) for b, a in enumerate(op.params["permutation"])]


@table.axes(lax.optimization_barrier_p)
def optimization_barrier(op: Op) -> list[Dim]:
    """Every axis links with itself; a trace holds barriers of one operand only."""
    if len(op.inputs) != 1:
        return []
    return [Dim((Member(0, a),), (Member(0, a),)) for a in range(op.inputs[0].ndim)]


@table.axes(lax.slice_p)
def slice_(op: Op) -> list[Dim]:
    """The axes that are taken whole link."""
    (x,), (y,) = op.inputs, op.outputs
    return [Dim((Member(0, k),), (Member(0, k),)) for k in range(x.ndim) if x.shape[k] == y.shape[k]]


@table.resize(lax.slice_p)
def resize_slice(op: Op, ins: Sequence[Shape], outs: Sequence[Shape]) -> dict[str, Any]:
    """An axis taken whole is taken whole at its new size too."""
    whole = [a == b for a, b in zip(op.inputs[0].shape, op.outputs[0].shape, strict=True)]
    limits = [
        size if kept else limit for kept, size, limit in zip(whole, ins[0], op.params["limit_indices"], strict=True)
    ]
    return {**op.params, "limit_indices": tuple(limits)}


@table.axes(lax.pad_p)
def pad(op: Op) -> list[Dim]:
    """The axes that are not padded link."""
    config = op.params["padding_config"]
    return [
        Dim((Member(0, k),), (Member(0, k),))
        for k, (low, high, interior) in enumerate(config)
        if (low, high) == (0, 0) and (interior == 0 or op.inputs[0].shape[k] <= 1)
    ]


@table.axes(lax.concatenate_p)
def concatenate(op: Op) -> list[Dim]:
    """Every axis links but the one along which the operands are joined."""
    joined = op.params["dimension"]
    return [
        Dim(tuple(Member(i, k) for i in range(len(op.inputs))), (Member(0, k),))
        for k in range(op.outputs[0].ndim)
        if k != joined
    ]


@table.axes(lax.split_p)
def split(op: Op) -> list[Dim]:
    """Every axis links but the one that is cut into the results."""
    return [
        Dim((Member(0, k),), tuple(Member(o, k) for o in range(len(op.outputs))))
        for k in range(op.inputs[0].ndim)
        if k != op.params["axis"]
    ]


@table.axes(lax.stack_p)
def stack(op: Op) -> list[Dim]:
    """The operands' axes link with theirs in the result, which has one more."""
    new = op.params["axis"]
    return [
        Dim(tuple(Member(i, k) for i in range(len(op.inputs))), (Member(0, k + (k >= new)),))
        for k in range(op.inputs[0].ndim)
    ]


@table.axes(lax.unstack_p)
def unstack(op: Op) -> list[Dim]:
    """Every axis links but the one that is taken apart."""
    gone = op.params["axis"]
    return [
        Dim((Member(0, k + (k >= gone)),), tuple(Member(o, k) for o in range(len(op.outputs))))
        for k in range(op.outputs[0].ndim)
    ]


@table.axes(lax.tile_p)
def tile(op: Op) -> list[Dim]:
    """An axis that is not repeated links; of one that is, each copy can be made by itself."""
    (x,), (y,) = op.inputs, op.outputs
    if x.ndim != y.ndim:
        return []
    return [
        Dim((Member(0, k),), (Member(0, k),)) if size == y.shape[k] else Dim((), (Member(0, k, size),))
        for k, size in enumerate(x.shape)
        if size > 0
    ]


@table.resize(lax.tile_p)
def resize_tile(op: Op, ins: Sequence[Shape], outs: Sequence[Shape]) -> dict[str, Any]:
    """How often each axis is repeated is a param."""
    return {**op.params, "reps": tuple(b // max(a, 1) for a, b in zip(ins[0], outs[0], strict=True))}


@table.axes(lax.bitcast_convert_type_p)
def bitcast_convert_type(op: Op) -> list[Dim]:
    """Every axis links; between types of different width one side has one more, which is needed whole."""
    (x,), (y,) = op.inputs, op.outputs
    return [Dim((Member(0, k),), (Member(0, k),)) for k in range(min(x.ndim, y.ndim))]


@table.axes(lax.rev_p)
def rev(op: Op) -> list[Dim]:
    """The axes that are not reversed link."""
    return [Dim((Member(0, k),), (Member(0, k),)) for k in range(op.inputs[0].ndim) if k not in op.params["dimensions"]]


@table.axes(lax.iota_p)
def iota(op: Op) -> list[Dim]:
    """Every axis can be made in pieces; along the counted one a piece starts at its offset."""
    return [Dim((), (Member(0, k),)) for k in range(op.outputs[0].ndim)]


@table.resize(lax.iota_p)
def resize_iota(op: Op, ins: Sequence[Shape], outs: Sequence[Shape]) -> dict[str, Any]:
    """The result's shape is a param."""
    return {**op.params, "shape": outs[0]}


@table.local(lax.iota_p)
def iota_at(op: Op, whole: Op, member: Member, start: Any, *operands: Any) -> list[Any]:
    """Counts on from the chunk's first element, in int32: a bfloat16 cannot tell 257 from 256."""
    counted = lax.broadcasted_iota(np.int32, op.params["shape"], op.params["dimension"])
    if member.axis == op.params["dimension"]:
        counted = counted + jnp.asarray(start, np.int32)
    return [counted.astype(op.params["dtype"])]
