"""Squared distances and their gradients as matrix products: where, how exactly, and what is left alone."""

from __future__ import annotations

from typing import Any

import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings

import memline
from memline.ir.trace import trace
from tests.rewrites.distances import NEAR_MISSES, SPELLINGS
from tests.rewrites.rewriting import as_function, found_in, largest_size, rewritten

N, M, D = 23, 19, 11


def clouds(dtype: Any = np.float32, scale: float = 1.0, offset: float = 0.0, seed: int = 0) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    x, y = (jnp.asarray(rng.normal(offset, scale, size=(n, D)), dtype) for n in (N, M))
    return x, y


def squared_distances(x: Any, y: Any) -> np.ndarray:
    x, y = (np.asarray(a.astype(jnp.float32) if a.dtype.itemsize < 4 else a, np.float64) for a in (x, y))
    return ((x[:, None] - y[None]) ** 2).sum(-1)


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_every_spelling_is_found_and_its_cube_is_gone(spelling: str) -> None:
    graph = trace(SPELLINGS[spelling], *clouds())
    after, done = rewritten(graph, "differences")
    assert [found.rule for found in done] == ["differences"]
    assert largest_size(graph) == N * M * D
    assert largest_size(after) == N * M


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_every_spelling_computes_the_same(spelling: str) -> None:
    args = clouds(offset=30.0)
    after, done = rewritten(trace(SPELLINGS[spelling], *args), "differences")
    with jax.enable_x64(True):
        expected = np.asarray(SPELLINGS[spelling](*(jnp.asarray(a, np.float64) for a in args)))
    error = np.abs(as_function(after)(*args) - expected).max() / expected.max()
    assert error <= done[0].tag.bound


@pytest.mark.parametrize("near_miss", NEAR_MISSES)
def test_what_is_no_sum_of_squared_differences_is_left_alone(near_miss: str) -> None:
    graph = trace(NEAR_MISSES[near_miss], *clouds())
    assert found_in(graph, "differences") is None
    assert found_in(graph, "differences_wide") is None


def test_integers_and_complex_numbers_are_left_alone() -> None:
    for dtype in (np.int32, np.complex64):
        assert found_in(trace(SPELLINGS["power"], *clouds(dtype)), "differences") is None


def test_batches_of_clouds() -> None:
    x, y = (jnp.stack([a, 2 * a]) for a in clouds())
    graph = trace(jax.vmap(SPELLINGS["power"]), x, y)
    after, done = rewritten(graph, "differences")
    assert len(done) == 1
    assert largest_size(after) == 2 * N * M
    np.testing.assert_allclose(as_function(after)(x, y), jax.vmap(SPELLINGS["power"])(x, y), rtol=1e-4)


def kernel_sum(x: Any, y: Any) -> Any:
    return jnp.exp(-0.5 * ((x[:, None] - y[None]) ** 2).sum(-1)).sum()


def test_a_gradient_loses_its_differences_as_well() -> None:
    args = clouds()
    graph = trace(jax.grad(kernel_sum), *args)
    after, done = rewritten(graph, "differences_wide")
    assert [found.value.shape for found in done] == [(N, D), (N, M)]
    assert largest_size(after) == N * M
    np.testing.assert_allclose(as_function(after)(*args), jax.grad(kernel_sum)(*args), rtol=1e-4, atol=1e-6)


def test_what_magnifies_small_errors_asks_for_double_precision() -> None:
    def bound(f: Any, rule: str) -> float:
        found = found_in(trace(f, *clouds()), rule)
        assert found is not None
        return found.tag.bound

    for f in (kernel_sum, lambda x, y: jnp.linalg.norm(x[:, None] - y, axis=-1)):
        assert bound(f, "differences") > 1e-4
        assert bound(f, "differences_wide") < 1e-6


