"""Regions: what a split of one value along one axis takes with it; and their stages.

From one big value and one of its axes the region grows along the links that the axes rules give:
backwards to the producers, until inputs or small values (these are sliced), and forwards to the
consumers, until the axis is folded (an accumulator), leaves as a result (stacked) or is needed whole
(an escape: stacked, then used whole). An op takes part along one dim only; a value that is also wanted
along another axis, or whole, is stored whole and read from there by a later stage.

A stage is one loop over the axis. Whatever needs the whole of something that stage s makes runs in
stage s + 1 or later, but for what `passes.defer` freed of waiting. See DESIGN: axis links, regions, stages.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from memline import compat
from memline.analysis.compared import compared_later
from memline.analysis.running import Rescale, Running
from memline.ir.graph import Graph, Node, Op, Value
from memline.rules import table
from memline.rules.table import Dim

_LARGEST_OFFSET = 2**31 - 1


@dataclass(frozen=True)
class Along:
    """How a value runs along a region's steps: `unit` elements of `axis` a step."""

    axis: int
    unit: int


@dataclass(frozen=True, eq=False)
class Region:
    """The ops that one split cuts into chunks, and the values they make in pieces."""

    graph: Graph
    steps: int
    """How many steps the axis has; a chunk is a number of them."""
    along: dict[Value, Along]
    """The values that the region makes in pieces."""
    dims: dict[Op, Dim]
    """The dim along which each op of the region is cut; a folded one makes the op an accumulator."""
    running: dict[tuple[Op, int], Running] = field(default_factory=dict)
    """The operands (op, position) that are read while the maximum behind them still runs; see `passes.defer`."""
    rescaled: dict[Op, tuple[Rescale, ...]] = field(default_factory=dict)
    """The folds that make up for what ops before them read of running maxima."""

    def aligned(self, op: Op, position: int) -> bool:
        """Whether an op of the region reads this operand in just the pieces in which the region makes it."""
        along = self.along.get(op.inputs[position])
        return along is not None and along == self.piece(op, position)

    def piece(self, op: Op, position: int) -> Along | None:
        """How an op of the region cuts its operand; None where it needs the operand whole."""
        for member in self.dims[op].operands:
            if member.position == position:
                return Along(member.axis, member.unit)
        return None

    @cached_property
    def memo(self) -> dict[Any, Any]:
        """What passes keep of this region from one chunk size to the next; holds no results of theirs."""
        return {}

    @cached_property
    def stage(self) -> dict[Op, int]:
        """The first loop in which each op of the region can run."""
        stage: dict[Op, int] = {}
        whole_after: dict[Value, int] = {}
        for node in self.graph.nodes:
            if isinstance(node, Op) and node in self.dims:
                earliest = 0
                for position, v in enumerate(node.inputs):
                    if self.aligned(node, position):
                        earliest = max(earliest, stage[self._maker(v)])
                    elif (node, position) in self.running:
                        earliest = max(earliest, stage[self.running[node, position].maximum])
                    else:
                        earliest = max(earliest, whole_after.get(v, 0))
                stage[node] = earliest
                ready = earliest + 1
            else:
                ready = max((whole_after.get(v, 0) for v in node.inputs), default=0)
            for v in node.outputs:
                whole_after[v] = ready
        return stage

    @cached_property
    def escapes(self) -> frozenset[Value]:
        """The values made in pieces that something needs whole, or in just these bits later: they are stacked."""
        found = {v for v in self.graph.outputs if v in self.along}
        found.update(compared_later(self))
        for v in self.along:
            for node, position in self.graph.consumers.get(v, ()):
                if not (isinstance(node, Op) and node in self.dims and self.aligned(node, position)):
                    found.add(v)
        return frozenset(found)

    @cached_property
    def crossing(self) -> tuple[Value, ...]:
        """The values that a later stage reads in pieces and that are not stored whole anyway."""
        found: dict[Value, None] = {}
        for op, feeds in self._feeds.items():
            for v, maker in feeds:
                if v not in self.escapes and self.stage[maker] < self.stage[op]:
                    found.setdefault(v)
        return tuple(found)

    @property
    def stages(self) -> int:
        return 1 + max(self.stage.values(), default=0)

    def stage_ops(self, stage: int, stored: frozenset[Value]) -> list[Op]:
        """Returns the ops that the loop of a stage runs, in program order.

        They are those that make what this stage must deliver, and what they need of earlier stages
        that is not in `stored` and so is computed again.
        """
        needed: set[Op] = set()
        todo = list(self.roots(stage, stored))
        while todo:
            op = todo.pop()
            if op in needed:
                continue
            needed.add(op)
            for v, maker in self._feeds[op]:
                if v not in stored or self.stage[maker] == stage:
                    todo.append(maker)
        return sorted(needed, key=self._order.__getitem__)

    @cached_property
    def _feeds(self) -> dict[Op, tuple[tuple[Value, Op], ...]]:
        """For each op of the region, the operands that it reads in the region's own pieces, and their makers."""
        feeds = {}
        for op in self.dims:
            aligned = (v for i, v in enumerate(op.inputs) if self.aligned(op, i))
            feeds[op] = tuple((v, self._maker(v)) for v in dict.fromkeys(aligned))
        return feeds

    @cached_property
    def _order(self) -> dict[Op, int]:
        return {op: index for index, op in enumerate(self.dims)}

    def _maker(self, v: Value) -> Op:
        maker = self.graph.producer[v]
        assert isinstance(maker, Op)
        return maker

    def roots(self, stage: int, stored: frozenset[Value]) -> Iterator[Op]:
        """Yields the ops of a stage that fold, or whose results are stored whole."""
        yield from self._folds.get(stage, ())
        for v in stored:
            maker = self._makers.get(v)
            if maker is not None and self.stage[maker] == stage:
                yield maker

    @cached_property
    def _folds(self) -> dict[int, list[Op]]:
        folds: dict[int, list[Op]] = {}
        for op, dim in self.dims.items():
            if dim.fold is not None:
                folds.setdefault(self.stage[op], []).append(op)
        return folds

    @cached_property
    def _makers(self) -> dict[Value, Op]:
        return {v: op for op in self.dims for v in op.outputs}


