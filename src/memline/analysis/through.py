"""How a split passes through a loop, a `while` or a `cond`: by the axes that what they run keeps parallel.

They are found by a fixpoint over the bodies. An axis of a carry, of a stacked input or of a result is an axis of
the whole loop where every node of the body that meets it can be cut along it, and each carry leaves the body as it
came in. What the body folds along the axis (the gradient of a weight that all rows share) each chunk makes a part
of: the parts are summed outside, where the way from the fold to the loop's result is linear; a carry that such parts
are only added to goes on from chunk to chunk. What does not meet the axis at all is computed alike for every chunk.
Anything else, such as a norm over the axis or a test of a folded value, stands in the way, and then the loop needs
its operands whole.

A `while` that was mapped over stops element by element: its test has the mapped axes, and `jax.lax.while_p` goes on
until no element does, keeping what those that stopped ended with. A chunk then stops as soon as all of its own
elements have. A test without the axis must be the same for every chunk. So must be which branch a `cond` takes; an
axis passes through a `cond` where it passes through each of its branches.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from functools import cached_property
from operator import attrgetter
from weakref import WeakKeyDictionary

from memline.analysis.links import Along, BlockedError, RescaleError, can_be_cut, dim_of_op, piece_of
from memline.analysis.merges import Ends, Merge, merges_of
from memline.analysis.ports import Port, ports_of
from memline.analysis.ways import Seed, Through
from memline.ir.graph import Graph, Loop, Node, Op, Value
from memline.ir.text import node_name
from memline.rules.table import Dim, Member

_BIG = 4
"""Values of at least one such part of the biggest are big."""

_KNOWN: WeakKeyDictionary[Node, dict[tuple[frozenset[Seed], int], Through | str]] = WeakKeyDictionary()
"""By node: the ways through it that were looked for, or what stands in the way."""


def may_pass(node: Node) -> bool:
    """Whether a split may meet the node: an op, or a loop that takes a step at a time, as the user's own do."""
    return isinstance(node, Op) or (node.chunk == 1 and node.tail is None)


def way_through(
    node: Node,
    along: Along,
    steps: int,
    *,
    operand: int | None = None,
    result: int | None = None,
    beside: Through | None = None,
) -> Through | None:
    """Returns how a split along an axis of one operand or result passes through what a node runs; None if it cannot.

    Args:
      node: a loop, or an opened `while` or `cond`.
      along: the axis, and how it is counted.
      steps: how many steps it has.
      operand: the position of the operand.
      result: or else that of the result.
      beside: a way that is taken already, with which this one is to be one.

    Raises:
      RescaleError: it can, in steps longer than `steps` to the axis.
    """
    found = _way(node, along, steps, operand, result, beside)
    return found if isinstance(found, Through) else None


def obstacle(node: Node) -> str | None:
    """Returns what keeps splits from passing through a node that runs graphs; None where one passes.

    The big values that the node takes and gives are looked at; it is told of the longest axis of the biggest.
    """
    places = [(v, at, None) for at, v in enumerate(node.inputs)] + [(v, None, at) for at, v in enumerate(node.outputs)]
    places.sort(key=lambda place: -place[0].size_bytes)
    why = None
    for v, operand, result in places:
        if v.size_bytes * _BIG < places[0][0].size_bytes:
            break
        for axis in sorted(range(v.ndim), key=lambda axis: -v.shape[axis]):
            try:
                found = _way(node, Along(axis, 1), v.shape[axis], operand, result)
            except RescaleError:
                return None
            if isinstance(found, Through):
                return None
            why = why or found
    return why


def _way(
    node: Node, along: Along, steps: int, operand: int | None, result: int | None, beside: Through | None = None
) -> Through | str:
    """Returns the way through a node, or what stands in it."""
    if not may_pass(node):
        return "it is in chunks already"
    if beside is not None and beside.is_sequential:
        return "it is cut along its steps"
    is_operand, position = operand is not None, operand if operand is not None else result
    assert position is not None
    seeds = frozenset([(is_operand, position, along)])
    if beside is not None:
        seeds |= beside.seeds
    key = (seeds, steps)
    known = _KNOWN.setdefault(node, {})
    if key not in known:
        of_steps = None
        if beside is None and isinstance(node, Loop):
            of_steps = _along_steps(node, is_operand, position, along, steps)
        try:
            known[key] = of_steps or _Growth(node, steps).run(seeds)
        except BlockedError as blocked:
            known[key] = str(blocked)
    return known[key]


