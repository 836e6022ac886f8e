"""Smaller tapes: what a loop leaves for a later one, cut down to what the rest follows from."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import memline
from memline.analysis.tape import tapes
from memline.errors import PlanError
from memline.ir.check import check
from memline.ir.emit import evaluate
from memline.ir.graph import Graph, Loop
from memline.passes.slim import slim
from memline.plan.apply import apply_moves, tape_moves
from memline.plan.moves import SlimTape, SplitAxis
from memline.plan.plan import Plan
from memline.planning import prepared_graph
from tests.comparing import assert_same
from tests.families import normal

T, D = 23, 6
W, B, START, XS = 0.4 * normal(D, D), normal(D, seed=1), normal(D, seed=2), normal(T, D, seed=3)


def chain(step: Any) -> Any:
    """The gradient of a loss of what many steps lead to."""

    def loss(w: Any, b: Any, start: Any, xs: Any) -> Any:
        return (lax.scan(lambda h, x: (step(w, b, h, x), None), start, xs)[0] ** 2).sum()

    return jax.grad(loss, (0, 1, 2, 3))


STEPS = {
    "field": lambda w, b, h, x: h + 0.1 * (jnp.roll(h, 1) - h + jnp.tanh(h) * b - h**3) + x * h**2,
    "recurrence": lambda w, b, h, x: (y := jnp.tanh(w @ h + x + b)) * (1 - 0.5 * y),
    "gated": lambda w, b, h, x: jax.nn.sigmoid(w @ h + x) * h + (1 - jax.nn.sigmoid(w @ h + x)) * jnp.tanh(w @ (h * b)),
    "normalised": lambda w, b, h, x: (y := h + jnp.sin(w @ h) * x) / jnp.sqrt(1 + (y * y).mean()),
}


def graph_of(fun: Any, *args: Any) -> Graph:
    return prepared_graph(jax.make_jaxpr(fun)(*args), "cpu")


def tape_bytes(graph: Graph) -> int:
    stacks = (v for node in graph.nodes if isinstance(node, Loop) for v in node.outputs[len(node.carried) :])
    return sum(v.size_bytes for v in stacks if v not in graph.outputs)


@pytest.mark.parametrize("name", STEPS)
class TestEveryStep:
    def test_less_is_stacked_and_the_same_comes_out(self, name):
        fun, args = chain(STEPS[name]), (W, B, START, XS)
        graph = graph_of(fun, *args)
        (tape,) = tapes(graph)
        smaller = slim(graph, tape)
        check(smaller)
        assert tape_bytes(graph) - tape_bytes(smaller) == tape.saved_bytes > 0
        found = jax.jit(lambda *xs: evaluate(smaller, xs))(*args)
        assert_same(found, list(jax.jit(fun)(*args)), rtol=1e-5)

    def test_under_vmap_and_grad(self, name):
        def bent(w: Any) -> Any:
            return sum((g**2).sum() for g in chain(STEPS[name])(w, B, START, XS))

        for fun, w in ((jax.grad(bent), W), (jax.vmap(bent), jnp.stack([W, 2 * W]))):
            graph = graph_of(fun, w)
            for tape in tapes(graph):
                graph = slim(graph, tape) if tape.writer in graph.nodes else graph
            check(graph)
            assert_same(jax.jit(lambda *xs, g=graph: evaluate(g, xs))(w), [jax.jit(fun)(w)], rtol=1e-4)

    def test_there_is_nothing_more_to_gain(self, name):
        graph = graph_of(chain(STEPS[name]), W, B, START, XS)
        (tape,) = tapes(graph)
        assert not list(tapes(slim(graph, tape)))


def test_a_field_leaves_only_its_carry():
    graph = graph_of(chain(STEPS["field"]), W, B, START, XS)
    (tape,) = tapes(graph)
    assert tape_bytes(slim(graph, tape)) == XS.nbytes


def test_products_are_not_computed_again():
    graph = graph_of(chain(STEPS["recurrence"]), W, B, START, XS)
    (tape,) = tapes(graph)
    readers = [node for node in slim(graph, tape).nodes if isinstance(node, Loop)][1:]
    products = [n for loop in readers for n in loop.body.nodes if n.kind == "dot_general"]
    before = [n for loop in tape.readers for n in loop.body.nodes if n.kind == "dot_general"]
    assert len(products) == len(before)


def test_what_others_read_stays():
    def loss(start: Any, xs: Any) -> Any:
        return (lax.scan(lambda h, x: (jnp.tanh(h) + x, jnp.tanh(h)), start, xs)[1] ** 2).sum()

    graph = graph_of(jax.grad(loss, (0, 1)), START, XS)
    for tape in tapes(graph):
        assert not {tape.writer.outputs[at] for at in tape.dropped} & set(graph.outputs)
        check(slim(graph, tape))


def test_the_move_replays_and_says_what_it_cannot_do():
    fun, args = chain(STEPS["field"]), (W, B, START, XS)
    graph = graph_of(fun, *args)
    ((move, saved_bytes),) = tape_moves(graph)
    assert saved_bytes == tape_bytes(graph) - tape_bytes(apply_moves(graph, [move]))
    plan = Plan.from_json(Plan.of(move).to_json())
    assert plan.moves == (move,)
    assert_same(memline.jit(fun, plan=plan)(*args), jax.jit(fun)(*args), rtol=1e-5)
    with pytest.raises(PlanError, match="no loop stacks %999"):
        apply_moves(graph, [SlimTape("%999")])


def test_a_long_run_is_planned_with_little_tape():
    """Slimmed, cut into runs, and these into shorter ones: far less than the square root of it all."""
    xs = normal(4001, 64, seed=5)
    args = (0.1 * normal(64, 64), normal(64, seed=1), normal(64, seed=2), xs)
    fun = jax.grad(lambda *a: (lax.scan(lambda h, x: (STEPS["gated"](a[0], a[1], h, x), None), *a[2:])[0] ** 2).sum())
    whole = jax.jit(fun).lower(*args).compile().memory_analysis()
    assert whole is not None
    fixed_bytes = whole.argument_size_in_bytes + whole.output_size_in_bytes
    bounded = memline.jit(fun, memory_limit=fixed_bytes + whole.temp_size_in_bytes // 30)
    plan = bounded.lower(*args).plan
    assert {type(move) for move in plan.moves} >= {SlimTape, SplitAxis}
    assert plan.compiled_peak_bytes <= plan.limit_bytes
    np.testing.assert_allclose(bounded(*args), jax.jit(fun)(*args), rtol=2e-4, atol=1e-4)
