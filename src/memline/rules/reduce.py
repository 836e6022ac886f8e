"""Reductions and cumulative ops: parallel along the axes they keep, folded along those they reduce."""

from __future__ import annotations

import math

from jax import lax

from memline.ir.graph import Op
from memline.rules import table
from memline.rules.table import Dim, Member

_FOLDS = {
    lax.reduce_sum_p: "sum",
    lax.reduce_max_p: "max",
    lax.reduce_min_p: "min",
    lax.reduce_prod_p: "prod",
    lax.reduce_and_p: "and",
    lax.reduce_or_p: "or",
    lax.reduce_xor_p: "xor",
    lax.argmax_p: "argmax",
    lax.argmin_p: "argmin",
}


@table.axes(*_FOLDS)
def reduction(op: Op) -> list[Dim]:
    """Kept axes link; reduced ones fold with the reduction's own monoid."""
    reduced = set(op.params["axes"])
    dims = []
    kept = 0
    for axis in range(op.inputs[0].ndim):
        if axis in reduced:
            dims.append(Dim((Member(0, axis),), fold=_FOLDS[op.primitive]))
        else:
            dims.append(Dim((Member(0, axis),), (Member(0, kept),)))
            kept += 1
    return dims


@table.flops(*_FOLDS)
def reduction_flops(op: Op) -> float:
    """One operation for each element that goes in."""
    return float(math.prod(op.inputs[0].shape))


@table.axes(lax.cumsum_p, lax.cumprod_p, lax.cummax_p, lax.cummin_p, lax.cumlogsumexp_p)
def cumulative(op: Op) -> list[Dim]:
    """Every axis links but the one along which it accumulates."""
    return [Dim((Member(0, k),), (Member(0, k),)) for k in range(op.inputs[0].ndim) if k != op.params["axis"]]


@table.axes(lax.reduce_p)
def custom_reduction(op: Op) -> list[Dim]:
    """A reduction by the user's own function: kept axes link in all arrays; the initial values are scalars."""
    arrays = range(len(op.outputs))
    reduced = set(op.params["dimensions"])
    kept = [axis for axis in range(op.inputs[0].ndim) if axis not in reduced]
    return [
        Dim(tuple(Member(i, axis) for i in arrays), tuple(Member(i, k) for i in arrays)) for k, axis in enumerate(kept)
    ]
