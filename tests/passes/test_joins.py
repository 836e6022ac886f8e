"""Joined arrays as selections: which are, that results stay bit for bit, and what it saves."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax

import memline
from memline.ir.check import check
from memline.ir.emit import evaluate
from memline.ir.graph import Graph
from memline.ir.trace import from_jaxpr, trace
from memline.passes.joins import selected_joins
from tests.comparing import assert_same
from tests.families import normal

KIB = 1 << 10


def joins(graph: Graph) -> int:
    bodies = [body for node in graph.nodes for body in node.inner]
    return sum(node.kind == "concatenate" for node in graph.nodes) + sum(map(joins, bodies))


def around(u):
    """What lies beside each element of a field that goes on at its other edge."""
    return sum(jnp.roll(u, shift, axis) for axis in (0, 1) for shift in (1, -1))


def swapped(x):
    """The rotation of a rotary embedding."""
    first, second = jnp.split(x, 2, axis=-1)
    return x * 0.5 + jnp.concatenate([-second, first], -1) * 0.25


def edged(x):
    """Differences of an array that is padded at its edges."""
    padded = jnp.concatenate([x[:1], x, x[-1:]])
    return jnp.abs(padded) * 2


@pytest.mark.parametrize(
    "fun", [around, swapped, edged, lambda x: lax.scan(lambda u, _: (around(u), None), x, None, 3)]
)
def test_rolls_halves_and_edges_are_selected(fun):
    x = normal(40, 50)
    graph = trace(lambda x: jax.tree.leaves(fun(x)), x) if fun in (around, swapped, edged) else _planned(fun, x)
    selected = selected_joins(graph)
    check(selected)
    assert joins(graph) > 0 == joins(selected)
    for run in (lambda g, x: evaluate(g, [x]), lambda g, x: jax.jit(lambda x: evaluate(g, [x]))(x)):
        for a, b in zip(run(graph, x), run(selected, x), strict=True):
            np.testing.assert_array_equal(a, b)


def _planned(fun, x) -> Graph:
    return from_jaxpr(jax.make_jaxpr(fun)(x), open_bodies=True)


@pytest.mark.parametrize(
    "fun",
    [
        lambda x: jnp.roll(x, 1, 0),  # a result
        lambda x: jnp.roll(x, 1, 0) @ x.T,  # read by no elementwise op
        lambda x: jnp.roll(x[:10, :10], 1, 0) * 2,  # small
        lambda x: jnp.concatenate([x, x + 1, x + 2, x + 3]) * 2,  # many parts
        lambda x: jnp.concatenate([jnp.tanh(x), x]) * 2,  # a costly part
        lambda x: jnp.concatenate([((x + 1) * 3 - 2) / 5, x]) * 2,  # a long way to a part
    ],
)
def test_others_stay(fun):
    graph = trace(fun, normal(40, 50))
    assert joins(graph) == 1
    assert selected_joins(graph) is graph


@settings(max_examples=12, deadline=None)
@given(
    sizes=st.lists(st.integers(1, 40), min_size=2, max_size=3),
    other=st.integers(64, 80),
    axis=st.integers(0, 1),
    dtype=st.sampled_from(["float32", "bfloat16", "int8", "complex64", "bool", "uint32"]),
)
def test_elements_stay_bit_for_bit(sizes, other, axis, dtype):
    rng = np.random.default_rng(len(sizes))
    shapes = [(size, other) if axis == 0 else (other, size) for size in sizes]
    parts = [
        jnp.asarray(rng.integers(0, 2, shape) - 0.0 * rng.integers(-1, 2, shape)).astype(dtype) for shape in shapes
    ]

    def fun(*parts):
        return jnp.where(jnp.concatenate(parts, axis) == 0, jnp.concatenate(parts, axis), 1)

    graph = trace(fun, *parts)
    made = evaluate(selected_joins(graph), parts)[0]
    np.testing.assert_array_equal(np.asarray(made).view(np.uint8), np.asarray(fun(*parts)).view(np.uint8))


def stencil(u, steps=64):
    """A field after many steps, as a number."""

    def step(u, _):
        return u + 0.1 * (around(u) - 4 * u) + jnp.tanh(u), None

    return (lax.scan(step, u, None, steps)[0] ** 2).mean()


def test_planned_programs_are_compiled_so_and_say_it():
    u = normal(64, 128)
    limited = memline.jit(jax.grad(stencil), memory_limit=800 * KIB)
    compiled = limited.lower(u).compile()
    assert any(note.startswith("joined where they are read") for note in compiled.plan.notes)
    assert compiled.plan.moves
    text = str(compiled.as_text())
    assert " concatenate(" not in text
    assert " concatenate(" in str(jax.jit(jax.grad(stencil)).lower(u).compile().as_text())
    assert_same(limited(u), jax.jit(jax.grad(stencil))(u))
    assert compiled.measure(u, repeats=0).peak_bytes <= 800 * KIB + 128 * KIB  # threads add a little


def test_under_transformations():
    u = normal(3, 64, 64)
    limited = memline.jit(stencil, memory_limit=400 * KIB)
    assert_same(jax.jit(limited)(u[0]), stencil(u[0]))
    assert_same(jax.vmap(limited)(u), jax.vmap(stencil)(u))
    assert_same(jax.grad(limited)(u[0]), jax.grad(stencil)(u[0]))
    assert " concatenate(" not in str(jax.jit(limited).lower(u[0]).compile().as_text())


def test_programs_as_written_stay():
    u = normal(64, 64)
    compiled = memline.jit(stencil, memory_limit="1GiB").lower(u).compile()
    assert not compiled.plan.notes
    assert " concatenate(" in str(compiled.as_text())
