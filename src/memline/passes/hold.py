"""Holds values that XLA would compute again in every kernel that reads them.

A sum that several kernels read is computed inside each of them, with all that it is a sum of. Along the
residual stream of a network of L layers, where each layer's sum is the last one's plus something, that is
work for L * L layers, and all the summands are held until the last of those kernels has run. A barrier
makes such a value a buffer. (XLA:CPU drops barriers before it fuses, unless told not to: see `planning`.)
"""

from __future__ import annotations

from dataclasses import replace

from jax import lax

from memline.analysis.fusion import FusionModel, is_elementwise
from memline.ir.build import rebuilt
from memline.ir.graph import Graph, Loop, Node, Op, Value

_MOST_LEAVES = 8
"""A value that several nodes read is held if computing it reads more arrays of its size than this."""


def hold_sums(graph: Graph, fusion: FusionModel) -> Graph:
    """Returns the graph, bodies of loops included, with barriers behind the sums that are held."""
    nodes: list[Node] = []
    held: dict[Value, Value] = {}
    leaves: dict[Value, frozenset[Value]] = {}
    changed = False
    for given in graph.nodes:
        node = given
        if any(v in held for v in given.inputs):
            node = rebuilt(given, [held.get(v, v) for v in given.inputs], given.outputs)
        if isinstance(node, Loop):
            body = hold_sums(node.body, fusion)
            tail = hold_sums(node.tail, fusion) if node.tail is not None else None
            if body is not node.body or tail is not node.tail:
                node, changed = replace(node, body=body, tail=tail), True
            nodes.append(node)
            continue
        nodes.append(node)
        if not fusion.can_be_inlined(node):
            continue
        (result,) = node.outputs
        read = [leaves.get(v, frozenset([v])) for v in node.inputs if v.size_bytes * 2 > result.size_bytes]
        leaves[result] = frozenset().union(*read)
        if len(leaves[result]) > _MOST_LEAVES and is_elementwise(node) and len(_readers(graph, result)) > 1:
            barrier = Value(result.aval, f"{result.name}.h")
            nodes.append(Op(lax.optimization_barrier_p, {}, (result,), (barrier,), node.source, node.context))
            held[result], changed = barrier, True
    if not changed:
        return graph
    return Graph(graph.inputs, tuple(nodes), tuple(held.get(v, v) for v in graph.outputs))


def _readers(graph: Graph, v: Value) -> set[int]:
    return {id(node) for node, _ in graph.consumers.get(v, ())}
