"""Convolutions, and reductions over sliding windows.

Their spatial axes need overlapping pieces of the operand, so in general only the other axes link. Two
cases are exact all the same: windows that lie side by side without a gap, and a window that covers the
whole axis, which is a plain reduction.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from jax import lax

from memline.ir.graph import Op
from memline.rules import table
from memline.rules.table import Dim, Member, Shape

_LHS, _RHS = 0, 1
_OUT = 0


@table.axes(lax.conv_general_dilated_p)
def convolution(op: Op) -> list[Dim]:
    """Batch and output features link, input features are summed; of grouped features whole groups link."""
    spec = op.params["dimension_numbers"]
    (batch, feature, *_), (out_feature, in_feature, *_) = spec.lhs_spec, spec.rhs_spec
    out_batch, result_feature, *_ = spec.out_spec
    feature_groups, batch_groups = op.params["feature_group_count"], op.params["batch_group_count"]
    lhs, rhs = op.inputs[_LHS].shape, op.inputs[_RHS].shape

    dims = []
    if batch_groups == 1:
        dims.append(Dim((Member(_LHS, batch),), (Member(_OUT, out_batch),)))
    if feature_groups == 1:
        dims.append(Dim((Member(_LHS, feature), Member(_RHS, in_feature)), fold="dot"))
    if feature_groups == batch_groups == 1:
        dims.append(Dim((Member(_RHS, out_feature),), (Member(_OUT, result_feature),)))
    else:
        groups = feature_groups * batch_groups  # one of them is 1
        grouped = feature if feature_groups > 1 else batch
        per_group = rhs[out_feature] // groups
        dims.append(
            Dim(
                (Member(_LHS, grouped, lhs[grouped] // groups), Member(_RHS, out_feature, per_group)),
                (Member(_OUT, result_feature, per_group),),
            )
        )
    return [*dims, *_convolution_spatial(op)]


def _convolution_spatial(op: Op) -> list[Dim]:
    """Spatial axes of a kernel of size 1 link; those that the kernel covers in one place are summed."""
    spec = op.params["dimension_numbers"]
    dims = []
    for k, (a, b, c) in enumerate(zip(spec.lhs_spec[2:], spec.rhs_spec[2:], spec.out_spec[2:], strict=True)):
        plain = tuple(op.params["padding"][k]) == (0, 0) and op.params["lhs_dilation"][k] == 1
        if not plain:
            continue
        size, window = op.inputs[_LHS].shape[a], op.inputs[_RHS].shape[b]
        if window == 1 and op.params["window_strides"][k] == 1:
            dims.append(Dim((Member(_LHS, a),), (Member(_OUT, c),)))
        elif window == size and op.params["rhs_dilation"][k] == 1:
            dims.append(Dim((Member(_LHS, a), Member(_RHS, b)), fold="dot"))
    return dims


@table.resize(lax.conv_general_dilated_p)
def resize_convolution(op: Op, ins: Sequence[Shape], outs: Sequence[Shape]) -> dict[str, Any]:
    """Fewer groups of the same size when grouped features were cut; nothing else is a size."""
    spec = op.params["dimension_numbers"]
    params = dict(op.params)
    for key, axis in (("feature_group_count", spec.lhs_spec[1]), ("batch_group_count", spec.lhs_spec[0])):
        if params[key] > 1:
            per_group = op.inputs[_LHS].shape[axis] // params[key]
            params[key] = ins[_LHS][axis] // per_group
    return params


@table.flops(lax.conv_general_dilated_p)
def convolution_flops(op: Op) -> float:
    """A multiplication and an addition for each element of the result and of one output feature's kernel."""
    rhs = op.inputs[_RHS].shape
    out_features = rhs[op.params["dimension_numbers"].rhs_spec[0]]
    return 2.0 * math.prod(op.outputs[_OUT].shape) * math.prod(rhs) / max(out_features, 1)


