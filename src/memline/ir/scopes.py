"""A graph and the bodies of the nodes in it, at any depth: what is looked at or changed wherever it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from memline.ir.graph import Graph, Loop


def loop_bodies(graph: Graph) -> Iterator[Graph]:
    """Returns the bodies of all loops and branches of a graph, each before those inside it; tails are left out."""
    for node in graph.nodes:
        for body in node.inner:
            yield body
            yield from loop_bodies(body)


def map_scopes(graph: Graph, transform: Callable[[Graph, bool], Graph], is_tail: bool = False) -> Graph:
    """Returns the graph with `transform` applied to it and, before it, to every body inside it.

    `transform` is called with a graph and whether it is a loop's tail, or inside one.
    """
    nodes = []
    changed = False
    for node in graph.nodes:
        if isinstance(node, Loop):
            body = map_scopes(node.body, transform, is_tail)
            tail = map_scopes(node.tail, transform, True) if node.tail is not None else None
            if body is not node.body or tail is not node.tail:
                changed = True
                node = replace(node, body=body, tail=tail)
        elif node.bodies:
            bodies = tuple(map_scopes(body, transform, is_tail) for body in node.bodies)
            if any(new is not old for new, old in zip(bodies, node.bodies, strict=True)):
                changed = True
                node = replace(node, bodies=bodies)
        nodes.append(node)
    return transform(Graph(graph.inputs, tuple(nodes), graph.outputs) if changed else graph, is_tail)