def _along_steps(loop: Loop, is_operand: bool, position: int, along: Along, steps: int) -> Through | None:
    """Returns the way along the loop's own steps, if the axis is theirs."""
    n_carried = len(loop.carried)
    cuts = loop.sliced if is_operand else loop.stacked
    index = position if is_operand else position - n_carried
    if _knows_its_step(loop.body):
        return None
    if not 0 <= index < len(cuts) or cuts[index].axis != along.axis:
        return None
    unit = cuts[index].unit
    if along.unit % unit:
        factor = math.lcm(along.unit, unit) // along.unit
        if steps % factor or steps // factor < 2:
            return None
        raise RescaleError(factor)
    each = along.unit // unit
    dim = Dim(
        tuple(Member(at, s.axis, s.unit * each) for at, s in enumerate(loop.sliced)),
        tuple(Member(n_carried + at, s.axis, s.unit * each) for at, s in enumerate(loop.stacked)),
    )
    if not can_be_cut(loop, dim):
        return None
    return Through(dim, {}, {}, {}, dict.fromkeys(range(n_carried), Merge.CARRY), is_sequential=True)


def _knows_its_step(body: Graph) -> bool:
    """Whether a body reads the number of the step that it is at: shorter runs would tell it wrong."""
    return body.inputs[0] in body.consumers or body.inputs[0] in body.outputs


