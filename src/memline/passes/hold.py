"""Holds values that XLA would compute again in every kernel that reads them.

A sum that several kernels read is computed inside each of them, with all that it is a sum of. Along the
residual stream of a network of L layers, where each layer's sum is the last one's plus something, that is
work for L * L layers, and all the summands are held until the last of those kernels has run. A barrier
makes such a value a buffer. (XLA:CPU drops barriers before it fuses, unless told not to: see `planning`.)
"""

from __future__ import annotations

from jax import lax

from memline.analysis.fusion import FusionModel, is_elementwise
from memline.analysis.steps import SMALL_TOUCHED_BYTES, touched_bytes
from memline.ir.build import rebuilt
from memline.ir.graph import Graph, Node, Op, Value
from memline.ir.scopes import map_scopes

_MOST_LEAVES = 8
"""A value that several nodes read is held if computing it reads more arrays of its size than this."""


def hold_sums(graph: Graph, fusion: FusionModel) -> Graph:
    """Returns the graph, and all that loops and branches in it run, with barriers behind the sums that are held."""
    return map_scopes(graph, lambda scope, _: _held_here(scope, fusion))


def release_small(graph: Graph) -> Graph:
    """Returns the graph without barriers where all that a scope touches is small.

    XLA:CPU compiles small loops into one function, in which it knows no barrier: it fails. There they would save
    nothing. A program is released when it is compiled, for the loops that splits make of big ones may be small.
    """
    return map_scopes(graph, lambda scope, _: _released_here(scope))


def _released_here(graph: Graph) -> Graph:
    barriers = [node for node in graph.nodes if node.kind == "optimization_barrier"]
    if not barriers or touched_bytes(graph) > SMALL_TOUCHED_BYTES:
        return graph
    behind: dict[Value, Value] = {}
    nodes: list[Node] = []
    for given in graph.nodes:
        operands = [behind.get(v, v) for v in given.inputs]
        if given.kind == "optimization_barrier":
            behind.update(zip(given.outputs, operands, strict=True))
        else:
            nodes.append(rebuilt(given, operands, given.outputs))
    return Graph(graph.inputs, tuple(nodes), tuple(behind.get(v, v) for v in graph.outputs))


def _held_here(graph: Graph, fusion: FusionModel) -> Graph:
    nodes: list[Node] = []
    held: dict[Value, Value] = {}
    leaves: dict[Value, frozenset[Value]] = {}
    for given in graph.nodes:
        reads_held = any(v in held for v in given.inputs)
        node = rebuilt(given, [held.get(v, v) for v in given.inputs], given.outputs) if reads_held else given
        nodes.append(node)
        if not fusion.can_be_inlined(node):
            continue
        (result,) = node.outputs
        read = [leaves.get(v, frozenset([v])) for v in node.inputs if v.size_bytes * 2 > result.size_bytes]
        leaves[result] = frozenset().union(*read)
        if len(leaves[result]) > _MOST_LEAVES and is_elementwise(node) and len(_readers(graph, result)) > 1:
            barrier = Value(result.aval, f"{result.name}.h")
            nodes.append(Op(lax.optimization_barrier_p, {}, (result,), (barrier,), node.source, node.context))
            held[result] = barrier
    return Graph(graph.inputs, tuple(nodes), tuple(held.get(v, v) for v in graph.outputs)) if held else graph


def _readers(graph: Graph, v: Value) -> set[int]:
    return {id(node) for node, _ in graph.consumers.get(v, ())}
