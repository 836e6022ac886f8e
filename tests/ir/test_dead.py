"""What nobody needs is dropped: nodes, results of loops, and what loops read for those only."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from memline.ir.check import check
from memline.ir.dead import drop_dead
from memline.ir.emit import evaluate
from memline.ir.graph import Graph, Loop
from memline.ir.trace import from_jaxpr
from tests.comparing import assert_same
from tests.families import normal

X, W = normal(9, 5), normal(5, 5, seed=1)


def graph_of(fun: Any, *args: Any) -> Graph:
    return from_jaxpr(jax.make_jaxpr(fun)(*args), open_bodies=True)


def the_loop(graph: Graph) -> Loop:
    (loop,) = (node for node in graph.nodes if isinstance(node, Loop))
    return loop


def scanned(x: Any, w: Any) -> Any:
    """Two carries that mind each other, one that only the second stack minds, and two stacks."""

    def step(c: Any, row: Any) -> Any:
        a, b, aside = c
        return (jnp.tanh(a @ w) + b, b + row, aside * row), (a.sum(), aside.max())

    return lax.scan(step, (x[0], x[1], x[2]), x)


def parts(loop: Loop) -> list[int]:
    return [len(part) for part in (loop.sliced, loop.whole, loop.carried, loop.stacked)]


def test_a_stack_that_nobody_reads_goes_and_takes_its_carry_with_it():
    graph = graph_of(lambda x, w: scanned(x, w)[1][0], X, W)
    assert parts(the_loop(graph)) == [1, 1, 2, 1]
    check(graph)
    assert_same(evaluate(graph, (X, W)), [scanned(X, W)[1][0]])


def test_carries_that_feed_what_is_read_stay():
    graph = graph_of(lambda x, w: scanned(x, w)[1][1], X, W)
    assert parts(the_loop(graph)) == [1, 0, 1, 1]
    check(graph)
    assert_same(evaluate(graph, (X, W)), [scanned(X, W)[1][1]])


def test_everything_stays_where_everything_is_read():
    graph = graph_of(scanned, X, W)
    assert parts(the_loop(graph)) == [1, 1, 3, 2]
    assert drop_dead(graph) is graph


def test_loops_inside_loops_lose_what_the_outer_one_does_not_read():
    def outer(x: Any, w: Any) -> Any:
        return lax.scan(lambda c, row: (c + scanned(x, w)[1][0].sum() * row, None), x[0], x)[0]

    graph = graph_of(outer, X, W)
    (inner,) = (node for node in the_loop(graph).body.nodes if isinstance(node, Loop))
    assert len(inner.stacked) == 1
    check(graph)
    assert_same(jax.jit(lambda *xs: evaluate(graph, xs))(X, W), [outer(X, W)])


def test_side_effects_stay():
    def noisy(x: Any) -> Any:
        jax.debug.print("{}", x.sum())
        return x + 1

    assert "debug_print" in [node.kind for node in graph_of(noisy, X).nodes]
