"""Which crossing values are worth keeping: the order in which a region's planner should store them.

Computing a value again in a later stage costs time, keeping it costs bytes. The order is greedy: each
next value is the one whose keeping saves the most time for its bytes, given those kept before.
"""

from __future__ import annotations

import heapq

from memline.analysis import cost
from memline.analysis.axes import Region
from memline.analysis.fusion import FusionModel
from memline.analysis.machine import Machine
from memline.ir.graph import Op, Value


def keep_order(region: Region, fusion: FusionModel, machine: Machine) -> list[Value]:
    """Returns the crossing values that save time when kept, the most worthwhile first."""
    prices = _op_prices(region, fusion, machine)

    def work(kept: frozenset[Value]) -> float:
        stored = region.escapes | kept
        return sum(prices[op] for stage in range(region.stages) for op in region.stage_ops(stage, stored))

    kept: frozenset[Value] = frozenset()
    spent = work(kept)
    order: list[Value] = []

    def gain(v: Value) -> float:
        traffic = 2 * v.size_bytes / machine.memory_bytes_per_s
        return (spent - work(kept | {v}) - traffic) / max(v.size_bytes, 1)

    # Gains only shrink as more is kept, so an entry that is still the best after a fresh look is the best.
    heap = [(-gain(v), index) for index, v in enumerate(region.crossing)]
    heapq.heapify(heap)
    while heap:
        _, index = heapq.heappop(heap)
        v = region.crossing[index]
        fresh = gain(v)
        if fresh <= 0:
            continue
        if heap and fresh < -heap[0][0]:
            heapq.heappush(heap, (-fresh, index))
            continue
        order.append(v)
        kept = kept | {v}
        spent = work(kept)
    return order


def _op_prices(region: Region, fusion: FusionModel, machine: Machine) -> dict[Op, float]:
    buffers = fusion.materialised(region.graph)
    given = set(region.graph.inputs)
    return {op: cost.op_seconds(op, buffers, given, fusion, machine) for op in region.dims}
