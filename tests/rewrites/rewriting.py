"""Applies one rule of the table wherever it fits, without weighing whether that pays."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax

from memline.ir.emit import evaluate
from memline.ir.graph import Graph
from memline.ir.trace import trace
from memline.passes.rewrite import rewrite
from memline.rewrites.find import rewritings
from memline.rewrites.rule import Rewriting


def found_in(graph: Graph, rule: str) -> Rewriting | None:
    """Returns the first place at the top of a program where a rule fits."""
    return next((found for scope, found in rewritings(graph) if found.rule == rule and scope is graph), None)


def rewritten(graph: Graph, rule: str) -> tuple[Graph, list[Rewriting]]:
    """Returns the program with a rule applied until it fits nowhere, and what was done."""
    done: list[Rewriting] = []
    while (found := found_in(graph, rule)) is not None:
        graph = rewrite(graph, found)
        done.append(found)
        assert len(done) < 20
    return graph, done


def as_function(graph: Graph) -> Callable[..., Any]:
    """Returns the compiled function of the graph of a function with one result."""
    return jax.jit(lambda *xs: evaluate(graph, xs)[0])


def largest_size(graph: Graph) -> int:
    """Returns the elements of the largest array that a program makes."""
    return max((v.size_bytes // v.dtype.itemsize for v in graph.producer), default=0)


__all__ = ["as_function", "found_in", "largest_size", "rewritten", "trace"]