_WINDOW_FOLDS = {
    lax.reduce_window_sum_p: "sum",
    lax.reduce_window_max_p: "max",
    lax.reduce_window_min_p: "min",
}


def _side_by_side(op: Op, axis: int, size: int, windows: int) -> int | None:
    """Returns the stride along an axis if its windows tile it exactly, else None."""
    stride = op.params["window_strides"][axis]
    tiled = op.params["window_dimensions"][axis] == stride and size == stride * windows and _undilated(op, axis)
    return stride if tiled else None


def _undilated(op: Op, axis: int) -> bool:
    dilations = (op.params.get(key) for key in ("base_dilation", "window_dilation"))
    return tuple(op.params["padding"][axis]) == (0, 0) and all(d is None or d[axis] == 1 for d in dilations)


@table.axes(lax.reduce_window_p, *_WINDOW_FOLDS, lax.select_and_gather_add_p)
def reduce_window(op: Op) -> list[Dim]:
    """Axes whose windows tile them link, a window a step; one window over all of an axis folds."""
    x, y = op.inputs[0].shape, op.outputs[0].shape
    arrays = [position for position, v in enumerate(op.inputs) if v.ndim == len(x)]
    dims = []
    for axis in range(len(x)):
        stride = _side_by_side(op, axis, x[axis], y[axis])
        covers = op.params["window_dimensions"][axis] == x[axis] and _undilated(op, axis)
        if covers and op.primitive in _WINDOW_FOLDS and x[axis] > 1:
            dims.append(Dim((Member(0, axis),), fold=_WINDOW_FOLDS[op.primitive]))
        elif stride is not None:
            operands = tuple(Member(position, axis, stride) for position in arrays)
            dims.append(Dim(operands, tuple(Member(o, axis) for o in range(len(op.outputs)))))
    return dims


@table.resize(*_WINDOW_FOLDS)
def resize_reduce_window(op: Op, ins: Sequence[Shape], outs: Sequence[Shape]) -> dict[str, Any]:
    """A window that covered all of an axis covers all of it at its new size too."""
    window = op.params["window_dimensions"]
    covering = tuple(
        new if w == old and _undilated(op, axis) and old > 1 and op.outputs[0].shape[axis] == 1 else w
        for axis, (w, old, new) in enumerate(zip(window, op.inputs[0].shape, ins[0], strict=True))
    )
    return {**op.params, "window_dimensions": covering}


@table.flops(lax.reduce_window_p, *_WINDOW_FOLDS, lax.select_and_gather_add_p)
def reduce_window_flops(op: Op) -> float:
    """One operation for each element of each window."""
    return float(math.prod(op.params["window_dimensions"]) * math.prod(op.outputs[0].shape))


def _select_and_scatter_dims(op: Op, source: int, operand: int) -> list[Dim]:
    """Axes whose windows tile them link: one element of the source for each window of the operand."""
    shape, windows = op.inputs[operand].shape, op.inputs[source].shape
    dims = []
    for axis in range(len(shape)):
        stride = _side_by_side(op, axis, shape[axis], windows[axis])
        if stride is not None:
            cut = (Member(source, axis), Member(operand, axis, stride))
            dims.append(Dim(cut, (Member(0, axis, stride),)))
    return dims


@table.axes(lax.select_and_scatter_add_p)
def select_and_scatter_add(op: Op) -> list[Dim]:
    """The gradient of a maximum over windows."""
    return _select_and_scatter_dims(op, source=0, operand=1)


@table.axes(lax.select_and_scatter_p)
def select_and_scatter(op: Op) -> list[Dim]:
    """The same with any selection and scatter; the initial value is a scalar."""
    return _select_and_scatter_dims(op, source=1, operand=0)


@table.flops(lax.select_and_scatter_p, lax.select_and_scatter_add_p)
def select_and_scatter_flops(op: Op) -> float:
    """One operation for each element of the operand."""
    return float(math.prod(op.outputs[0].shape))
