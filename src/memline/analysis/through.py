"""How a split passes through a loop: the axes that its body keeps parallel, found by a fixpoint over the body.

An axis of a carry, of a stacked input or of a result is an axis of the whole loop where every node of the
body that meets it can be cut along it, and each carry leaves the body as it came in. What the body folds
along the axis (the gradient of a weight that all rows share) each chunk makes a part of: the parts are
summed outside, where the way from the fold to the loop's result is linear; a carry that such parts are only
added to goes on from chunk to chunk. What does not meet the axis at all is computed alike for every chunk.
Anything else, such as a norm over the axis or a test of a folded value, stands in the way, and then the
loop needs its operands whole.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

from memline.analysis.links import Along, RescaleError, can_be_cut, dim_of_op, piece_of
from memline.analysis.merges import Merge, Merges, merges_of
from memline.ir.graph import Graph, Loop, Node, Op, Value
from memline.rules import table
from memline.rules.table import Dim, Member


@dataclass(frozen=True, eq=False)
class Through:
    """How a split passes through one loop; values and nodes are those of the loop's body."""

    dim: Dim
    """The loop's operands and results that run along the axis."""
    along: dict[Value, Along]
    dims: dict[Node, Dim]
    inner: dict[Loop, Through]
    merged: Merges
    """What becomes of the loop's other results, by position: each chunk makes a part, or all make the same."""
    is_sequential: bool = False
    """Whether the axis is that of the loop's own steps: a chunk is a shorter run, and its carries go on."""

    @property
    def wants_place(self) -> bool:
        """Whether the body must know where along the axis its chunk begins."""
        for node, dim in self.dims.items():
            if any(self.is_cut_inside(node, position) for position in range(len(node.inputs))):
                return True
            if isinstance(node, Loop):
                if self.inner[node].wants_place:
                    return True
            elif dim.fold is None and table.local_rule(node.primitive) is not None:
                return True
        return False

    def is_cut_inside(self, node: Node, position: int) -> bool:
        """Whether a node reads pieces of something that the body has whole."""
        return piece_of(self.dims[node], position) is not None and node.inputs[position] not in self.along


_KNOWN: WeakKeyDictionary[Loop, dict[tuple[bool, int, Along, int], Through | None]] = WeakKeyDictionary()


def may_pass(node: Node) -> bool:
    """Whether a split may meet the node: an op, or a loop that takes a step at a time, as the user's own do."""
    return isinstance(node, Op) or (node.chunk == 1 and node.tail is None)


def way_through(
    loop: Loop, along: Along, steps: int, *, operand: int | None = None, result: int | None = None
) -> Through | None:
    """Returns how a split along an axis of one operand or result passes through a loop; None where it cannot.

    Raises:
      RescaleError: it can, in steps longer than `steps` to the axis.
    """
    if not may_pass(loop):
        return None
    is_operand, position = operand is not None, operand if operand is not None else result
    assert position is not None
    key = (is_operand, position, along, steps)
    known = _KNOWN.setdefault(loop, {})
    if key not in known:
        of_steps = _along_steps(loop, is_operand, position, along, steps)
        known[key] = of_steps or _Growth(loop, steps).run(is_operand, position, along)
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


class _Blocked(Exception):
    """Raised when the body does not keep the axis parallel."""


