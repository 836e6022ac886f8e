"""Scans as loops of one step: what they become, that they compute the same, and that their bodies are planned."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import memline
from memline.ir.check import check
from memline.ir.emit import evaluate
from memline.ir.graph import Graph, Loop
from memline.ir.trace import from_jaxpr
from tests.comparing import assert_same
from tests.families import normal

MIB = 2**20


def opened(fun: Any, *args: Any) -> Graph:
    graph = from_jaxpr(jax.make_jaxpr(fun)(*args), open_bodies=True)
    check(graph)
    return graph


def loops(graph: Graph) -> list[Loop]:
    return [node for node in graph.nodes if isinstance(node, Loop)]


def recurrence(x: Any, w: Any) -> Any:
    return lax.scan(lambda h, row: (jnp.tanh(h @ w + row), (h * 2, row.sum())), jnp.zeros(w.shape[0]), x)


def backwards(x: Any, w: Any) -> Any:
    return lax.scan(lambda h, row: (jnp.tanh(h @ w + row), h), x[0], x, reverse=True)


def counted(x: Any, w: Any) -> Any:
    return lax.fori_loop(0, 7, lambda i, h: h @ w + x[i] * i, x[:4])


def nested(x: Any, w: Any) -> Any:
    def outer(h: Any, row: Any) -> Any:
        return lax.scan(lambda g, _: (jnp.sin(g) + row, g.max()), h, None, length=3)

    return lax.scan(outer, x[0], x)


def mapped(x: Any, w: Any) -> Any:
    return lax.map(lambda row: (row @ w, row.argmax()), x)


def keyed(x: Any, w: Any) -> Any:
    keys = jax.random.split(jax.random.key(0), x.shape[0])
    return lax.scan(lambda h, xs: (h + jax.random.normal(xs[0], h.shape) * xs[1], h.sum()), w[0], (keys, x))


def passed_through(x: Any, w: Any) -> Any:
    return lax.scan(lambda c, row: ((c[1], c[0], c[2]), (row, jnp.float32(1), w)), (x[0], w[0], jnp.int32(3)), x)


def one_step(x: Any, w: Any) -> Any:
    return lax.scan(lambda h, row: (h + row, h), w[0], x[:1])


def unused(x: Any, w: Any) -> Any:
    return lax.scan(lambda c, row: ((c[0] + row, c[1] + 1), row), (w[0], 0), x)[0][0]


def gradient(x: Any, w: Any) -> Any:
    return jax.grad(lambda x, w: recurrence(x, w)[1][0].sum() + backwards(x, w)[0].sum(), (0, 1))(x, w)


FORMS = [recurrence, backwards, counted, nested, mapped, keyed, passed_through, one_step, unused, gradient]


@pytest.mark.parametrize("fun", FORMS)
def test_loops_compute_what_scans_do(fun):
    args = normal(9, 5), normal(5, 5, seed=1)
    graph = opened(fun, *args)
    assert loops(graph)
    found = jax.jit(lambda *xs: evaluate(graph, xs))(*args)
    assert_same(found, jax.tree.leaves(jax.jit(fun)(*args)), rtol=1e-5)


def test_a_scan_takes_one_step_at_a_time():
    (loop,) = loops(opened(recurrence, normal(9, 5), normal(5, 5)))
    assert (loop.length, loop.chunk, loop.tail, loop.reverse) == (9, 1, None, False)
    assert [len(part) for part in (loop.sliced, loop.whole, loop.carried, loop.stacked)] == [1, 1, 1, 2]
    assert loops(opened(backwards, normal(9, 5), normal(5, 5)))[0].reverse


def test_names_are_unique_through_all_scopes():
    graph = opened(nested, normal(9, 5), normal(5, 5))

    def names(scope: Graph) -> list[str]:
        inner = [name for loop in loops(scope) for name in names(loop.body)]
        return [v.name for v in (*scope.inputs, *scope.producer)] + inner

    assert len(names(graph)) == len(set(names(graph)))


def test_some_scans_stay_ops():
    """Those with side effects, and empty ones."""
    x = normal(4, 3)

    def noisy(c: Any, row: Any) -> Any:
        jax.debug.print("{}", row[0])
        return c, row

    for fun in (
        lambda x: lax.scan(noisy, x[0], x),
        lambda x: lax.scan(lambda c, row: (c + row, c), x[0], x[:0]),
    ):
        graph = opened(fun, x)
        assert not loops(graph)
        assert "scan" in [node.kind for node in graph.nodes]


def layer(x: Any, w: Any) -> Any:
    """A layer whose body holds a matrix of all pairs."""
    weights = jax.nn.softmax(x @ w @ x.T / 8)
    return jnp.tanh(weights @ x + x), weights.max(0)


def stack(x: Any, ws: Any) -> Any:
    return lax.scan(layer, x, ws)


def stack_gradient(ws: Any, x: Any) -> Any:
    return jax.grad(lambda ws: (lax.scan(jax.checkpoint(layer), x, ws)[0] ** 2).sum())(ws)


X, WS = normal(1501, 16), 0.3 * normal(5, 16, 16, seed=1)


@pytest.mark.parametrize(("fun", "args", "limit"), [(stack, (X, WS), "5MiB"), (stack_gradient, (WS, X), "12MiB")])
def test_bodies_are_planned(fun, args, limit):
    limited = memline.jit(fun, memory_limit=limit)
    assert_same(limited(*args), jax.jit(fun)(*args), rtol=2e-4)
    compiled = limited.lower(*args).compile()
    assert any("@s" in move.value for move in compiled.plan.moves if isinstance(move, memline.SplitAxis))
    again = memline.jit(fun, plan=memline.Plan.from_json(compiled.plan.to_json())).lower(*args)
    assert again.plan.moves == compiled.plan.moves
    assert str(again.compile().graph) == str(compiled.graph)


def test_weak_types_stay_weak():
    def fun(x: Any, ws: Any) -> Any:
        count, _ = lax.scan(lambda n, row: (n + 1, row.sum()), 0, ws)
        return stack(x, ws)[0], count

    limited = memline.jit(fun, memory_limit="5MiB")
    assert limited.lower(X, WS).plan.moves
    assert_same(limited(X, WS), jax.jit(fun)(X, WS), rtol=2e-4)


@pytest.mark.parametrize("transform", ["jit", "grad", "vmap"])
def test_a_limit_inside_other_transformations(transform):
    x = X[:700]
    limited = memline.limit(lambda x, ws: stack(x, ws)[0], "2MiB")

    def plain(x: Any, ws: Any) -> Any:
        return stack(x, ws)[0]

    if transform == "jit":
        assert_same(jax.jit(limited)(x, WS), jax.jit(plain)(x, WS), rtol=2e-4)
    elif transform == "grad":
        free = memline.limit(plain, "40MiB")
        found, expected = (jax.grad(lambda ws, f=f: (f(x, ws) ** 2).sum())(WS) for f in (free, plain))
        assert_same(found, expected, rtol=1e-3)
    else:
        xs = jnp.stack([x[:200], x[200:400]])
        small = memline.limit(plain, "1MiB")
        assert_same(jax.vmap(small, (0, None))(xs, WS), jax.vmap(plain, (0, None))(xs, WS), rtol=2e-4)


@pytest.mark.slow
def test_growth_stays_under_the_limit_less_the_arguments():
    args = normal(3001, 16), 0.3 * normal(4, 16, 16, seed=1)
    held = sum(x.nbytes for x in args)
    compiled = memline.jit(stack, memory_limit=held + 10 * MIB).lower(*args).compile()
    assert compiled.plan.moves
    assert np.prod((3001, 3001)) * 4 > 30 * MIB
    assert compiled.measure(*args, repeats=0).peak_bytes <= 1.05 * 10 * MIB + 8 * MIB
