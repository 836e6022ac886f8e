"""`dot_general`: parallel in its batch and free axes, summed along the contracted pairs."""

from __future__ import annotations

import math

from jax import lax

from memline.ir.graph import Op
from memline.rules import table
from memline.rules.table import Dim, Member


@table.axes(lax.dot_general_p)
def dot_general(op: Op) -> list[Dim]:
    """Result axes are: batch, free of the left operand, free of the right one."""
    (left_contract, right_contract), (left_batch, right_batch) = op.params["dimension_numbers"]
    left, right = op.inputs
    dims = []
    out = 0
    for a, b in zip(left_batch, right_batch, strict=True):
        dims.append(Dim((Member(0, a), Member(1, b)), (Member(0, out),)))
        out += 1
    for position, v, used in (
        (0, left, {*left_contract, *left_batch}),
        (1, right, {*right_contract, *right_batch}),
    ):
        for axis in range(v.ndim):
            if axis not in used:
                dims.append(Dim((Member(position, axis),), (Member(0, out),)))
                out += 1
    for a, b in zip(left_contract, right_contract, strict=True):
        dims.append(Dim((Member(0, a), Member(1, b)), fold="dot"))
    return dims


@table.flops(lax.dot_general_p)
def dot_general_flops(op: Op) -> float:
    """A multiplication and an addition for each element of the result and of the contracted axes."""
    (left_contract, _), _ = op.params["dimension_numbers"]
    contracted = math.prod(op.inputs[0].shape[a] for a in left_contract)
    return 2.0 * contracted * math.prod(op.outputs[0].shape)
