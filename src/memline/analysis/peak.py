"""The planned peak: how many bytes a graph holds at each point of its run, by lifetimes alone.

A value that gets a buffer holds it from the node that makes it to the last node that reads it.
Arguments and results hold theirs throughout, as XLA allocates them. A loop holds its accumulators and
stacked results, and inside it what its body holds at its worst. A donated argument that a loop's result
takes over, and that the loop cannot write over, is copied. Values that a kernel computes in passing hold
nothing; views share their operand's buffer; an elementwise kernel writes over an operand that it is the
last to read.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import NamedTuple

import jax

from memline.analysis.fusion import (
    SCANS,
    FusionModel,
    adds_to_its_reader,
    is_elementwise,
    is_read_transposed,
    is_view,
    widens_keys,
)
from memline.analysis.products import copied_operands
from memline.analysis.schedule import run_order
from memline.analysis.workspace import scratch_bytes
from memline.ir.graph import Graph, Loop, Node, Op, Value
from memline.ir.inplace import NO_TAKERS, Takers, reads_first, takeovers, written_over
from memline.ir.served import served_copies_bytes, served_scratch_bytes

_SIZE = attrgetter("size_bytes")
_SHOWN = 32
"""How many of the temporaries of one graph a moment tells: all that weigh, and few enough to keep for each node."""
_IS_NEW = jax.__version_info__ >= (0, 11)


@dataclass(frozen=True)
class Moment:
    """What is held while one node runs."""

    node: Node
    around: tuple[Node, ...]
    """The loops and branches that the node is in, outermost first."""
    scopes: tuple[Graph, ...]
    """Their bodies that it is in, outermost first."""
    total_bytes: int
    live: tuple[Value, ...]
    """The biggest temporaries held: of the node's own graph, and then of those around it, innermost first."""
    scratch_bytes: int = 0
    """What the node's kernel takes for itself: its workspace, less what it takes of operands that die."""


class Life(NamedTuple):
    """Memory that a value takes, from the first moment that holds it to the last; all of a loop's are one run of it.

    Where a result is written over an operand, the two follow each other: added up with arguments, results and scratch,
    the lives of a moment are its bytes.
    """

    value: Value
    size_bytes: int
    first: int
    last: int


@dataclass(frozen=True)
class Peak:
    """A graph's use of memory over its run; all in bytes, arguments and results included."""

    argument_bytes: int
    output_bytes: int
    alias_bytes: int
    moments: tuple[Moment, ...]
    lives: tuple[Life, ...] = ()
    """Of the temporaries, by the moment in which they end."""

    @property
    def fixed_bytes(self) -> int:
        """What no plan can change: arguments and results, those that share a buffer counted once."""
        return self.argument_bytes + self.output_bytes - self.alias_bytes

    @property
    def total_bytes(self) -> int:
        """The planned peak."""
        return max((m.total_bytes for m in self.moments), default=self.fixed_bytes)

    @property
    def temp_bytes(self) -> int:
        """The planned peak less arguments and results."""
        return self.total_bytes - self.fixed_bytes

    @property
    def worst(self) -> Moment | None:
        """The moment of the peak; the last of several."""
        return max(self.moments, key=lambda m: m.total_bytes, default=None)

    def excess_bytes(self, limit_bytes: int) -> int:
        """The bytes over the limit, summed over the graph's nodes: how far there is still to go.

        A loop counts once, at its worst, so that a split inside it does not seem to make it worse; of branches each
        counts, so that a split inside one of them is seen to help.
        """
        over: dict[tuple[Node | Graph, ...], int] = {}
        for m in self.moments:
            if m.total_bytes > limit_bytes:
                branches = (body for node, body in zip(m.around, m.scopes, strict=True) if node.kind == "cond")
                outermost = (m.around[0] if m.around else m.node, *branches)
                over[outermost] = max(over.get(outermost, 0), m.total_bytes - limit_bytes)
        return sum(over.values())