@dataclass(eq=False)
class _Growth:
    """One attempt at carrying an axis through a loop's body."""

    loop: Loop
    steps: int
    along: dict[Value, Along] = field(default_factory=dict)
    dims: dict[Node, Dim] = field(default_factory=dict)
    inner: dict[Loop, Through] = field(default_factory=dict)
    queue: deque[tuple[Value, Along]] = field(default_factory=deque)

    @property
    def body(self) -> Graph:
        return self.loop.body

    def run(self, is_operand: bool, position: int, along: Along) -> Through | None:
        self._want(self.body.inputs[1 + position] if is_operand else self.body.outputs[position], along)
        try:
            while self.queue:
                self._visit(*self.queue.popleft())
            self._check_alignment()
            merged = merges_of(self.loop, self.along, self.dims, {n: t.merged for n, t in self.inner.items()})
        except _Blocked:
            return None
        if merged is None or not self.along:  # without pieces, it is the same for every chunk
            return None
        dim = self._dim_outside()
        if not can_be_cut(self.loop, dim):
            return None
        return Through(dim, self.along, self.dims, self.inner, merged)

    def _want(self, v: Value, along: Along) -> None:
        self.queue.append((v, along))

    def _visit(self, v: Value, along: Along) -> None:
        """Has the body make or take a value in pieces, and all that reads it with it."""
        if v.is_const:
            return  # pieces of it are cut where they are read
        if v in self.along:
            if self.along[v] != along:
                raise _Blocked
            return
        maker = self.body.producer.get(v)
        if maker is None:
            self._enter(v, along)
            return
        if maker in self.dims:
            raise _Blocked  # it is folded there
        dim = self._dim(maker, along, result=maker.outputs.index(v))
        if dim is not None:  # else pieces of it are cut where they are read, if it is the same for every chunk
            self._join(maker, dim)

    def _enter(self, v: Value, along: Along) -> None:
        """Takes an input of the body in pieces."""
        index = self.body.inputs.index(v)
        n_sliced = len(self.loop.sliced)
        if index == 0 or (index <= n_sliced and self.loop.sliced[index - 1].axis == along.axis):
            raise _Blocked
        self._mark(v, along)

    def _mark(self, v: Value, along: Along) -> None:
        self.along[v] = along
        for node, position in self.body.consumers.get(v, ()):
            if node in self.dims:
                continue
            dim = self._dim(node, along, operand=position)
            if dim is None:
                raise _Blocked
            self._join(node, dim)
        n_carried = len(self.loop.carried)
        first_carry = len(self.body.inputs) - n_carried
        for position, out in enumerate(self.body.outputs):
            if out is not v:
                continue
            if position < n_carried:
                self._want(self.body.inputs[first_carry + position], along)
            elif self.loop.stacked[position - n_carried].axis == along.axis:
                raise _Blocked
        if v in self.body.inputs[first_carry:]:
            self._want(self.body.outputs[self.body.inputs.index(v) - first_carry], along)

    def _join(self, node: Node, dim: Dim) -> None:
        self.dims[node] = dim
        for member in dim.operands:
            self._want(node.inputs[member.position], Along(member.axis, member.unit))
        for member in dim.results:
            v, along = node.outputs[member.position], Along(member.axis, member.unit)
            if self.along.setdefault(v, along) != along:
                raise _Blocked
            self._mark(v, along)

    def _dim(self, node: Node, along: Along, *, operand: int | None = None, result: int | None = None) -> Dim | None:
        if isinstance(node, Op):
            return dim_of_op(node, along, self.steps, operand=operand, result=result)
        through = way_through(node, along, self.steps, operand=operand, result=result)
        if through is None or (through.is_sequential and node.carried):
            return None  # a shorter run begins with what the run before ends with, in the same step of this loop
        self.inner[node] = through
        return through.dim

    def _check_alignment(self) -> None:
        """Every reader of pieces reads just these pieces, and every carry leaves as it came."""
        for v, along in self.along.items():
            for node, position in self.body.consumers.get(v, ()):
                if node not in self.dims or piece_of(self.dims[node], position) != along:
                    raise _Blocked
        before = self.body.inputs[len(self.body.inputs) - len(self.loop.carried) :]
        for old, new in zip(before, self.body.outputs, strict=False):
            if self.along.get(old) != self.along.get(new):
                raise _Blocked

    def _dim_outside(self) -> Dim:
        operands = [
            Member(position, self.along[v].axis, self.along[v].unit)
            for position, v in enumerate(self.body.inputs[1:])
            if v in self.along
        ]
        results = [
            Member(position, self.along[v].axis, self.along[v].unit)
            for position, v in enumerate(self.body.outputs)
            if v in self.along
        ]
        return Dim(tuple(operands), tuple(results))
