"""Looking past the ways to write one thing: fills, copies of an array, and where an op puts an axis."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

from memline.ir.graph import Graph, Op, Value
from memline.rules import table

_FILLS = frozenset("broadcast_in_dim reshape convert_element_type".split())
_COPIES = frozenset("broadcast_in_dim reshape squeeze transpose convert_element_type stop_gradient copy".split())
_COMPARED = frozenset([*_COPIES, "select_n", "mul", "div", "add", "sub"])
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
    return keeps_floats(op.inputs[0].dtype, op.outputs[0].dtype)


def keeps_floats(narrow: Any, wide: Any) -> bool:
    """Whether one type holds every number of another one, of floats.

    >>> keeps_floats(jnp.bfloat16, jnp.float32), keeps_floats(jnp.bfloat16, jnp.float16)
    (True, False)
    """
    if not jnp.issubdtype(narrow, np.floating) or not jnp.issubdtype(wide, np.inexact):
        return False
    a, b = jnp.finfo(narrow), jnp.finfo(wide)
    return bool(a.nmant <= b.nmant and a.maxexp <= b.maxexp and a.minexp >= b.minexp)


def same_elements(graph: Graph, a: Value, b: Value, depth: int = _DEPTH) -> bool:
    """Whether two values are seen to hold the same numbers: one value, or made alike.

    `softmax(x, where=mask)` writes the masked x twice, with two constants that differ in how they are made.
    """
    if a is b:
        return True
    maker_a, maker_b = graph.producer.get(a), graph.producer.get(b)
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


def origin_of(graph: Graph, v: Value) -> tuple[Value, dict[int, int]]:
    """Returns the value of which v is a transposed, widened or reshaped copy, and where its axes are in v.

    Axes of size 1 may come and go, and are left out.
    """
    axes = {axis: axis for axis, size in enumerate(v.shape) if size != 1}
    while True:
        maker = graph.producer.get(v)
        if not isinstance(maker, Op) or maker.kind not in _COPIES:
            return v, axes
        before = maker.inputs[0]
        link = axes_between(maker, 0)
        moved = {axis: axes[link[axis]] for axis, size in enumerate(before.shape) if size != 1 and axis in link}
        if len(moved) < len(axes) or (maker.kind == "convert_element_type" and not is_widening(maker)):
            return v, axes
        v, axes = before, moved


def axes_between(op: Op, position: int) -> dict[int, int]:
    """Returns where the axes of an operand are in the op's only result, for those that are there element by element."""
    return {
        member.axis: dim.results[0].axis
        for dim in table.dims_of(op)
        if dim.fold is None and len(dim.results) == 1
        for member in dim.operands
        if member.position == position and member.unit == dim.results[0].unit
    }
