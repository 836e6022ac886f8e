"""Puts the replacement that a rule of the table wrote in the place of what it found."""

from __future__ import annotations

from memline.ir.build import rebuilt
from memline.ir.dead import drop_dead
from memline.ir.graph import Graph, Node
from memline.rewrites.rule import Rewriting


def rewrite(scope: Graph, found: Rewriting) -> Graph:
    """Returns the scope with a value replaced for all its readers, and without what nobody reads any more.

    >>> import jax
    >>> from memline.ir.trace import trace
    >>> from memline.rewrites.find import rewritings
    >>> program = trace(lambda a: a.T.T + 1, jax.ShapeDtypeStruct((5, 3), "float32"))
    >>> [(_, found)] = rewritings(program)
    >>> [node.kind for node in rewrite(program, found).nodes]
    ['add']
    """
    maker = scope.producer[found.value]
    nodes: list[Node] = []
    for node in scope.nodes:
        if node is maker:
            nodes.extend(found.nodes)
        if found.value in node.inputs:
            operands = [found.replacement if v is found.value else v for v in node.inputs]
            node = rebuilt(node, operands, node.outputs)
        nodes.append(node)
    outputs = tuple(found.replacement if v is found.value else v for v in scope.outputs)
    return drop_dead(Graph(scope.inputs, tuple(nodes), outputs))
