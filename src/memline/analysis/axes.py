"""Regions: what a split of one value along one axis takes with it; and their stages.

From one big value and one of its axes the region grows along the links that the axes rules give:
backwards to the producers, until inputs or small values (these are sliced), and forwards to the
consumers, until the axis is folded (an accumulator), leaves as a result (stacked) or is needed whole
(an escape: stacked, then used whole). An op takes part along one dim only; a value that is also wanted
along another axis, or whole, is stored whole and read from there by a later stage.

An axis passes through a loop, a `while` or a `cond` of the user's where what it runs keeps it parallel, or where it
is the axis of the loop's own steps (`analysis.through`). Such a loop goes through its steps in one direction, and the
stage that it is in with it: a gradient's backward pass makes a stage that runs backward.

A stage is one loop over the axis. Whatever needs the whole of something that stage s makes runs in
stage s + 1 or later, but for what `passes.defer` freed of waiting. See DESIGN: axis links, regions, stages.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from functools import cached_property
from typing import Any

from memline.analysis.compared import asked_again, compared_later
from memline.analysis.links import Along, RescaleError, dim_of_op, piece_of
from memline.analysis.merges import GOING_ON, Merge, Merges
from memline.analysis.running import Rescale, Running
from memline.analysis.through import way_through
from memline.analysis.ways import Through
from memline.ir.graph import Graph, Loop, Node, Op, Value
from memline.rules import folds
from memline.rules.table import Dim


class Direction(Enum):
    """Which way a stage's loop goes through the chunks."""

    FORWARD = "forward"
    BACKWARD = "backward"


