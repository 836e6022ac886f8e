"""What a loop should leave behind for a later one: the least from which the rest can be had cheaply.

A gradient's forward loop stacks what its backward loop reads, step by step: the tape. Much of a tape follows
from the rest of it by elementwise ops. Which values to stack so that the fewest bytes are held is a minimum
cut of the body's data flow, between what no cheap op makes (carries, products) and what the later loop reads;
of equal cuts the one nearest to the reader is taken, for it computes least again. Storing carries rather
than what follows from them is the tape layout of Hakimi and Shriraman, "Tapeflow" (CGO 2024).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import breadth_first_order, maximum_flow

from memline.analysis.fusion import is_elementwise
from memline.ir.graph import Graph, Loop, Node, Op, Value

_MOVES = frozenset(
    """broadcast_in_dim reshape squeeze expand_dims slice pad concatenate transpose rev iota copy
    dynamic_slice split""".split()
)
_WORTH_IT = 0.9
"""A tape is changed where it shrinks to at most so much."""
_INFINITE = 1 << 30


@dataclass(frozen=True, eq=False)
class Tape:
    """How the tape that one loop leaves can be smaller."""

    writer: Loop
    readers: tuple[Loop, ...]
    dropped: frozenset[int]
    """Which of the writer's stacked results are no longer made, by their place among its results."""
    stacked: tuple[Value, ...]
    """The values of the writer's body that are stacked in their place."""
    saved_bytes: int


def tapes(graph: Graph) -> Iterator[Tape]:
    """Yields, for the loops of a graph (not of bodies), the tapes that can be smaller."""
    for node in graph.nodes:
        if isinstance(node, Loop) and node.tail is None and node.chunk == 1:
            tape = _smaller(graph, node)
            if tape is not None:
                yield tape


def _smaller(graph: Graph, writer: Loop) -> Tape | None:
    tape = {
        at: readers
        for at in range(len(writer.carried), len(writer.outputs))
        if (readers := _readers(graph, writer, at)) is not None
    }
    if not tape:
        return None
    held = {writer.body.outputs[at] for at in range(len(writer.carried), len(writer.outputs)) if at not in tape}
    wanted = {writer.body.outputs[at] for at in tape}
    cut = _least_cut(graph, writer, wanted, held)
    if cut is None:
        return None
    dropped = frozenset(at for at in tape if writer.body.outputs[at] not in cut)
    before = sum(v.size_bytes for v in wanted)
    added = tuple(v for v in cut if v not in wanted and v not in held)
    after = sum(v.size_bytes for v in cut if v not in held)
    if not dropped or after > _WORTH_IT * before:
        return None
    readers = dict.fromkeys(reader for at in dropped for reader in tape[at])
    return Tape(writer, tuple(readers), dropped, added, (before - after) * writer.length)


def _readers(graph: Graph, writer: Loop, at: int) -> tuple[Loop, ...] | None:
    """Returns the loops that read a stacked result step by step, as it was written; None if anything else does."""
    v, stack = writer.outputs[at], writer.stacked[at - len(writer.carried)]
    found: dict[Loop, None] = {}
    for node, position in graph.consumers.get(v, ()):
        if not isinstance(node, Loop) or position >= len(node.sliced) or node.chunk != 1 or node.tail is not None:
            return None
        piece = node.sliced[position]
        if (piece.axis, piece.unit, node.length) != (stack.axis, stack.unit, writer.length):
            return None
        found[node] = None
    return None if v in graph.outputs or not found else tuple(found)


def _least_cut(graph: Graph, writer: Loop, wanted: set[Value], held: set[Value]) -> list[Value] | None:
    """Returns the values of the body from which all wanted ones follow cheaply, of the fewest bytes together."""
    body = writer.body
    free = _free_inputs(graph, writer)
    values = [v for v in _behind(body, wanted) if v not in free]
    index = {v: 2 + 2 * i for i, v in enumerate(values)}
    size_bytes = [0 if v in held else v.size_bytes for v in values]
    scale = max(1, sum(size_bytes) // (1 << 24))
    edges: list[tuple[int, int, int]] = []
    for v, n_bytes in zip(values, size_bytes, strict=True):
        edges.append((index[v], index[v] + 1, n_bytes // scale))
        maker = body.producer.get(v)
        if maker is None or not _is_cheap(maker):
            edges.append((0, index[v], _INFINITE))
        else:
            edges.extend((index[x] + 1, index[v], _INFINITE) for x in set(maker.inputs) if x in index)
        if v in wanted:
            edges.append((index[v] + 1, 1, _INFINITE))
    reaches_end = _sink_side(edges, 2 + 2 * len(values))
    return [v for v in values if index[v] + 1 in reaches_end and index[v] not in reaches_end]


def _sink_side(edges: list[tuple[int, int, int]], count: int) -> set[int]:
    """Returns the nodes from which the sink (1) can still be reached when as much as can flows from the source (0)."""
    tails, heads, capacities = (np.array(column, np.int32) for column in zip(*edges, strict=True))
    network = csr_array((capacities, (tails, heads)), shape=(count, count))
    left = network - maximum_flow(network, 0, 1).flow
    left.data[left.data < 0] = 0
    left.eliminate_zeros()
    return set(breadth_first_order(left.T.tocsr(), 1, return_predecessors=False).tolist())


def _free_inputs(graph: Graph, writer: Loop) -> set[Value]:
    """Returns the inputs of the body that a later loop can read as well, at no bytes more."""
    body = writer.body
    n_sliced = len(writer.sliced)
    given = set(graph.inputs)
    free = {body.inputs[0], *body.inputs[1 + n_sliced : 1 + n_sliced + len(writer.whole)]}
    for v, s in zip(body.inputs[1 : 1 + n_sliced], writer.sliced, strict=True):
        if s.value.is_const or s.value in given:
            free.add(v)
    return free


def _behind(body: Graph, wanted: Iterable[Value]) -> list[Value]:
    """Returns the wanted values and those that cheap ops make them of."""
    found: dict[Value, None] = {}
    todo = list(wanted)
    while todo:
        v = todo.pop()
        if v in found or v.is_const:
            continue
        found[v] = None
        maker = body.producer.get(v)
        if maker is not None and _is_cheap(maker):
            todo.extend(maker.inputs)
    return list(found)


def _is_cheap(node: Node) -> bool:
    """Whether a node may be computed once more rather than its result held."""
    return isinstance(node, Op) and (is_elementwise(node) or node.kind in _MOVES) and not node.effects
