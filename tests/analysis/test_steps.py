"""Which loops are found to be of several small kernels."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from memline.analysis.steps import small_kernels
from memline.ir.trace import from_jaxpr


def found(fun: Any, *shapes: tuple[int, ...]) -> Any:
    args = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    return small_kernels(from_jaxpr(jax.make_jaxpr(fun)(*args), platform="cpu", open_bodies=True))


def cell(x: Any) -> Any:
    """Three times two slices joined, and what is made of them."""
    return (jnp.roll(x, -1) - jnp.roll(x, 2)) * jnp.sin(jnp.roll(x, 1)) - x


def scanned(body: Any, length: int = 100) -> Any:
    return lambda x: lax.scan(lambda x, _: (body(x), None), x, None, length=length)[0]


def test_what_it_says():
    step = found(scanned(cell), (50,))
    assert step.kernels == 4
    assert step.trips == 100
    assert 4 * 50 * 8 < step.touched_bytes < 4 * 50 * 16
    assert "test_steps.py" in step.source


def test_gradients_hand_on_more_than_the_loops_they_are_of():
    def loss(w, x):
        return scanned(lambda h: jnp.tanh(w @ h))(x).sum()

    assert found(loss, (20, 20), (20,)) is None
    assert found(jax.grad(loss, (0, 1)), (20, 20), (20,)) is not None


@pytest.mark.parametrize(
    ("fun", "shape"),
    [
        (scanned(lambda x: jnp.tanh(jnp.sin(x) * jnp.cos(x) + jnp.exp(-x)) - x), (50,)),  # all one kernel
        (scanned(cell), (5000,)),  # big ones
        (scanned(cell, length=4), (50,)),  # few steps
        (cell, (50,)),  # no loop
        (scanned(lambda x: cell(x @ x)), (20, 20)),  # a product that the library makes faster
    ],
    ids=["few", "big", "short", "none", "product"],
)
def test_what_is_left_to_xla(fun, shape):
    assert found(fun, shape) is None


def test_a_matrix_and_a_vector_or_two_vectors_are_no_product_of_matrices():
    def step(w, h):
        return cell(w @ h), jnp.outer(h, h).sum()

    assert found(lambda w, h: lax.scan(lambda h, _: step(w, h), h, None, length=50), (20, 20), (20,)) is not None


def test_loops_inside_loops_and_of_unknown_length():
    def inner(x):
        return lax.while_loop(lambda c: c[0].sum() < 5, lambda c: (cell(c[0]), c[1] + 1), (x, 0))[0]

    assert found(inner, (50,)).trips is None
    assert found(scanned(inner), (50,)).trips is None
    assert found(lambda x: lax.cond(x.sum() > 0, inner, jnp.sin, x), (50,)).trips is None
    assert found(scanned(scanned(cell, 30), 40), (50,)).trips == 30


def test_a_product_in_another_small_loop_speaks_against_it():
    def both(x, w):
        return scanned(cell)(x), scanned(lambda w: jnp.tanh(w @ w))(w)

    assert found(both, (50,), (20, 20)) is None
    assert found(both, (50,), (400, 400)) is not None


def test_calls_in_a_loop_are_looked_into():
    called = jax.jit(cell)
    step = found(lambda x: lax.while_loop(lambda x: x.sum() < 5, lambda x: called(called(x)), x), (50,))
    assert step.kernels == 7
