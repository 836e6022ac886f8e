"""Indexing: gather, scatter, and slices at computed places.

Indices are data, so an axis of the operand that is indexed is needed whole. What links is everything
else: the axes of the array of indices with those of the result, the axes of the operand that each
index takes whole, and the batching axes that operand and indices share (`take_along_axis`). An axis
taken whole has one legal start, 0, whatever its size, so cutting it changes no clamping and no
filling. A scatter is folded along its indices: each chunk writes into the array the last one left.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from jax import lax

from memline.ir.graph import Op
from memline.rules import folds, table
from memline.rules.folds import Arrays, Fold
from memline.rules.table import Dim, Member, Shape

_OPERAND, _INDICES, _UPDATES = 0, 1, 2
_COMBINING = (lax.scatter_add_p, lax.scatter_sub_p, lax.scatter_mul_p, lax.scatter_min_p, lax.scatter_max_p)


@dataclass(frozen=True)
class _Indexing:
    """How the axes of a gather's result, or of a scatter's updates, come about; pairs of axis numbers."""

    windows: tuple[tuple[int, int], ...]
    """(axis of the operand, axis of the window array it spans)"""
    batches: tuple[tuple[int, int], ...]
    """(axis of the indices, axis of the window array)"""
    shared: dict[int, int]
    """axis of the indices that batches with an axis of the operand: that axis"""


def _indexing(
    op: Op,
    windowed_ndim: int,
    window_axes: Sequence[int],
    dropped: Sequence[int],
    operand_batching: Sequence[int],
    indices_batching: Sequence[int],
) -> _Indexing:
    operand, indices = op.inputs[_OPERAND], op.inputs[_INDICES]
    spanned = [a for a in range(operand.ndim) if a not in dropped and a not in operand_batching]
    rest = [a for a in range(windowed_ndim) if a not in window_axes]
    return _Indexing(
        windows=tuple(zip(spanned, map(int, window_axes), strict=True)),
        batches=tuple(zip(range(indices.ndim - 1), rest, strict=True)),
        shared=dict(zip(map(int, indices_batching), map(int, operand_batching), strict=True)),
    )


def _gather_indexing(op: Op) -> _Indexing:
    numbers = op.params["dimension_numbers"]
    return _indexing(
        op,
        op.outputs[0].ndim,
        numbers.offset_dims,
        numbers.collapsed_slice_dims,
        numbers.operand_batching_dims,
        numbers.start_indices_batching_dims,
    )


def _scatter_indexing(op: Op) -> _Indexing:
    numbers = op.params["dimension_numbers"]
    return _indexing(
        op,
        op.inputs[_UPDATES].ndim,
        numbers.update_window_dims,
        numbers.inserted_window_dims,
        numbers.operand_batching_dims,
        numbers.scatter_indices_batching_dims,
    )


@table.axes(lax.gather_p)
def gather(op: Op) -> list[Dim]:
    """Axes of the indices link with the result, and so do axes of the operand that are taken whole."""
    indexing = _gather_indexing(op)
    dims = []
    for axis, out in indexing.batches:
        operands = [Member(_INDICES, axis)]
        if axis in indexing.shared:
            operands.insert(0, Member(_OPERAND, indexing.shared[axis]))
        dims.append(Dim(tuple(operands), (Member(0, out),)))
    for axis, out in indexing.windows:
        if op.inputs[_OPERAND].shape[axis] == op.outputs[0].shape[out]:
            dims.append(Dim((Member(_OPERAND, axis),), (Member(0, out),)))
    return dims


@table.resize(lax.gather_p)
def resize_gather(op: Op, ins: Sequence[Shape], outs: Sequence[Shape]) -> dict[str, Any]:
    """The size of each slice is a param; it follows the result."""
    sizes = list(op.params["slice_sizes"])
    for axis, out in _gather_indexing(op).windows:
        sizes[axis] = outs[0][out]
    return {**op.params, "slice_sizes": tuple(sizes)}


@table.axes(lax.scatter_p, *_COMBINING)
def scatter(op: Op) -> list[Dim]:
    """Axes of the operand that each update spans link, and batching axes; the axes of the indices fold.

    Updates are applied in order of their indices, so a plain scatter, where the last of several updates
    of a place wins, folds only along the axis that varies slowest.
    """
    indexing = _scatter_indexing(op)
    operand, updates = op.inputs[_OPERAND], op.inputs[_UPDATES]
    any_order = op.primitive in _COMBINING or op.params["unique_indices"]
    dims = []
    slowest = True
    for axis, position in indexing.batches:
        cut = (Member(_INDICES, axis), Member(_UPDATES, position))
        if axis in indexing.shared:
            batch = indexing.shared[axis]
            dims.append(Dim((Member(_OPERAND, batch), *cut), (Member(0, batch),)))
            continue  # different batches never meet, so they leave the order of the others alone
        if slowest or any_order:
            dims.append(Dim(cut, fold="scatter"))
        slowest = slowest and updates.shape[position] == 1
    for axis, position in indexing.windows:
        if operand.shape[axis] == updates.shape[position]:
            cut = (Member(_OPERAND, axis), Member(_UPDATES, position))
            dims.append(Dim(cut, (Member(0, axis),)))
    return dims


@table.flops(lax.scatter_p, *_COMBINING)
def scatter_flops(op: Op) -> float:
    """One operation for each element of the updates."""
    return float(math.prod(op.inputs[_UPDATES].shape))


def _scatter_init(op: Op, whole: Arrays) -> Arrays:
    return [whole[_OPERAND]]


def _scatter_step(op: Op, start: Any, accs: Arrays, operands: Arrays) -> Arrays:
    return folds.apply_op(op, [accs[0], *operands[1:]])


folds.register("scatter", Fold(_scatter_init, _scatter_step, lambda op, accs: accs))


@table.axes(lax.dynamic_slice_p)
def dynamic_slice(op: Op) -> list[Dim]:
    """The axes that are taken whole link: their start can only be 0."""
    x, y = op.inputs[0].shape, op.outputs[0].shape
    return [Dim((Member(0, k),), (Member(0, k),)) for k in range(len(x)) if x[k] == y[k]]


@table.resize(lax.dynamic_slice_p)
def resize_dynamic_slice(op: Op, ins: Sequence[Shape], outs: Sequence[Shape]) -> dict[str, Any]:
    """The result's shape is a param."""
    return {**op.params, "slice_sizes": tuple(outs[0])}


@table.axes(lax.dynamic_update_slice_p)
def dynamic_update_slice(op: Op) -> list[Dim]:
    """The axes that the update covers link: its start there can only be 0."""
    x, update = op.inputs[0].shape, op.inputs[1].shape
    return [Dim((Member(0, k), Member(1, k)), (Member(0, k),)) for k in range(len(x)) if x[k] == update[k]]


@table.flops(lax.dynamic_slice_p, lax.dynamic_update_slice_p)
def no_flops(op: Op) -> float:
    """Slices only move elements."""
    return 0.0