class _Rescale(Exception):
    """Raised when a link needs steps `factor` times as long as those the growth began with."""

    def __init__(self, factor: int) -> None:
        self.factor = factor


def grow_region(graph: Graph, seed: Value, axis: int, small_bytes: int) -> Region | None:
    """Returns the region that splitting `seed` along `axis` makes, or None where it cannot be split.

    Args:
      graph: the program; `seed` is made by one of its ops.
      axis: which axis of `seed`.
      small_bytes: going backwards, values up to this size are sliced rather than made in pieces.
    """
    unit = 1
    while seed.shape[axis] % unit == 0 and seed.shape[axis] // unit > 1:
        growth = _Growth(graph, seed.shape[axis] // unit, small_bytes)
        try:
            return growth.run(seed, Along(axis, unit))
        except _Rescale as needed:
            unit *= needed.factor
    return None


class _Growth:
    """One attempt at growing a region with steps of a given length."""

    def __init__(self, graph: Graph, steps: int, small_bytes: int) -> None:
        self.graph = graph
        self.steps = steps
        self.small_bytes = small_bytes
        self.along: dict[Value, Along] = {}
        self.dims: dict[Op, Dim] = {}
        self.expanded: set[Value] = set()
        self.queue: deque[tuple[Value, Along, bool]] = deque()

    def run(self, seed: Value, along: Along) -> Region | None:
        self.queue.append((seed, along, True))
        while self.queue:
            self._visit(*self.queue.popleft())
        if seed not in self.along:
            return None
        in_order = {n: self.dims[n] for n in self.graph.nodes if isinstance(n, Op) and n in self.dims}
        return Region(self.graph, self.steps, self.along, in_order)

    def _visit(self, v: Value, along: Along, forward: bool) -> None:
        if v not in self.along:
            maker = self.graph.producer.get(v)
            if not isinstance(maker, Op) or maker in self.dims:
                return
            if v.size_bytes <= self.small_bytes and not forward:
                return
            self._join(maker, self._dim(maker, along, result=maker.outputs.index(v)))
        if v in self.expanded or v not in self.along:
            return
        self.expanded.add(v)
        for node, position in self.graph.consumers.get(v, ()):
            if isinstance(node, Op) and node not in self.dims:
                consumer_dim = self._dim(node, self.along[v], operand=position)
                if consumer_dim is not None:
                    self._join(node, consumer_dim)

    def _join(self, op: Op, dim: Dim | None) -> None:
        if dim is None or op in self.dims or not _can_be_cut(op, dim):
            return
        self.dims[op] = dim
        for member in dim.operands:
            self.queue.append((op.inputs[member.position], Along(member.axis, member.unit), False))
        for member in dim.results:
            result = op.outputs[member.position]
            self.along[result] = Along(member.axis, member.unit)
            self.queue.append((result, self.along[result], True))

    def _dim(self, op: Op, along: Along, *, operand: int | None = None, result: int | None = None) -> Dim | None:
        """Returns the op's dim that holds this operand or result axis, in steps of the region's length."""
        position = operand if operand is not None else result
        for dim in table.dims_of(op):
            if dim.fold is None and len(dim.results) != len(op.outputs):
                continue  # a result that does not run along the dim would be needed whole
            for member in dim.operands if operand is not None else dim.results:
                if member.position == position and member.axis == along.axis:
                    if along.unit % member.unit:
                        factor = math.lcm(along.unit, member.unit) // along.unit
                        if self.steps % factor or self.steps // factor < 2:
                            return None
                        raise _Rescale(factor)
                    return dim.scaled(along.unit // member.unit)
        return None


def _can_be_cut(op: Op, dim: Dim) -> bool:
    """Whether pieces along a dim can be told by int32 offsets, of arrays that are not spread over devices."""
    axes = [(op.inputs[m.position], m.axis) for m in dim.operands]
    axes += [(op.outputs[m.position], m.axis) for m in dim.results]
    if any(v.shape[axis] > _LARGEST_OFFSET for v, axis in axes):
        return False
    return not any(compat.is_sharded(v.aval) for v in (*op.inputs, *op.outputs))


def outside(region: Region) -> Iterator[Node]:
    """Yields the nodes of the graph that are not part of the region, in program order."""
    for node in region.graph.nodes:
        if not (isinstance(node, Op) and node in region.dims):
            yield node
