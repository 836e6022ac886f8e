"""A mask for each reader: which are copied, that results stay, and that a symmetric sum is split for it."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import memline
from memline.ir.check import check
from memline.ir.emit import evaluate
from memline.ir.graph import Graph
from memline.ir.trace import trace
from memline.passes.masks import own_masks
from tests.comparing import assert_same
from tests.families import normal

MIB = 2**20


def masks(graph: Graph) -> int:
    return sum(node.kind == "iota" for node in graph.nodes)


def banded(x, y):
    """A score with a band of it masked, in rows and in columns."""
    scores = x @ y.T
    near = jnp.abs(jnp.arange(x.shape[0])[:, None] - jnp.arange(y.shape[0])[None, :] * 1) < 5
    by_rows = jax.nn.logsumexp(jnp.where(near, -1e9, scores), axis=1)
    by_columns = jax.nn.logsumexp(jnp.where(near, -1e9, scores.T), axis=1)
    return by_rows.sum() + by_columns.sum()


def test_readers_have_their_own():
    x = normal(300, 8)
    graph = trace(banded, x, x + 1)
    owned = own_masks(graph)
    check(owned)
    assert masks(owned) > masks(graph)
    np.testing.assert_array_equal(*(jax.jit(lambda *xs, g=g: evaluate(g, xs)[0])(x, x + 1) for g in (graph, owned)))


@pytest.mark.parametrize(
    "fun",
    [
        lambda x: jnp.tril(x).sum() + jnp.tril(x + 1).sum() * 0,  # small
        lambda x: jnp.where(x[:, :1] > 0, x, 0).sum() + jnp.where(x[:, :1] > 0, x, 1).sum(),  # made of data
        lambda x: jnp.tril(x).sum(),  # read once
        lambda x: (jnp.exp(t := jnp.tile(x[0], 20)[:, None] * jnp.tile(x[1], 20)) / jnp.sin(t)).sum(),  # made of data
        lambda x: (jnp.tril(jnp.tile(x, (9, 20))) + jnp.tril(2 * jnp.tile(x, (9, 20)))).sum(),  # not square
    ],
)
def test_others_stay(fun):
    graph = trace(fun, normal(30, 30))
    assert own_masks(graph) is graph


def test_copies_are_few():
    x = normal(200, 200)
    graph = trace(lambda x: sum(jnp.tril(x * k).sum() for k in range(20)), x)
    assert len(own_masks(graph).nodes) <= len(graph.nodes) + 2 * 48


@pytest.mark.parametrize("transform", ["jit", "grad", "vmap"])
def test_masks_of_rows_and_columns_do_not_keep_a_matrix_whole(transform):
    args = normal(1000, 8), normal(1000, 8, seed=1)
    fun = banded
    if transform == "grad":
        fun = jax.grad(banded, (0, 1))
    elif transform == "vmap":
        fun, args = jax.vmap(banded, (0, None)), (jnp.stack([args[0], args[0] + 1]), args[1])
    limited = memline.jit(fun, memory_limit=2 * MIB).lower(*args).compile()  # a matrix takes 3.8 MiB
    assert limited.plan.moves
    assert_same(limited(*args), jax.jit(fun)(*args), rtol=1e-4)


@pytest.mark.slow
def test_measured_growth_stays_under_the_limit_less_the_arguments():
    args = normal(4000, 8), normal(4000, 8, seed=1)
    compiled = memline.jit(jax.value_and_grad(banded), memory_limit=16 * MIB).lower(*args).compile()
    grown_bytes = min(compiled.measure(*args, repeats=0).peak_bytes for _ in range(2))  # threads add a little
    assert grown_bytes <= 1.05 * 16 * MIB + 8 * MIB
