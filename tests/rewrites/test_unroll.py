"""Short sums of elementwise expressions, written out."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import memline
from memline.ir.trace import trace
from tests.rewrites.rewriting import as_function, found_in, largest_size, rewritten

N, M = 23, 19


def clouds(dims: int, dtype: Any = np.float32) -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    x, y = (jnp.asarray(rng.normal(size=(n, dims)), dtype) for n in (N, M))
    return x, y


SPELLINGS = {
    "L1": lambda x, y: jnp.abs(x[:, None] - y).sum(-1),
    "L2": lambda x, y: ((x[:, None] - y) ** 2).sum(-1),
    "vmap": lambda x, y: jax.vmap(lambda a: jax.vmap(lambda b: jnp.abs(a - b).sum())(y))(x),
    "features first": lambda x, y: jnp.abs(x.T[:, :, None] - y.T[:, None, :]).sum(0),
    "with a scale of its own": lambda x, y: (jnp.abs(x[:, None] - y) / jnp.arange(1.0, 1 + x.shape[-1])).sum(-1),
    "exponential": lambda x, y: jnp.exp(-jnp.abs(x[:, None] - y)).sum(-1),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_short_sum_is_written_out(spelling: str) -> None:
    args = clouds(3)
    graph = trace(SPELLINGS[spelling], *args)
    after, done = rewritten(graph, "unroll")
    assert [found.tag.kind for found in done] == ["reassociates"]
    assert (largest_size(graph), largest_size(after)) == (N * M * 3, N * M)
    np.testing.assert_allclose(as_function(after)(*args), SPELLINGS[spelling](*args), rtol=1e-6)


NEAR_MISSES = {
    "a long sum": lambda x, y: jnp.abs(x[:, None] - jnp.tile(y, 6)[:, :9] * jnp.ones(9)).sum(-1),
    "a sum of what is there": lambda x, y: jnp.abs(x * x).sum(-1) + y.sum(),
    "a maximum": lambda x, y: jnp.abs(x[:, None] - y).max(-1),
    "a sum over two axes": lambda x, y: jnp.abs(x[:, None] - y).sum((1, 2)),
    "a mean over many": lambda x, y: jnp.abs(x[:, None] - y).mean(0),
}


@pytest.mark.parametrize("near_miss", NEAR_MISSES)
def test_other_sums_are_left_alone(near_miss: str) -> None:
    x, y = clouds(9 if near_miss == "a long sum" else 3)
    assert found_in(trace(NEAR_MISSES[near_miss], x, y), "unroll") is None


def test_integers_are_left_alone() -> None:
    assert found_in(trace(SPELLINGS["L1"], *clouds(3, np.int32)), "unroll") is None


def test_short_floats_are_summed_in_the_wider_type_that_they_were_summed_in() -> None:
    args = clouds(3, np.float16)
    after, done = rewritten(trace(SPELLINGS["L1"], *args), "unroll")
    assert [found.value.dtype for found in done] == [np.float32]
    np.testing.assert_array_equal(as_function(after)(*args), SPELLINGS["L1"](*args))


def test_points_that_are_no_numbers_stay_so() -> None:
    x, y = clouds(3)
    x, y = x.at[1, 2].set(jnp.nan), y.at[2].set(jnp.inf)
    after, _ = rewritten(trace(SPELLINGS["L2"], x, y), "unroll")
    np.testing.assert_allclose(as_function(after)(x, y), SPELLINGS["L2"](x, y), rtol=1e-6)


@pytest.mark.parametrize("wrap", ["plain", "jit", "vmap", "grad"])
def test_memline_takes_it(wrap: str) -> None:
    rng = np.random.default_rng(0)
    x, y = (jnp.asarray(rng.normal(size=(n, 3)), jnp.float32) for n in (300, 3000))

    def nearest(x: Any, y: Any) -> Any:
        return SPELLINGS["L1"](x, y).min(1)

    plan = memline.plan(nearest, "3MiB")(x, y)
    assert any(isinstance(m, memline.Rewrite) and m.rule == "unroll" for m in plan.moves)
    limited = memline.jit(nearest, memory_limit="3MiB")
    functions = {
        "plain": lambda f: f(x, y),
        "jit": lambda f: jax.jit(f)(x, y),
        "vmap": lambda f: jax.vmap(f, (0, None))(x.reshape(2, 150, 3), y),
        "grad": lambda f: jax.grad(lambda x: f(x, y).sum())(x),
    }
    np.testing.assert_allclose(functions[wrap](limited), functions[wrap](nearest), rtol=1e-5)
