"""`while` and `cond` as ops with graphs inside: what they become, that they compute the same, that they are planned."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from jax import lax

import memline
from memline.ir.check import IllegalGraph, check
from memline.ir.emit import evaluate
from memline.ir.graph import Graph, Op
from memline.ir.trace import from_jaxpr
from memline.plan.moves import SplitAxis
from memline.verify.measured import measure
from tests.comparing import agree, assert_same
from tests.families import normal

MIB = 2**20
N = 1501
X, B = normal(N, 3), normal(N, seed=1)


def kernel(x: Any) -> Any:
    """A matrix of all pairs, of 8.6 MiB."""
    return jnp.exp(-((x[:, None] - x[None, :]) ** 2).sum(-1))


def turned(x: Any, b: Any) -> Any:
    """Until it is small, or five times: the test folds what the body makes."""

    def is_on(state: Any) -> Any:
        return (state[1] < 5) & (jnp.abs(state[0]).max() > 1e-9)

    return lax.while_loop(is_on, lambda state: (kernel(x) @ state[0] / 50, state[1] + 1), (b, 0))


def branched(x: Any, b: Any) -> Any:
    return lax.cond(b[0] > 0, lambda: (kernel(x) @ b, 1), lambda: (jnp.cumsum(b), 2))


def switched(x: Any, b: Any) -> Any:
    """Two of three branches are big."""
    branches = [lambda x, b: b, lambda x, b: kernel(x) @ b, lambda x, b: (kernel(x) ** 2) @ b]
    return lax.switch((b[0] > 0) + 1, branches, x, b)


def solved(x: Any, b: Any) -> Any:
    """Conjugate gradients: a `while` behind a `custom_linear_solve`."""
    return jax.scipy.sparse.linalg.cg(lambda v: kernel(x) @ v + 10 * v, b, maxiter=5)[0]


def in_a_scan(x: Any, b: Any) -> Any:
    def step(c: Any, sign: Any) -> Any:
        return lax.cond(sign > 0, lambda: kernel(x) @ c / N, lambda: c * 2), None

    return lax.scan(step, b, jnp.array([1.0, -1.0, 1.0]))[0]


PROGRAMS = [turned, branched, switched, solved, in_a_scan]


def graph_of(fun: Any, *args: Any) -> Graph:
    graph = from_jaxpr(jax.make_jaxpr(fun)(*args), open_bodies=True)
    check(graph)
    return graph


def with_bodies(graph: Graph) -> Op:
    (op,) = (node for node in graph.nodes if isinstance(node, Op) and node.bodies)
    return op


@pytest.mark.parametrize("fun", PROGRAMS)
class TestEveryProgram:
    def test_graphs_compute_the_same(self, fun):
        args = normal(9, 3), normal(9, seed=1)
        graph = graph_of(fun, *args)
        found = jax.jit(lambda *xs: evaluate(graph, xs))(*args)
        assert_same(found, jax.tree.leaves(jax.jit(fun)(*args)), rtol=1e-5)

    def test_what_is_run_is_planned(self, fun):
        plan = agree(fun, X, B, limit=3 * MIB)
        assert any("@s" in move.value for move in plan.moves if isinstance(move, SplitAxis))

    def test_under_vmap(self, fun):
        both = jax.vmap(fun, (None, 0))
        agree(both, X, jnp.stack([B, -B]), limit=6 * MIB)


def test_under_grad():
    """What a branch computes for its gradient leaves it whole, so that it had better compute it again."""

    def loss(x: Any, b: Any) -> Any:
        one, other = (jax.checkpoint(lambda b, p=p: (kernel(x) ** p) @ b) for p in (1, 2))
        return (lax.cond(b[0] > 0, one, other, b) ** 2).sum()

    agree(jax.grad(loss), X, B, limit=6 * MIB)


def test_either_branch_is_right():
    bounded = memline.jit(switched, memory_limit=3 * MIB)
    for b in (B, -B):
        assert_same(bounded(X, b), jax.jit(switched)(X, b))


def test_the_plan_of_one_body_replays():
    plan = memline.plan(turned, 3 * MIB)(X, B)
    assert_same(memline.jit(turned, plan=plan)(X, B), jax.jit(turned)(X, B))


def test_the_text_shows_what_is_run():
    text = str(graph_of(turned, X, B))
    assert "= while %" in text
    assert any(line.startswith("  return") for line in text.splitlines())


def test_measured_peak():
    compiled = memline.jit(turned, memory_limit=3 * MIB).lower(X, B).compile()
    found = compiled.measure(X, B)
    plain = measure(turned, X, B)
    assert found.peak_bytes < 3 * MIB < plain.peak_bytes


def test_illegal_bodies_are_told():
    graph = graph_of(turned, X, B)
    op = with_bodies(graph)
    test, body = op.bodies
    for bodies, message in (
        ((body, body), "body 0 of .* gives .* for a bool"),
        ((test, test), "body 1 of .* takes"),
        ((test, replace(body, outputs=body.outputs[::-1])), "body 1 of .* gives"),
        ((replace(test, inputs=test.inputs[1:]), body), "body 0 of .* takes"),
    ):
        with pytest.raises(IllegalGraph, match=message):
            check(Graph(graph.inputs, (replace(op, bodies=bodies),), graph.outputs))
