"""Values held so that XLA does not compute them in every reader: which, that results stay, and what it saves."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import memline
from memline.analysis.fusion import CPU
from memline.ir.check import check
from memline.ir.emit import evaluate
from memline.ir.graph import Graph, Loop
from memline.ir.trace import from_jaxpr, trace
from memline.passes.hold import hold_sums, release_small
from tests.comparing import assert_same
from tests.families import normal

MIB = 2**20


def residual(x, weights):
    """A residual network whose sums have readers that can all compute them again."""
    for w in weights:
        x = x + 2.0 * (x @ w).T + jnp.tanh(x).mean(1, keepdims=True)
    return x


def arguments(layers: int, width: int = 64) -> tuple:
    return 0.1 * normal(width, width), [0.02 * normal(width, width, seed=k + 1) for k in range(layers)]


def barriers(graph: Graph) -> int:
    inside = sum(barriers(node.body) for node in graph.nodes if isinstance(node, Loop))
    return inside + sum(node.kind == "optimization_barrier" for node in graph.nodes)


def test_short_programs_are_left_alone():
    graph = trace(residual, *arguments(6))
    assert hold_sums(graph, CPU) is graph


def test_a_long_chain_of_sums_is_cut_now_and_then():
    x, weights = arguments(32)
    graph = trace(residual, x, weights)
    held = hold_sums(graph, CPU)
    check(held)
    assert 2 <= barriers(held) <= 32 // 4
    assert barriers(graph) == 0, "the graph given is as it was"
    found = evaluate(held, [x, *weights])[0]
    np.testing.assert_allclose(found, residual(x, weights), rtol=1e-5, atol=1e-5)
    assert hold_sums(held, CPU) is held


def test_what_one_node_reads_is_not_held():
    graph = trace(lambda *xs: sum(xs[1:], start=xs[0]), *[normal(64, 64, seed=k) for k in range(20)])
    assert hold_sums(graph, CPU) is graph


def test_results_are_read_behind_the_barrier_too():
    def fun(*xs):
        total = sum(xs[1:], start=xs[0])
        return total, jnp.sin(total), jnp.cos(total)

    args = [normal(64, 64, seed=k) for k in range(20)]
    held = hold_sums(trace(fun, *args), CPU)
    check(held)
    assert barriers(held) == 1
    assert held.producer[held.outputs[0]].kind == "optimization_barrier"
    for found, expected in zip(evaluate(held, args), fun(*args), strict=True):
        np.testing.assert_array_equal(found, expected)


def test_bodies_of_scans_are_held_too():
    def fun(x, weights):
        return lax.scan(lambda x, _: (residual(x, weights), None), x, None, length=3)[0]

    x, weights = arguments(20)
    graph = from_jaxpr(jax.make_jaxpr(fun)(x, weights), open_bodies=True)
    held = hold_sums(graph, CPU)
    check(held)
    assert barriers(held) >= 2
    np.testing.assert_allclose(evaluate(held, [x, *weights])[0], fun(x, weights), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("transform", ["jit", "grad", "vmap"])
def test_results_are_those_of_plain_jax(transform):
    def loss(x):
        return (residual(x, weights) ** 2).sum()

    x, weights = arguments(16)
    fun, args = {
        "jit": (loss, x),
        "grad": (jax.grad(loss), x),
        "vmap": (jax.vmap(loss), jnp.stack([x, 2 * x, 3 * x])),
    }[transform]
    limited = memline.jit(fun, memory_limit=8 * MIB)
    assert_same(limited(args), jax.jit(fun)(args), rtol=1e-4)


def test_a_held_chain_takes_less_memory_and_its_kernels_read_few_arrays():
    """Without the barriers XLA reads every summand in the last kernel, and holds them all until then."""
    args = arguments(24, width=256)
    row = 256 * 256 * 4
    unheld = jax.jit(residual).lower(*args).compile({"xla_cpu_experimental_ynn_fusion_type": ""})
    account = unheld.memory_analysis()
    assert account is not None
    assert account.temp_size_in_bytes > 20 * row
    plan = memline.jit(residual, memory_limit=64 * MIB).lower(*args).compile().plan
    held = plan.compiled_peak_bytes - plan.argument_bytes - plan.output_bytes
    assert held < 16 * row


@pytest.mark.slow
def test_measured_growth_stays_under_the_limit_less_the_arguments():
    x, weights = arguments(24, width=512)
    fixed = sum(v.nbytes for v in (x, *weights))
    compiled = memline.jit(residual, memory_limit=fixed + 16 * MIB).lower(x, weights).compile()
    grown_bytes = min(compiled.measure(x, weights, repeats=0).peak_bytes for _ in range(3))  # threads add a little
    assert grown_bytes <= 1.05 * 16 * MIB + 8 * MIB


def scanned(body):
    """A long scan of a body; what it does before is held by barriers, so that they are kept in the whole program."""

    def fun(x, weights):
        y = residual(x, weights)
        last = lax.scan(lambda c, _: (body(c), None), y[0, :4], None, length=50)[0]
        return y.sum() + last.sum()

    return fun


def guarded(c):
    c = lax.optimization_barrier(jnp.cumsum(c) * 0.5)
    return lax.cond(c[0] > 1e3, lambda c: lax.optimization_barrier(c) * 2, lambda c: c * 0.9, c)


class TestRelease:
    """XLA:CPU has no barrier in the functions that it makes of small loops, and dies of one."""

    def test_small_bodies_lose_their_barriers_and_big_scopes_keep_them(self):
        x, weights = arguments(24)
        given = from_jaxpr(jax.make_jaxpr(scanned(guarded))(x, weights), open_bodies=True)
        held = hold_sums(given, CPU)
        freed = release_small(held)
        check(freed)
        (loop,) = (node for node in freed.nodes if isinstance(node, Loop))
        branches = [branch for node in loop.body.nodes for branch in node.bodies]
        assert branches
        assert [barriers(scope) for scope in (loop.body, *branches)] == [0] * (1 + len(branches))
        assert sum(node.kind == "optimization_barrier" for node in freed.nodes) > 0
        assert release_small(freed) is freed

    @pytest.mark.parametrize("transform", [lambda f: f, jax.grad], ids=["value", "gradient"])
    def test_such_a_program_compiles_and_its_results_are_those_of_plain_jax(self, transform):
        args = arguments(24, width=256)
        fun = transform(scanned(guarded))
        planned = memline.jit(fun, memory_limit=24 * MIB).lower(*args).compile()
        assert_same(planned(*args), jax.jit(fun)(*args), rtol=1e-3)
