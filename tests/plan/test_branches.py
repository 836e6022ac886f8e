"""Plans of programs whose memory is in what a `while` or a `cond` takes, carries and gives."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import memline
from memline.ir.codec import decode, encode
from memline.planning import prepared_graph
from memline.verify.measured import measure
from tests.comparing import agree, assert_same
from tests.families import normal

MIB = 2**20
ROWS, WIDTH = 2000, 4
X, W = normal(ROWS, WIDTH), 0.2 * normal(64, 64, seed=1)


def spread(x: Any) -> Any:
    """Rows of 64 for rows of 4: half a mebibyte."""
    return jnp.tile(x, (1, 16)) * jnp.linspace(0.5, 2.0, 64)


def halved(x: Any, w: Any) -> Any:
    """Each row until it is small, in its own number of turns."""

    def alone(row: Any) -> Any:
        return lax.while_loop(
            lambda c: jnp.abs(c[0]).max() > 0.1, lambda c: (0.5 * jnp.sin(c[0] @ w), c[1] + 1), (row, 0)
        )

    rows, turns = jax.vmap(alone)(spread(x))
    return (rows**2).sum(1), turns


def chosen(x: Any, w: Any) -> Any:
    def rough(h: Any, w: Any) -> Any:
        return jnp.tanh(h @ w) + h

    return (lax.cond(w[0, 0] > 9, rough, lambda h, w: jnp.sin(h @ w) ** 2, spread(x), w) ** 2).mean()


def until_all_are_small(x: Any, w: Any) -> Any:
    h = lax.while_loop(lambda h: jnp.abs(h).max() > 0.1, lambda h: 0.5 * jnp.sin(h @ w), spread(x))
    return (h**2).sum(1)


def test_rows_that_stop_by_themselves_fit():
    plan: Any = agree(halved, X, W, limit=MIB // 4)
    assert not plan.left_whole


def test_the_gradient_of_branches_fits():
    agree(jax.value_and_grad(chosen, (0, 1)), X, W, limit=MIB // 2)


@pytest.mark.parametrize("around", [jax.jit, lambda f: jax.vmap(f, (0, None))])
def test_under_transformations(around):
    x = jnp.stack([X, -X]) if around is not jax.jit else X
    bounded = memline.jit(halved, memory_limit=MIB // 4)
    assert_same(around(bounded)(x, W), jax.jit(around(halved))(x, W))


def test_grad_of_a_bounded_function():
    bounded = memline.jit(chosen, memory_limit=MIB)
    assert_same(jax.grad(bounded, (0, 1))(X, W), jax.jit(jax.grad(chosen, (0, 1)))(X, W), rtol=1e-4)


def test_what_stands_in_the_way_is_told():
    limited = memline.jit(until_all_are_small, memory_limit=MIB // 4)
    with pytest.raises(memline.MemoryLimitError):
        limited.lower(X, W)
    (told,) = memline.plan(until_all_are_small, 8 * MIB)(X, W).left_whole
    assert told.startswith("while (")
    assert "is not split through: reduce_max (test_branches.py" in told


def test_a_plan_through_a_loop_is_written_and_read():
    compiled = memline.jit(halved, memory_limit=MIB // 4).lower(X, W).compile()
    anchor = prepared_graph(jax.make_jaxpr(halved)(X, W), "cpu")
    assert str(decode(encode(compiled.graph, anchor), anchor)) == str(compiled.graph)
    again = memline.jit(halved, plan=compiled.plan)
    assert_same(again(X, W), compiled(X, W))


def test_measured_peak():
    x = normal(20_000, WIDTH)
    found = memline.jit(halved, memory_limit=2 * MIB).lower(x, W).compile().measure(x, W)
    assert found.peak_bytes < 2 * MIB
    assert measure(halved, x, W).peak_bytes > 4 * MIB
    assert np.isfinite(found.peak_bytes)