def peak_of(graph: Graph, fusion: FusionModel, alias_bytes: int = 0, takers: Takers = NO_TAKERS) -> Peak:
    """Returns the planned use of memory of a graph.

    Args:
      graph: the program.
      fusion: what the backend fuses.
      alias_bytes: the bytes of arguments that are donated to results.
      takers: which result takes over which of them.
    """
    arguments = sum(v.size_bytes for v in graph.inputs) + sum(c.size_bytes for c in graph.consts)
    made = {v for v in graph.outputs if v in graph.producer}
    passed = [v for v in graph.outputs if v not in graph.producer]
    outputs = sum(v.size_bytes for v in made) + sum(v.size_bytes for v in passed)
    fixed = arguments + outputs - alias_bytes
    copied: dict[Node, list[Value]] = {}
    for each in takeovers(graph, takers):
        if each.objection:
            copied.setdefault(each.loop, []).append(each.argument)
    read_first = frozenset(loop for loop, over in written_over(graph, takers).items() if reads_first(loop, over))
    walker = _Walker(fusion, copied, read_first)
    walker.walk(graph, fixed, (), (), (), held=frozenset(made))
    return Peak(arguments, outputs, alias_bytes, tuple(walker.moments), tuple(walker.lives))


class _Walker:
    def __init__(
        self, fusion: FusionModel, copied: Mapping[Node, Sequence[Value]], read_first: frozenset[Loop]
    ) -> None:
        self.fusion = fusion
        self.copied = copied
        """The donated arguments that are copied before a loop begins to fill their memory."""
        self.read_first = read_first
        """The loops that copy all chunks of a step before they write anything over them."""
        self.moments: list[Moment] = []
        self.lives: list[Life] = []

    def walk(
        self,
        graph: Graph,
        base_bytes: int,
        outer: tuple[Value, ...],
        around: tuple[Node, ...],
        scopes: tuple[Graph, ...],
        held: frozenset[Value],
    ) -> None:
        """Appends a moment for each node; `held` are results whose buffers `base_bytes` has already."""
        loop = around[-1] if around and isinstance(around[-1], Loop) else None
        buffers = self.fusion.materialised(graph)
        root = _view_roots(graph)
        held = held | {root(v) for v in held}
        nodes = run_order(graph, self.fusion, buffers)
        last_use = _last_uses(graph, nodes, self.fusion, buffers, root)
        inputs = set(graph.inputs)
        live: dict[Value, int] = {}
        if loop is not None:  # chunks that the body copies out of what it slices
            for v in graph.inputs[1 : 1 + len(loop.sliced)]:
                if (v in buffers or loop in self.read_first) and v in last_use:
                    live[v] = v.size_bytes
        total = sum(live.values())
        begins = dict.fromkeys(live, len(self.moments))
        ends: dict[int, list[Value]] = {}
        for v, index in last_use.items():
            ends.setdefault(index, []).append(v)
        in_place = _in_place_results(graph, _carried_by(around, graph))
        for index, node in enumerate(nodes):
            new = {
                v: v.size_bytes
                for v in node.outputs
                if v in buffers and root(v) == v and v not in held and v not in in_place and v not in inputs
            }
            new.update((v, v.size_bytes) for v in self.copied.get(node, ()))
            dying = [v for v in ends.get(index, ()) if v in live]
            is_own = self.fusion.is_own_kernel(node)
            scratch = _own_bytes(node) if is_own else workspace_bytes(node)
            over: Sequence[Value] = ()  # what the kernel writes its results over
            if is_elementwise(node) and not _is_written_into(graph, node):
                same = [v for v in dying if v.shape == node.outputs[0].shape]
                aligned = _read_element_by_element(graph, node, buffers) if same else ()
                over = sorted((v for v in same if v in aligned), key=live.__getitem__)[-1:]
            elif node.kind in _IN_PLACE:
                over = dying
            elif widens_keys(node) and not _IS_NEW and not is_own:
                scratch -= max((live[v] for v in dying if live[v] == scratch), default=0)
            elif node.carried:  # carries are written over their first values
                over = [v for v in dict.fromkeys(node.carried) if v in dying]
            reused = sum(live[v] for v in over)
            is_within = reused > sum(new.values()) and not node.carried  # the results lie in what is larger
            if is_within:
                reused = sum(new.values())
            if self.fusion.hides_scratch and not is_own:
                scratch += scratch_bytes(node, in_loop=bool(around))
            during = base_bytes + total + sum(new.values()) - reused + scratch
            held_now = tuple(sorted((*live, *new), key=_SIZE, reverse=True)[:_SHOWN]) + outer
            at = len(self.moments)
            self.moments.append(Moment(node, around, scopes, during, held_now, scratch))
            for body in node.inner:
                # A branch writes the results themselves; what a loop carries is there beside what it makes of it.
                written = frozenset(body.outputs) if node.kind == "cond" else frozenset()
                self.walk(body, during, held_now, (*around, node), (*scopes, body), written)
            last = len(self.moments) - 1
            for v in dying:
                self._lived(v, live[v], begins.pop(v), last if is_within or v not in over else at - 1)
                total -= live.pop(v)
            for v, size_bytes in new.items():
                if last_use.get(v, -1) > index:
                    live[v], begins[v] = size_bytes, last + 1 if is_within else at
                    if _is_held_in_two_orders(graph, node, v):
                        self._lived(v, size_bytes, at, last)
                        live[v], begins[v] = 2 * size_bytes, last + 1
                    total += live[v]
                elif not is_within:
                    self._lived(v, size_bytes, at, last)
        for v, size_bytes in live.items():
            self._lived(v, size_bytes, begins[v], len(self.moments) - 1)

    def _lived(self, v: Value, size_bytes: int, first: int, last: int) -> None:
        if size_bytes and first <= last:
            self.lives.append(Life(v, size_bytes, first, last))


