"""Looks for all places of a program where a rule of the table applies."""

from __future__ import annotations

from collections.abc import Iterator

from memline.ir.graph import Graph
from memline.ir.scopes import loop_bodies
from memline.rewrites.rule import Rewriting, table


def rewritings(graph: Graph) -> Iterator[tuple[Graph, Rewriting]]:
    """Yields every rewriting with the scope it is in: the program first, then bodies of loops and branches.

    In a scope the last nodes come first, so that a rule sees a whole expression before it sees parts of it.

    >>> import jax
    >>> from memline.ir.trace import trace
    >>> program = trace(lambda a: a.T.T + 1, jax.ShapeDtypeStruct((5, 3), "float32"))
    >>> [(found.rule, found.value.name) for _, found in rewritings(program)]
    [('transposes', '%2')]
    """
    rules = tuple(table().values())
    for scope in (graph, *loop_bodies(graph)):
        for node in reversed(scope.nodes):
            for rule in rules:
                found = rule.match(scope, node)
                if found is not None:
                    yield scope, found
