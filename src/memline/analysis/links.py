"""How one node is cut along one axis: the dim of an op's rule, or the way through a loop, in given steps."""

from __future__ import annotations

import math
from dataclasses import dataclass

from memline.ir.graph import Node, Op
from memline.ir.spread import is_bound, is_in_other_mesh
from memline.rules import table
from memline.rules.table import Dim

_LARGEST_OFFSET = 2**31 - 1


@dataclass(frozen=True)
class Along:
    """How a value runs along a region's steps: `unit` elements of `axis` a step."""

    axis: int
    unit: int


class RescaleError(Exception):
    """Raised when a link needs steps `factor` times as long as those the growth began with."""

    def __init__(self, factor: int) -> None:
        self.factor = factor


class BlockedError(Exception):
    """Raised where what a node runs does not keep an axis parallel; says what stands in the way."""


def dim_of_op(op: Op, along: Along, steps: int, *, operand: int | None = None, result: int | None = None) -> Dim | None:
    """Returns the op's dim that holds this axis of an operand or a result, in steps of `along`'s unit.

    None where the op cannot be cut so.

    Raises:
      RescaleError: it can, in longer steps.
    """
    position = operand if operand is not None else result
    for dim in table.dims_of(op):
        if dim.fold is None and len(dim.results) != len(op.outputs):
            continue  # a result that does not run along the dim would be needed whole
        for member in dim.operands if operand is not None else dim.results:
            if member.position == position and member.axis == along.axis:
                if along.unit % member.unit:
                    factor = math.lcm(along.unit, member.unit) // along.unit
                    if steps % factor or steps // factor < 2:
                        return None
                    raise RescaleError(factor)
                dim = dim.scaled(along.unit // member.unit)
                return dim if can_be_cut(op, dim) else None
    return None


def piece_of(dim: Dim, position: int) -> Along | None:
    """Returns how a node that is cut along `dim` cuts its operand; None where it needs the operand whole."""
    for member in dim.operands:
        if member.position == position:
            return Along(member.axis, member.unit)
    return None


def can_be_cut(node: Node, dim: Dim) -> bool:
    """Whether pieces along a dim can be told by int32 offsets, of arrays in one device's own memory."""
    axes = [(node.inputs[m.position], m.axis) for m in dim.operands]
    axes += [(node.outputs[m.position], m.axis) for m in dim.results]
    if any(v.shape[axis] > _LARGEST_OFFSET for v, axis in axes):
        return False
    if isinstance(node, Op) and is_in_other_mesh(node.context):  # a loop around it would not be in it
        return False
    return not any(is_bound(v.aval) for v in (*node.inputs, *node.outputs))
