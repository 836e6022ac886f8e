"""Values that must be the same bits wherever they are read: those that are compared with a selection of themselves.

The gradient of a maximum asks which elements are equal to it, a mask of the k largest which are no less than the
k-th. An element that a later loop computes again may be rounded otherwise there (a compiler joins a multiplication
with an addition where it sees fit), and then no element is the maximum any more. So such values are stored. So is
what a `while` leaves whose elements stop by themselves: computed again, one might stop a turn earlier or later.

The gradient of a clipping asks the same of every element. Where one lies just on the bound (the diagonal of a matrix of
correlations), the answer is a matter of its last bit, and two loops that ask must not be told otherwise: what one adds
the other is to take away. So answers that several loops need are stored; they are a byte each.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import jax.numpy as jnp
import numpy as np

from memline.ir.graph import Graph, Node, Op, Value

if TYPE_CHECKING:
    from memline.analysis.axes import Region

_COMPARING = frozenset("eq ne ge gt le lt eq_to le_to lt_to".split())
_SELECTING = frozenset(
    """
    abs broadcast_in_dim clamp concatenate convert_element_type copy cummax cummin dynamic_slice
    dynamic_update_slice gather max min name neg optimization_barrier pad reduce_max reduce_min
    reduce_window_max reduce_window_min reshape rev scatter scatter-max scatter-min select_n slice sort split
    squeeze stack stop_gradient tile top_k transpose unstack
    """.split()
)
"""Primitives whose results hold elements of their operands as they are, or what is told from their bits alone."""


def compared_later(region: Region) -> Iterator[Value]:
    """Yields what a later stage of a region compares with a selection of itself, or reads of a `while` that stops."""
    for op in region.dims:
        if op.kind == "while" and op.bodies[0].outputs[0] in region.through[op].along:
            yield from (v for v in op.outputs if v in region.along and _is_read_later(region, v, region.stage[op]))
        if region.stage[op] > 0:
            made = _shared(region, op) & region.along.keys()
            yield from (v for v in made if region.stage[region.graph.producer[v]] < region.stage[op])


def asked_again(region: Region, stored: frozenset[Value]) -> Iterator[Value]:
    """Yields the results of comparisons of a value with a selection of itself that several stages need.

    Args:
      region: the region.
      stored: what is stored whole in any case, so that no later stage computes it again.
    """
    asking = [op for op in region.dims if region.stages > 1 and _shared(region, op)]
    if asking:
        runs = [set(region.stage_ops(stage, stored)) for stage in range(region.stages)]
        yield from (op.outputs[0] for op in asking if sum(op in run for run in runs) > 1)


def _shared(region: Region, op: Node) -> set[Value]:
    """Returns the values of which both operands of a comparison of floating-point numbers hold elements."""
    if op.kind not in _COMPARING or not _is_floating(op.inputs[0]):
        return set()
    left, right = (_origins(region.graph, v) for v in op.inputs)
    return left & right


def _is_read_later(region: Region, v: Value, stage: int) -> bool:
    readers = (reader for reader, _ in region.graph.consumers.get(v, ()))
    return any(region.stage.get(reader, stage) > stage for reader in readers)


def _origins(graph: Graph, v: Value) -> set[Value]:
    """Returns the value with all those of which it holds elements as they are."""
    found, todo = {v}, [v]
    while todo:
        maker = graph.producer.get(todo.pop())
        if isinstance(maker, Op) and maker.kind in _SELECTING:
            new = [x for x in maker.inputs if x not in found and _is_floating(x)]
            found.update(new)
            todo.extend(new)
    return found


def _is_floating(v: Value) -> bool:
    return v.dtype is not None and jnp.issubdtype(v.dtype, np.inexact)