@dataclass(frozen=True, eq=False)
class Region:
    """The nodes that one split cuts into chunks, and the values they make in pieces."""

    graph: Graph
    steps: int
    """How many steps the axis has; a chunk is a number of them."""
    along: dict[Value, Along]
    """The values that the region makes in pieces."""
    dims: dict[Node, Dim]
    """The dim along which each node of the region is cut; a folded one makes it an accumulator."""
    through: dict[Node, Through] = field(default_factory=dict)
    """How the split passes through the nodes of the region that run graphs."""
    running: dict[tuple[Op, int], Running] = field(default_factory=dict)
    """The operands (op, position) that are read while the maximum behind them still runs; see `passes.defer`."""
    rescaled: dict[Op, tuple[Rescale, ...]] = field(default_factory=dict)
    """The folds that make up for what ops before them read of running maxima."""

    def aligned(self, op: Node, position: int) -> bool:
        """Whether a node of the region reads this operand in just the pieces in which the region makes it."""
        along = self.along.get(op.inputs[position])
        return along is not None and along == self.piece(op, position)

    def piece(self, op: Node, position: int) -> Along | None:
        """How a node of the region cuts its operand; None where it needs the operand whole."""
        return piece_of(self.dims[op], position)

    @cached_property
    def memo(self) -> dict[Any, Any]:
        """What passes keep of this region from one chunk size to the next; holds no results of theirs."""
        return {}

    @cached_property
    def stage(self) -> dict[Node, int]:
        """The first loop in which each node of the region can run."""
        stage: dict[Node, int] = {}
        directions: dict[int, Direction] = {}
        whole_after: dict[Value, int] = {}
        for node in self.graph.nodes:
            if node in self.dims:
                earliest = 0
                for position, v in enumerate(node.inputs):
                    if self.aligned(node, position):
                        earliest = max(earliest, stage[self.graph.producer[v]])
                    elif isinstance(node, Op) and (node, position) in self.running:
                        earliest = max(earliest, stage[self.running[node, position].maximum])
                    elif self.reads_same(node, position):
                        earliest = max(earliest, stage[self.graph.producer[v]])
                    else:
                        earliest = max(earliest, whole_after.get(v, 0))
                wanted = self.direction(node)
                while wanted is not None and directions.setdefault(earliest, wanted) is not wanted:
                    earliest += 1
                stage[node] = earliest
                ready = earliest + 1
            else:
                ready = max((whole_after.get(v, 0) for v in node.inputs), default=0)
            for v in node.outputs:
                whole_after[v] = ready
        return stage

    def direction(self, node: Node) -> Direction | None:
        """Which way through the chunks a node of the region needs; None where it does not matter."""
        if isinstance(node, Loop):
            if not self.is_sequential(node):
                return None
            return Direction.BACKWARD if node.reverse else Direction.FORWARD
        fold = self.dims[node].fold
        # What is merged by one primitive can be merged in any order; the others count on that of the axis.
        return Direction.FORWARD if fold is not None and folds.fold_named(fold).combine is None else None

    def is_sequential(self, node: Node) -> bool:
        """Whether a node of the region is a loop whose own steps are cut, and which hands on carries."""
        return isinstance(node, Loop) and self.through[node].is_sequential and bool(node.carried)

    def runs_backward(self, stage: int) -> bool:
        """Whether the loop of a stage takes the last chunk first."""
        return any(
            at == stage and isinstance(node, Loop) and self.direction(node) is Direction.BACKWARD
            for node, at in self.stage.items()
        )

    @cached_property
    def escapes(self) -> frozenset[Value]:
        """The values made in pieces that something needs whole, or in just these bits later: they are stacked."""
        found = {v for v in self.graph.outputs if v in self.along}
        found.update(compared_later(self))
        for v in self.along:
            for node, position in self.graph.consumers.get(v, ()):
                if node not in self.dims or not self.aligned(node, position):
                    found.add(v)
        return frozenset({*found, *asked_again(self, frozenset(found))})

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

    def stage_ops(self, stage: int, stored: frozenset[Value]) -> list[Node]:
        """Returns the nodes that the loop of a stage runs, in program order.

        They are those that make what this stage must deliver, and what they need of earlier stages
        that is not in `stored` and so is computed again.
        """
        needed: set[Node] = set()
        todo = list(self.roots(stage, stored))
        while todo:
            op = todo.pop()
            if op in needed:
                continue
            needed.add(op)
            for v, maker in self._feeds[op]:
                if v not in stored or self.stage[maker] == stage:
                    todo.append(maker)
            todo.extend(maker for maker in self._makers_of_same[op] if self.stage[maker] == stage)
        return sorted(needed, key=self._order.__getitem__)

    def rerun(self, stage: int, stored: frozenset[Value]) -> list[Loop]:
        """Returns the loops along their own steps that run in a stage, having run in an earlier one already."""
        again = (node for node in self.stage_ops(stage, stored) if self.stage[node] < stage)
        return [node for node in again if isinstance(node, Loop) and self.is_sequential(node)]

    @cached_property
    def _feeds(self) -> dict[Node, tuple[tuple[Value, Node], ...]]:
        """For each node of the region, the operands that it reads in the region's own pieces, and their makers."""
        feeds = {}
        for op in self.dims:
            aligned = (v for i, v in enumerate(op.inputs) if self.aligned(op, i))
            feeds[op] = tuple((v, self.graph.producer[v]) for v in dict.fromkeys(aligned))
        return feeds

    @cached_property
    def _makers_of_same(self) -> dict[Node, tuple[Node, ...]]:
        """For each node of the region, the makers of what it reads as it was in its own chunk; see `reads_same`."""
        return {
            op: tuple(self.graph.producer[v] for at, v in enumerate(op.inputs) if self.reads_same(op, at))
            for op in self.dims
        }

    @cached_property
    def _order(self) -> dict[Node, int]:
        return {op: index for index, op in enumerate(self.dims)}

    def roots(self, stage: int, stored: frozenset[Value]) -> Iterator[Node]:
        """Yields the nodes of a stage that fold, or whose results are stored whole."""
        yield from self._folds.get(stage, ())
        for v in stored:
            maker = self._makers.get(v)
            if maker is not None and self.stage[maker] == stage:
                yield maker

    def merged(self, node: Node) -> Merges:
        """Returns how the results of a node that runs graphs are merged, by position: those that something needs."""
        if self.through[node].is_sequential:
            return self.through[node].merged
        read = (v in self.graph.consumers or v in self.graph.outputs for v in node.outputs)
        is_read = dict(enumerate(read))
        return {at: merge for at, merge in self.through[node].merged.items() if is_read[at]}

    def reads_same(self, node: Node, position: int) -> bool:
        """Whether a node of the region reads whole what every chunk makes alike: it need not wait for other chunks.

        What an accumulator begins with is wanted before the first chunk.
        """
        v = node.inputs[position]
        maker = self.graph.producer.get(v)
        if maker not in self.through or self.piece(node, position) is not None:
            return False
        if self.dims[node].fold is not None or position in self.goes_on(node):
            return False
        return self.through[maker].merged.get(maker.outputs.index(v)) is Merge.SAME

    def goes_on(self, node: Node) -> set[int]:
        """Returns which operands of a node are carries that chunks begin with as the accumulators have it."""
        if not node.bodies:
            return set()
        first = len(node.inputs) - len(node.carried)
        return {first + at for at, merge in self.merged(node).items() if merge in GOING_ON}

    def folds(self, node: Node) -> bool:
        """Whether a node of the region makes an accumulator."""
        return bool(self.merged(node)) if node.bodies else self.dims[node].fold is not None

    @cached_property
    def _folds(self) -> dict[int, list[Node]]:
        found: dict[int, list[Node]] = {}
        for node in self.dims:
            if self.folds(node):
                found.setdefault(self.stage[node], []).append(node)
        return found

    @cached_property
    def _makers(self) -> dict[Value, Node]:
        return {v: op for op in self.dims for v in op.outputs}


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
        except RescaleError as needed:
            unit *= needed.factor
    return None


