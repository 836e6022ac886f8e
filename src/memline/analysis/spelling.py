"""Looking past the ways to write one thing: fills, copies of an array, and where an op puts an axis."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

from memline.ir.graph import Graph, Op, Value
from memline.rules import table

_FILLS = frozenset("broadcast_in_dim reshape convert_element_type".split())
_COMPARED = frozenset("select_n broadcast_in_dim reshape squeeze transpose convert_element_type mul div add sub".split())
_DEPTH = 3


def fill_of(graph: Graph, v: Value) -> Any:
    """Returns the number that a value holds everywhere, or None where it is not seen to hold one."""
    maker = graph.producer.get(v)
    while isinstance(maker, Op) and maker.kind in _FILLS:
        v = maker.inputs[0]
        maker = graph.producer.get(v)
    if not v.is_const or v.shape != () or not (_is_number(v)):
        return None
    return np.asarray(v.const)[()]


def _is_number(v: Value) -> bool:
    return jnp.issubdtype(v.dtype, np.floating) or jnp.issubdtype(v.dtype, np.integer)


def is_widening(op: Op) -> bool:
    """Whether a conversion between floats keeps every number as it is."""
    x, y = op.inputs[0].dtype, op.outputs[0].dtype
    return jnp.issubdtype(x, np.floating) and jnp.promote_types(x, y) == y


def same_elements(graph: Graph, a: Value, b: Value, depth: int = _DEPTH) -> bool:
    """Whether two values are seen to hold the same numbers: one value, or made alike, or one widened.

    `softmax(x, where=mask)` writes the masked x twice, with two constants that differ in how they are made.
    """
    if a is b:
        return True
    maker_a, maker_b = graph.producer.get(a), graph.producer.get(b)
    if isinstance(maker_a, Op) and maker_a.kind == "convert_element_type" and is_widening(maker_a):
        return same_elements(graph, maker_a.inputs[0], b, depth)
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    fill = fill_of(graph, a)
    if fill is not None:
        return fill == fill_of(graph, b)
    if depth == 0 or not (isinstance(maker_a, Op) and isinstance(maker_b, Op)) or maker_a.kind not in _COMPARED:
        return False
    return (
        maker_a.primitive is maker_b.primitive
        and maker_a.params == maker_b.params
        and all(same_elements(graph, x, y, depth - 1) for x, y in zip(maker_a.inputs, maker_b.inputs, strict=True))
    )


def axes_between(op: Op, position: int) -> dict[int, int]:
    """Returns where the axes of an operand are in the op's only result, for those that are there element by element."""
    return {
        member.axis: dim.results[0].axis
        for dim in table.dims_of(op)
        if dim.fold is None and len(dim.results) == 1
        for member in dim.operands
        if member.position == position and member.unit == dim.results[0].unit
    }