def _is_written_into(graph: Graph, node: Op) -> bool:
    """Whether a kernel's result is then scattered into where it lies: XLA gives that a buffer of its own."""
    if any(maker is not None and adds_to_its_reader(graph, maker) for maker in map(graph.producer.get, node.inputs)):
        return True
    return any(at == 0 and reader.kind in _WRITES for reader, at in graph.consumers.get(node.outputs[0], ()))


def _is_held_in_two_orders(graph: Graph, node: Node, v: Value) -> bool:
    """Whether a solution, which the library writes column by column, is also read by others as rows."""
    return node.kind == "triangular_solve" and len(graph.consumers.get(v, ())) > 1


def _read_element_by_element(graph: Graph, node: Op, buffers: frozenset[Value]) -> set[Value]:
    """Returns the buffers that an elementwise kernel reads just where it writes, not by way of a transposition."""
    seen: set[Value] = set()
    todo = list(node.inputs)
    while todo:
        v = todo.pop()
        if v in seen:
            continue
        seen.add(v)
        maker = graph.producer.get(v)
        if v not in buffers and isinstance(maker, Op) and is_elementwise(maker):
            todo.extend(maker.inputs)
    return seen


def _view_roots(graph: Graph) -> Callable[[Value], Value]:
    """Returns the function from a view to the value in whose buffer it lies; from any other value to itself."""
    roots: dict[Value, Value] = {}
    for node in graph.nodes:
        if is_view(node) or is_read_transposed(graph, node):
            operand = node.inputs[0]
            roots[node.outputs[0]] = roots.get(operand, operand)
    return lambda v: roots.get(v, v)