class _Growth:
    """One attempt at growing a region with steps of a given length."""

    def __init__(self, graph: Graph, steps: int, small_bytes: int) -> None:
        self.graph = graph
        self.steps = steps
        self.small_bytes = small_bytes
        self.along: dict[Value, Along] = {}
        self.dims: dict[Node, Dim] = {}
        self.through: dict[Node, Through] = {}
        self.expanded: set[Value] = set()
        self.queue: deque[tuple[Value, Along, bool]] = deque()

    def run(self, seed: Value, along: Along) -> Region | None:
        self.queue.append((seed, along, True))
        while self.queue:
            self._visit(*self.queue.popleft())
        if seed not in self.along:
            return None
        in_order = {n: self.dims[n] for n in self.graph.nodes if n in self.dims}
        return Region(self.graph, self.steps, self.along, in_order, self.through)

    def _visit(self, v: Value, along: Along, forward: bool) -> None:
        if v not in self.along:
            maker = self.graph.producer.get(v)
            if maker is None or (maker in self.dims and not maker.bodies):
                return
            if v.size_bytes <= self.small_bytes and not forward:
                return
            self._join(maker, self._dim(maker, along, result=maker.outputs.index(v)))
        if v in self.expanded or v not in self.along:
            return
        self.expanded.add(v)
        for node, position in self.graph.consumers.get(v, ()):
            if node not in self.dims or (node.bodies and piece_of(self.dims[node], position) is None):
                self._join(node, self._dim(node, self.along[v], operand=position))

    def _join(self, node: Node, dim: Dim | None) -> None:
        if dim is None:
            return
        self.dims[node] = dim
        for member in dim.operands:
            self.queue.append((node.inputs[member.position], Along(member.axis, member.unit), False))
        for member in dim.results:
            result = node.outputs[member.position]
            self.along[result] = Along(member.axis, member.unit)
            self.queue.append((result, self.along[result], True))

    def _dim(self, node: Node, along: Along, *, operand: int | None = None, result: int | None = None) -> Dim | None:
        """Returns the node's dim that holds this operand or result axis, in steps of the region's length."""
        if not node.bodies:
            assert isinstance(node, Op)
            return dim_of_op(node, along, self.steps, operand=operand, result=result)
        beside = self.through.get(node)
        try:
            through = way_through(node, along, self.steps, operand=operand, result=result, beside=beside)
        except RescaleError:
            if beside is None:
                raise
            return None  # not for what may as well be whole
        if through is None:
            return None
        self.through[node] = through
        return through.dim


def outside(region: Region) -> Iterator[Node]:
    """Yields the nodes of the graph that are not part of the region, in program order."""
    for node in region.graph.nodes:
        if node not in region.dims:
            yield node