@dataclass(eq=False)
class _Growth:
    """One attempt at carrying an axis through what a node runs."""

    node: Node
    steps: int
    along: dict[Value, Along] = field(default_factory=dict)
    dims: dict[Node, Dim] = field(default_factory=dict)
    inner: dict[Node, Through] = field(default_factory=dict)
    passed: dict[Port, Along] = field(default_factory=dict)
    queue: deque[tuple[Value, Along]] = field(default_factory=deque)
    """What is wanted in pieces, and not looked at yet."""
    marked: deque[Value] = field(default_factory=deque)
    """What is in pieces, and whose readers are not looked at yet."""

    def __post_init__(self) -> None:
        self.ports = ports_of(self.node)
        self.producer: dict[Value, Node] = {}
        self.consumers: dict[Value, tuple[tuple[Node, int], ...]] = {}
        for body in self.node.bodies:
            self.producer.update(body.producer)
            self.consumers.update(body.consumers)
        self.entering = {v: port for port in self.ports for v in port.inputs}
        self.leaving: dict[Value, list[Port]] = {}
        for port in self.ports:
            for body, at in port.outputs:
                self.leaving.setdefault(self.node.bodies[body].outputs[at], []).append(port)

    @cached_property
    def test(self) -> Value | None:
        """What a `while` goes on by."""
        return self.node.bodies[0].outputs[0] if self.node.kind == "while" else None

    def run(self, seeds: frozenset[Seed]) -> Through:
        for is_operand, position, along in seeds:
            ports = [port for port in self.ports if position == (port.operand if is_operand else port.result)]
            if not ports:
                raise BlockedError("it says which branch is taken")
            self._pass(ports[0], along)
        while self.marked or self.queue:
            if self.marked:
                self._spread(self.marked.popleft())
            else:
                self._visit(*self.queue.popleft())
        self._check_alignment()
        ends = self._ends()
        merged = merges_of(self.node, self.along, self.dims, {n: t.merged for n, t in self.inner.items()}, ends)
        dim = self._dim_outside()
        if not dim.results and all(merge is Merge.SAME for merge in merged.values()):
            raise BlockedError("it is the same for every chunk")
        if not can_be_cut(self.node, dim):
            raise BlockedError("the axis is too long, or spread over devices")
        taken = {
            (body, at): end
            for body, of_body in enumerate(ends)
            for at, end in enumerate(of_body)
            if end is not None and self.node.bodies[body].outputs[at] not in self.along
        }
        return Through(dim, self.along, self.dims, self.inner, merged, taken, seeds=seeds)

    def _want(self, v: Value, along: Along) -> None:
        self.queue.append((v, along))

    def _pass(self, port: Port, along: Along) -> None:
        """Has everything that a port stands for run along the axis."""
        if port in self.passed:
            if self.passed[port] != along:
                raise BlockedError("a carry changes its axes")
            return
        if isinstance(self.node, Loop) and along.axis == _axis_of_steps(self.node, port):
            raise BlockedError("the axis is that of its steps")
        self.passed[port] = along
        for v in port.inputs:
            self._want(v, along)
        for body, at in port.outputs:
            self._want(self.node.bodies[body].outputs[at], along)
        if port.operand is not None and port.result is not None:
            self._stop_alike(along)

    def _stop_alike(self, along: Along) -> None:
        """A test with axes says for each element whether it goes on: it runs along them with every carry."""
        if self.test is None or along.axis >= self.test.ndim:
            return
        self._want(self.test, along)
        for port in self.ports:
            if port.operand is not None and port.result is not None:
                self._pass(port, along)

    def _visit(self, v: Value, along: Along) -> None:
        """Has a body make or take a value in pieces."""
        if v.is_const:
            return  # pieces of it are cut where they are read
        if v in self.along:
            if self.along[v] != along:
                raise BlockedError(f"{v.name} is wanted along two axes")
            return
        maker = self.producer.get(v)
        if maker is None:
            if v not in self.entering:
                raise BlockedError("the number of its step is a scalar")
            self._mark(v, along)
            return
        if maker in self.dims and not maker.bodies:
            raise BlockedError(f"{node_name(maker)} folds the axis")
        dim = self._dim(maker, along, result=maker.outputs.index(v))
        if dim is None and maker in self.dims:
            raise BlockedError(f"{node_name(maker)} folds the axis")
        if dim is not None:  # else pieces of it are cut where they are read, if it is the same for every chunk
            self._join(maker, dim)

    def _mark(self, v: Value, along: Along) -> None:
        self.along[v] = along
        self.marked.append(v)

    def _spread(self, v: Value) -> None:
        """Has all that reads a value in pieces work on pieces, and all that the value goes on as."""
        along = self.along[v]
        for node, position in self.consumers.get(v, ()):
            if node in self.dims and (not node.bodies or piece_of(self.dims[node], position) is not None):
                continue
            dim = self._dim(node, along, operand=position)
            if dim is None:
                raise BlockedError(f"{node_name(node)} needs the axis whole")
            self._join(node, dim)
        if v in self.entering:
            self._pass(self.entering[v], along)
        for port in self.leaving.get(v, ()):
            self._pass(port, along)
        if v is self.test:
            self._stop_alike(along)

    def _join(self, node: Node, dim: Dim) -> None:
        self.dims[node] = dim
        for member in dim.operands:
            self._want(node.inputs[member.position], Along(member.axis, member.unit))
        for member in dim.results:
            v, along = node.outputs[member.position], Along(member.axis, member.unit)
            if self.along.get(v, along) != along:
                raise BlockedError(f"{v.name} is wanted along two axes")
            if v not in self.along:
                self._mark(v, along)

    def _dim(self, node: Node, along: Along, *, operand: int | None = None, result: int | None = None) -> Dim | None:
        if not node.bodies:
            assert isinstance(node, Op)
            return dim_of_op(node, along, self.steps, operand=operand, result=result)
        beside = self.inner.get(node)
        through = way_through(node, along, self.steps, operand=operand, result=result, beside=beside)
        if through is None or (through.is_sequential and node.carried):
            return None  # a shorter run begins with what the run before ends with, in the same step of this loop
        self.inner[node] = through
        return through.dim

    def _check_alignment(self) -> None:
        """Every reader of pieces reads just these pieces."""
        for v, along in self.along.items():
            for node, position in self.consumers.get(v, ()):
                if node not in self.dims or piece_of(self.dims[node], position) != along:
                    raise BlockedError(f"{node_name(node)} needs the axis whole")

    def _ends(self) -> Ends:
        ends: list[list[Along | None]] = [[None] * len(body.outputs) for body in self.node.bodies]
        for port, along in self.passed.items():
            for body, at in port.outputs:
                ends[body][at] = along
            if self.test is not None and port.result is not None and along.axis < self.test.ndim:
                ends[0][0] = along
        return tuple(map(tuple, ends))

    def _dim_outside(self) -> Dim:
        ways = [(port.operand, port.result, along) for port, along in self.passed.items()]
        return Dim(
            tuple(sorted((Member(at, a.axis, a.unit) for at, _, a in ways if at is not None), key=_POSITION)),
            tuple(sorted((Member(at, a.axis, a.unit) for _, at, a in ways if at is not None), key=_POSITION)),
        )


_POSITION = attrgetter("position")


def _axis_of_steps(loop: Loop, port: Port) -> int | None:
    """Returns which axis of what goes through a port is that of the loop's own steps."""
    if port.operand is not None and port.operand < len(loop.sliced):
        return loop.sliced[port.operand].axis
    if port.operand is None and port.result is not None:
        return loop.stacked[port.result - len(loop.carried)].axis
    return None