def _last_uses(
    graph: Graph,
    nodes: Sequence[Node],
    fusion: FusionModel,
    buffers: frozenset[Value],
    root: Callable[[Value], Value],
) -> dict[Value, int]:
    """Returns the index of the last node whose kernel reads each buffer, through inlined readers and views."""
    last: dict[Value, int] = {}
    repeated: dict[Value, int] = {}
    # A node whose result is computed elsewhere reads its operands there: go backwards so that the
    # readers of a result are known before those of its operands.
    for index in range(len(nodes) - 1, -1, -1):
        node = nodes[index]
        when = index
        for v in node.outputs:
            if v not in buffers or root(v) != v:
                when = max(when, last.get(v, index))
            when = max(when, repeated.get(v, index))
        is_view_here = any(root(v) != v for v in node.outputs)
        inlines = not is_view_here and fusion.inlines_operands(node)
        for v in node.inputs:
            if v.is_const:
                continue
            maker = graph.producer.get(v)
            if inlines and v in buffers and maker is not None and fusion.is_repeated(maker):
                repeated[v] = max(repeated.get(v, -1), when)
                continue
            last[v] = max(last.get(v, -1), when)
            last[root(v)] = max(last.get(root(v), -1), when)
    for v in graph.outputs:
        last[v] = last[root(v)] = len(graph.nodes)
    return last


def _carried_by(around: tuple[Node, ...], body: Graph) -> int:
    """Returns how many of a body's outputs are carries; those of the test of a `while` are none."""
    return len(around[-1].carried) if around and body is around[-1].inner[-1] else 0


def _in_place_results(graph: Graph, carried: int) -> frozenset[Value]:
    """Returns a body's new accumulators that are written over the old ones."""
    old = set(graph.inputs[len(graph.inputs) - carried :]) if carried else set()
    found = set()
    for v in graph.outputs[:carried]:
        maker = graph.producer.get(v)
        if maker is not None and maker.kind in _WRITES and maker.inputs[0] in old:
            found.add(v)
        elif maker is not None and is_elementwise(maker) and any(x in old for x in maker.inputs):
            found.add(v)
            # A matrix product that is only added to an accumulator is added to it where it lies.
            found.update(x for x in maker.inputs if len(graph.consumers[x]) == 1 and _is_product(graph.producer.get(x)))
    return frozenset(found)


# These write their results over operands that nobody reads after them.
_WRITES = frozenset(
    ["dynamic_update_slice", "scatter", "scatter-add", "scatter-mul", "scatter-sub", "scatter-min", "scatter-max"]
    + ["scatter_add", "scatter_mul", "scatter_sub", "scatter_min", "scatter_max"]
)
_IN_PLACE = SCANS | _WRITES | frozenset(["sort", "cholesky"])


def _is_product(node: Node | None) -> bool:
    return node is not None and node.kind == "dot_general"


def _own_bytes(op: Op) -> int:
    """Returns the bytes that one of memline's own kernels takes: copies in its order, and scratch."""
    return served_copies_bytes(op) + served_scratch_bytes(op)


def workspace_bytes(node: Node) -> int:
    """Returns the bytes a node's kernel takes for itself: layout copies and scratch."""
    if not isinstance(node, Op):
        return 0
    kind = node.kind
    if kind == "triangular_solve":  # right-hand sides in the library's order
        return node.inputs[1].size_bytes
    if kind in ("lu", "eigh", "svd", "geqrf"):
        return sum(v.size_bytes for v in node.inputs)
    if kind in SCANS:
        return sum(v.size_bytes for v in node.outputs)
    if kind == "top_k":
        operand = node.inputs[0]
        if widens_keys(node):
            return 2 * operand.size_bytes
        return operand.size_bytes if str(operand.dtype) == "float16" else 0
    if kind == "select_and_scatter_add":  # places are counted with an int32 for each axis, and then found
        source, operand = (math.prod(v.shape) for v in node.inputs)
        return 4 * operand * node.inputs[1].ndim + 2 * 4 * source * (node.inputs[1].ndim + 1)
    if kind == "dot_general":
        return sum(v.size_bytes for v in copied_operands(node))
    return 0