def test_nearly_equal_points_keep_their_distances_in_double_precision() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(1.0, 1.0, size=(N, D)).astype(np.float32)
    y = x * np.float32(1 + 1e-4)
    after, _ = rewritten(trace(lambda x, y: jnp.sqrt(SPELLINGS["power"](x, y)), x, y), "differences_wide")
    np.testing.assert_allclose(as_function(after)(x, y), np.sqrt(squared_distances(x, y)), rtol=1e-5)


@pytest.mark.parametrize("rule", ["differences", "differences_wide"])
def test_points_at_infinity_stay_there_and_move_no_others(rule: str) -> None:
    x, y = clouds()
    x, y = x.at[1].set(jnp.nan), y.at[2].set(jnp.inf).at[3, 0].set(-jnp.inf)
    after, _ = rewritten(trace(SPELLINGS["power"], x, y), rule)
    found, expected = as_function(after)(x, y), SPELLINGS["power"](x, y)
    np.testing.assert_array_equal(np.isnan(found), np.isnan(expected))
    np.testing.assert_allclose(found, expected, rtol=1e-4)


@pytest.mark.parametrize("shapes", [((0, 4), (5, 4)), ((3, 0), (5, 0)), ((1, 4), (5, 4)), ((3, 4), (1, 4))])
def test_empty_and_single_axes_have_nothing_to_gain(shapes: Any) -> None:
    args = [jnp.ones(shape) for shape in shapes]
    assert found_in(trace(SPELLINGS["power"], *args), "differences") is None


@settings(max_examples=15, deadline=None)
@given(
    dtype=st.sampled_from(["bfloat16", "float16", "float32", "float64"]),
    power=st.integers(-6, 6),
    shift=st.sampled_from([0.0, 1.0, 100.0]),
    duplicates=st.integers(0, 5),
    rule=st.sampled_from(["differences", "differences_wide"]),
    seed=st.integers(0, 99),
)
def test_errors_stay_within_the_bound(
    dtype: str, power: int, shift: float, duplicates: int, rule: str, seed: int
) -> None:
    scale = 10.0 ** (power if dtype != "float16" else min(max(power, -2), 1))
    with jax.enable_x64(dtype == "float64"):
        x, y = clouds(dtype, scale, shift * scale if dtype != "float16" else 0.0, seed)
        y = y.at[:duplicates].set(x[:duplicates])
        found = found_in(trace(SPELLINGS["power"], x, y), rule)
        if rule == "differences_wide" and dtype == "float64":
            assert found is None
            return
        after, done = rewritten(trace(SPELLINGS["power"], x, y), rule)
        result = np.asarray(as_function(after)(x, y).astype(jnp.float64 if dtype == "float64" else jnp.float32))
        # As written, halves round each difference and each square; the rewritten one rounds the result only.
        expected = squared_distances(x, y)
        error = np.abs(result - expected).max() / expected.max()
        assert error <= done[0].tag.bound + float(jnp.finfo(dtype).eps)
        assert (result >= 0).all()


@pytest.mark.parametrize("wrap", ["plain", "jit", "vmap", "grad"])
def test_memline_takes_it_where_it_pays(wrap: str) -> None:
    rng = np.random.default_rng(0)
    x, y = (jnp.asarray(rng.normal(3.0, 1.0, size=(n, 64)), jnp.float32) for n in (300, 2000))

    def nearest(x: Any, y: Any) -> Any:
        return SPELLINGS["power"](x, y).min(1)

    limited = memline.jit(nearest, memory_limit="4MiB")
    plan = memline.plan(nearest, "4MiB")(x, y)
    assert any(isinstance(m, memline.Rewrite) and m.rule == "differences" for m in plan.moves)
    assert (plan.compiled_peak_bytes or 0) <= 4 << 20
    functions = {
        "plain": lambda f: f(x, y),
        "jit": lambda f: jax.jit(f)(x, y),
        "vmap": lambda f: jax.vmap(f, (0, None))(x.reshape(2, 150, 64), y),
        "grad": lambda f: jax.grad(lambda x, y: f(x, y).sum())(x, y),
    }
    np.testing.assert_allclose(functions[wrap](limited), functions[wrap](nearest), rtol=2e-4, atol=2e-4)
