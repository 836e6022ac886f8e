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
from memline.ir.graph import Node, Value


def keep_order(region: Region, fusion: FusionModel, machine: Machine) -> list[Value]:
    """Returns the crossing values that save time when kept, the most worthwhile first."""
    prices = _op_prices(region, fusion, machine)

    kept: frozenset[Value] = frozenset()
    order: list[Value] = []
    loops = [region.stage_ops(stage, region.escapes) for stage in range(region.stages)]
    runs_in: list[set[Node]] = [set(ops) for ops in loops]
    spent = [sum(prices[op] for op in ops) for ops in loops]

    def with_stored(v: Value) -> dict[int, list[Node]]:
        """Returns the loops that change where `v` is stored as well, by stage."""
        maker = region.graph.producer[v]
        home = region.stage[maker]
        stages = [stage for stage, ops in enumerate(runs_in) if maker in ops or stage == home]
        return {stage: region.stage_ops(stage, region.escapes | kept | {v}) for stage in stages}

    def gain(v: Value) -> float:
        traffic = 2 * v.size_bytes / machine.memory_bytes_per_s
        saved = sum(spent[stage] - sum(prices[op] for op in ops) for stage, ops in with_stored(v).items())
        return (saved - traffic) / max(v.size_bytes, 1)

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
        for stage, ops in with_stored(v).items():
            runs_in[stage], spent[stage] = set(ops), sum(prices[op] for op in ops)
        kept = kept | {v}
    return order


def _op_prices(region: Region, fusion: FusionModel, machine: Machine) -> dict[Node, float]:
    buffers = fusion.materialised(region.graph)
    given = set(region.graph.inputs)
    return {node: cost.node_seconds(node, buffers, given, fusion, machine) for node in region.dims}
