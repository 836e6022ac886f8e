"""Counted indices as batches and masks: what becomes of them, that results stay bit for bit, and what it takes."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import memline
from memline.ir.check import check
from memline.ir.emit import evaluate
from memline.ir.graph import Graph, Op
from memline.ir.trace import from_jaxpr, trace
from memline.passes.counted import count_places
from tests.comparing import assert_same
from tests.families import normal

MIB = 2**20
N = 256


def ops(graph: Graph, kind: str) -> list[Op]:
    return [node for node in graph.nodes if isinstance(node, Op) and node.kind == kind]


def labels(n: int, classes: int, seed: int = 0) -> jax.Array:
    return jax.random.randint(jax.random.key(seed), (n,), 0, classes)


def picked(x, i):
    return jnp.exp(x)[jnp.arange(x.shape[0]), i]


def picked_by_constants(x, i):
    return jnp.exp(x)[np.arange(x.shape[0]), i]


def picked_in_windows(x, i):
    return jnp.exp(x)[jnp.arange(x.shape[0])[:, None], i[:, None], :]


def picked_by_two(x, i):
    return jnp.exp(x)[i, jnp.arange(x.shape[1])]


@pytest.mark.parametrize(
    ("fun", "shape", "axis"),
    [
        (picked, (40, 9), 0),
        (picked_by_constants, (40, 9), 0),
        (picked_in_windows, (40, 9, 3), 0),
        (picked_by_two, (9, 40), 1),
    ],
)
def test_an_index_that_counts_becomes_a_batch(fun, shape, axis):
    x, i = normal(*shape), labels(40, 9)
    counted = count_places(trace(fun, x, i))
    check(counted)
    (op,) = ops(counted, "gather")
    assert op.params["dimension_numbers"].operand_batching_dims == (axis,)
    np.testing.assert_array_equal(evaluate(counted, [x, i])[0], jax.jit(fun)(x, i))


@pytest.mark.parametrize(
    "places",
    [
        lambda x, i: (jnp.arange(x.shape[0] - 1), i[:-1]),  # not all of the axis
        lambda x, i: (jnp.arange(x.shape[0])[::-1], i),  # counted down
        lambda x, i: (jnp.arange(x.shape[0]) - 1, i),  # the last one first
        lambda x, i: (np.roll(np.arange(x.shape[0]), 1), i),
    ],
)
def test_other_indices_stay(places):
    graph = trace(lambda x, i: jnp.exp(x)[places(x, i)], normal(40, 9), labels(40, 9))
    assert count_places(graph) is graph


@pytest.mark.parametrize("method", ["set", "add", "subtract", "multiply", "min", "max"])
def test_scatters_along_a_counted_index_are_batched(method):
    def fun(x, i, u):
        return getattr(jnp.sin(x).at[jnp.arange(x.shape[0]), i], method)(u)

    args = normal(40, 9), labels(40, 9), normal(40, seed=1)
    counted = count_places(trace(fun, *args))
    check(counted)
    (op,) = (node for node in counted.nodes if isinstance(node, Op) and node.kind.startswith("scatter"))
    assert op.params["dimension_numbers"].operand_batching_dims == (0,)
    np.testing.assert_array_equal(evaluate(counted, args)[0], jax.jit(fun)(*args))


@pytest.mark.parametrize("method", ["set", "add", "subtract", "multiply", "min", "max"])
def test_written_diagonals_become_masks(method):
    def fun(x, u):
        return getattr(jnp.sin(x).at[jnp.diag_indices(N)], method)(u)

    args = normal(N, N), normal(N, seed=1)
    counted = count_places(trace(fun, *args))
    check(counted)
    assert not any(node.kind.startswith("scatter") for node in counted.nodes)
    np.testing.assert_array_equal(evaluate(counted, args)[0], jax.jit(fun)(*args))


@pytest.mark.parametrize("dtype", ["float32", "float64", "float16", "bfloat16", "int32", "uint8", "bool", "complex64"])
@pytest.mark.parametrize("axes", [(0, 1), (1, 2), (0, 2)])
def test_diagonals_are_taken_bit_for_bit(dtype, axes):
    def fun(x):
        return jnp.diagonal(jnp.flip(x, 0), axis1=axes[0], axis2=axes[1])

    with jax.enable_x64(dtype == "float64"):
        shape = [200, 200, 200]
        shape[({0, 1, 2} - set(axes)).pop()] = 3
        x = (100 * normal(*shape)).astype(dtype)
        if jnp.issubdtype(x.dtype, jnp.floating):
            x = jnp.where(jnp.abs(x) < 20, jnp.asarray([-0.0], x.dtype), jnp.where(x > 150, jnp.nan, x)).astype(dtype)
        counted = count_places(trace(fun, x))
        check(counted)
        if dtype not in ("bool", "complex64"):  # types without such bits stay
            assert not ops(counted, "gather")
        found, expected = np.asarray(evaluate(counted, [x])[0]), np.asarray(jax.jit(fun)(x))
        assert found.tobytes() == expected.tobytes()


def test_a_diagonal_of_what_is_there_already_or_cannot_be_cut_is_looked_up():
    for fun in (jnp.diagonal, lambda x: jnp.diagonal(jax.lax.linalg.lu(x)[0])):
        graph = trace(fun, jnp.eye(N))
        assert len(ops(count_places(graph), "gather")) == 1


def test_a_diagonal_of_a_product_stays_for_rewriting():
    a = normal(N, N)
    assert ops(count_places(trace(lambda a: jnp.diagonal(a @ a), a)), "gather")
    plan = memline.plan(lambda a: jnp.diagonal(a @ a), "700KiB")(a)
    assert [move.rule for move in plan.moves if isinstance(move, memline.Rewrite)] == ["contract"]


def test_bodies_of_scans_are_counted_too():
    def fun(x, i):
        return jax.lax.scan(lambda total, row: (total + picked(x * row, i), None), x[:, 0], x[0])[0]

    x, i = normal(40, 9), labels(40, 9)
    counted = count_places(from_jaxpr(jax.make_jaxpr(fun)(x, i), open_bodies=True))
    check(counted)
    assert "operand_batching_dims=(0,)" in str(counted)
    np.testing.assert_array_equal(evaluate(counted, [x, i])[0], jax.jit(fun)(x, i))


def contrastive(w, x, y):
    """A loss that asks of each x for its y and of each y for its x, as CLIP is trained."""
    scores = jnp.tanh(x @ w) @ jnp.tanh(y @ w).T
    return -(jnp.diag(jax.nn.log_softmax(scores)) + jnp.diag(jax.nn.log_softmax(scores.T))).mean()


def cross_entropy(w, x, y):
    logits = x @ jnp.tile(w, (1, 32))
    places = (jnp.abs(y[:, 0]) * 500).astype(jnp.int32)
    return -jax.nn.log_softmax(logits)[jnp.arange(x.shape[0]), places].mean()


def without_self(w, x, y):
    scores = (x @ w) @ y.T
    return jax.nn.logsumexp(scores.at[jnp.diag_indices(x.shape[0])].set(-jnp.inf), axis=1).mean()


@pytest.mark.parametrize("fun", [contrastive, cross_entropy, without_self])
@pytest.mark.parametrize("transform", ["jit", "grad", "vmap"])
def test_losses_that_take_elements_of_their_rows_are_split(fun, transform):
    args = normal(32, 32) / 6, normal(800, 32, seed=1), normal(800, 32, seed=2)
    if transform == "vmap":
        fun, args = jax.vmap(fun, (0, None, None)), (jnp.stack([args[0], args[0] + 0.1]), *args[1:])
    elif transform == "grad":
        fun = jax.value_and_grad(fun, (0, 1))
    limited = memline.jit(fun, memory_limit=3 * MIB).lower(*args).compile()  # 800 x 800 numbers take 2.4 MiB
    assert limited.plan.moves
    assert_same(limited(*args), jax.jit(fun)(*args), rtol=1e-4)


@pytest.mark.slow
def test_measured_growth_stays_under_the_limit_less_the_arguments():
    args = normal(32, 32) / 6, normal(4000, 32, seed=1), normal(4000, 32, seed=2)
    compiled = memline.jit(jax.value_and_grad(contrastive), memory_limit=16 * MIB).lower(*args).compile()
    grown_bytes = min(compiled.measure(*args, repeats=0).peak_bytes for _ in range(2))  # threads add a little
    assert grown_bytes <= 1.05 * 16 * MIB + 8 * MIB


@settings(max_examples=10, deadline=None)
@given(st.data())
def test_drawn_gathers_and_scatters_give_the_same(data):
    n, m, k = (data.draw(st.integers(1, 6)) for _ in range(3))
    order = data.draw(st.permutations(range(3)))
    arrays = [np.arange(n)[:, None], data.draw(st.sampled_from([np.arange(m)[None, :], np.zeros((n, m), int)]))]
    arrays.append(np.random.default_rng(0).integers(-k, k, (n, m)))
    shape = [(n, m, k)[axis] for axis in order]
    places = tuple(arrays[axis] for axis in order)
    x, u = normal(*shape), normal(n, m, seed=1)

    def fun(x, u, *places):
        return jnp.sin(x)[places], jnp.sin(x).at[places].add(u), jnp.sin(x).at[places].set(u)

    counted = count_places(trace(lambda x, u: fun(x, u, *places), x, u))
    check(counted)
    found = jax.jit(lambda x, u: evaluate(counted, [x, u]))(x, u)
    for one, other in zip(found, jax.jit(fun)(x, u, *places), strict=True):
        np.testing.assert_array_equal(one, other)
