"""Puts the replacement that a rule of the table wrote in the place of what it found."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from memline.ir.build import rebuilt
from memline.ir.dead import drop_dead
from memline.ir.graph import Graph, Node, Op, Value
from memline.rewrites.rule import Rewriting


def rewrite(scope: Graph, found: Rewriting) -> Graph:
    """Returns the scope with a value replaced for all its readers, and without what nobody reads any more.

    A new node that does what another one does is merged with it.

    >>> import jax
    >>> from memline.ir.trace import trace
    >>> from memline.rewrites.find import rewritings
    >>> program = trace(lambda a: a.T.T + 1, jax.ShapeDtypeStruct((5, 3), "float32"))
    >>> [(_, found)] = rewritings(program)
    >>> [node.kind for node in rewrite(program, found).nodes]
    ['add']
    """
    maker = scope.producer[found.value]
    at = scope.nodes.index(maker)
    new = frozenset(v for node in found.nodes for v in node.outputs)
    nodes, same = _merged((*scope.nodes[:at], *found.nodes, *scope.nodes[at:]), new, {found.value: found.replacement})
    return drop_dead(Graph(scope.inputs, nodes, tuple(same.get(v, v) for v in scope.outputs)))


def _merged(
    nodes: Iterable[Node], new: frozenset[Value], same: dict[Value, Value]
) -> tuple[tuple[Node, ...], dict[Value, Value]]:
    """Returns the nodes, new ones merged with those that do the same, and which value stands for which.

    What was there twice before is there twice on purpose.
    """
    kept: list[Node] = []
    seen: dict[tuple[Any, ...], Op] = {}
    for given in nodes:
        node = given
        if any(v in same for v in given.inputs):
            node = rebuilt(given, [_end(v, same) for v in given.inputs], given.outputs)
        if isinstance(node, Op) and not node.effects and not node.bodies:
            key = (node.primitive, *node.inputs)
            twin = seen.setdefault(key, node)
            one_is_new = any(v in new for v in (*twin.outputs, *node.outputs))
            if twin is not node and one_is_new and twin.params == node.params:
                same.update(zip(node.outputs, twin.outputs, strict=True))
                continue
        kept.append(node)
    return tuple(kept), {v: _end(v, same) for v in same}


def _end(v: Value, same: dict[Value, Value]) -> Value:
    """Returns what stands for a value, or for what stands for it."""
    while v in same:
        v = same[v]
    return v
