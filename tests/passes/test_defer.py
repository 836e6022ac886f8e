"""Deferred factors: which folds are freed of waiting, what is refused, and that results stay what they were."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memline.ir.trace import trace
from memline.passes.defer import defer
from tests.families import normal
from tests.passes.folding import assert_agree, deferred, named, region_along, stages

K = 40


def weights(x):
    """Positive, and more than an elementwise function of the input, so that the region begins with it."""
    return jnp.square(jnp.outer(x, x)) + 0.1


def average(x, v):
    """Weighted means by weights that are normalised first."""
    w = weights(x)
    return (w / w.sum(1, keepdims=True)) @ v


ARGS = (normal(K), normal(K, 3))

MERGED = {
    "divisor before a product": average,
    "divisor before a product, other side": lambda x, v: v.T @ (weights(x) / weights(x).sum(1, keepdims=True)).T,
    "multiplier": lambda x, v: (weights(x) * (1 / weights(x).sum(1, keepdims=True))) @ v,
    "sum instead of a product": lambda x, v: (weights(x) / weights(x).sum(1, keepdims=True) * v[:, 0]).sum(1),
    "spread before it divides": lambda x, v: (
        (weights(x) / jnp.broadcast_to(weights(x).sum(1, keepdims=True), (K, K))) @ v
    ),
    "mean and negative": lambda x, v: (-(weights(x) / weights(x).mean(1, keepdims=True))) @ v,
    "two factors": lambda x, v: (
        (weights(x) / weights(x).sum(1, keepdims=True) * jnp.sqrt(weights(x).sum(1, keepdims=True))) @ v
    ),
    "square": lambda x, v: (lambda p: (p * p) @ v)(weights(x) / weights(x).sum(1, keepdims=True)),
    "sum of two with the same factor": lambda x, v: (
        (lambda w, n: w / n + jnp.sqrt(w) / n)(weights(x), weights(x).sum(1, keepdims=True)) @ v
    ),
    "hidden by a mask": lambda x, v: (
        jnp.where(jnp.arange(K) < 30, weights(x) / weights(x).sum(1, keepdims=True), 0.0) @ v
    ),
    "axes moved": lambda x, v: (weights(x) / weights(x).sum(1, keepdims=True)).T[None].transpose(2, 1, 0)[..., 0] @ v,
}

LEFT_ALONE = {
    "the factor runs along the sum": lambda x, v: (weights(x) / weights(x).sum(0)) @ v,
    "not linear after the factor": lambda x, v: jnp.sin(weights(x) / weights(x).sum(1, keepdims=True)) @ v,
    "added, not multiplied": lambda x, v: (weights(x) - weights(x).sum(1, keepdims=True)) @ v,
    "one summand lacks the factor": lambda x, v: (weights(x) + weights(x) / weights(x).sum(1, keepdims=True)) @ v,
    "the factor divides by the summands": lambda x, v: (weights(x).sum(1, keepdims=True) / weights(x)).max(1),
    "a maximum, not a sum": lambda x, v: (weights(x) / weights(x).sum(1, keepdims=True)).max(1),
    "the result would be larger": lambda x, v: (weights(x) / weights(x).sum(1, keepdims=True)) @ jnp.tile(v, (1, 20)),
    "the factor's own axis is taken apart": lambda x, v: (
        (weights(x) / weights(x).sum(1, keepdims=True)).reshape(8, 5, K) @ v
    ),
    "whole numbers": lambda x, v: (lambda w: jnp.sum(w * w.sum(1, keepdims=True), 1))(
        jnp.outer(x, x).astype(jnp.int32)
    ),
}


@pytest.mark.parametrize("name", MERGED)
def test_one_loop_does_where_a_factor_can_wait(name):
    assert stages(MERGED[name], ARGS, K) == (2, 1)
    assert_agree(MERGED[name], ARGS, K, chunk=7)


@pytest.mark.parametrize("name", LEFT_ALONE)
def test_other_programs_are_left_as_they_are(name):
    before, after = deferred(LEFT_ALONE[name], ARGS, K)
    assert after is before
    assert_agree(LEFT_ALONE[name], ARGS, K, chunk=7)


def test_names_are_stable_and_new_ones_derived():
    graph = trace(average, *ARGS)
    texts = {str(defer(region_along(graph, K)).graph) for _ in range(3)}
    assert len(texts) == 1
    after = defer(region_along(graph, K)).graph
    old = {v.name for v in graph.values()}
    assert {v.name.split("~")[0] for v in after.values()} <= old
    for v in graph.outputs:
        assert named(after, v.name) is v


def test_a_summand_that_others_read_is_still_made():
    def both(x, v):
        p = weights(x) / weights(x).sum(1, keepdims=True)
        return p @ v, jnp.tanh((p @ v) @ v.T * p) @ v

    assert stages(both, ARGS, K) == (3, 2)
    assert_agree(both, ARGS, K, chunk=11)


def test_half_precision_has_room_for_the_bare_sum():
    """The weights of a row sum to 58 500; times 3 that is too much for float16, but their mean is 3."""

    def half(x, v):
        w = (weights(x) * 9000).astype(jnp.float16)
        return (w / w.sum(1, keepdims=True)) @ v.astype(jnp.float16)

    args = jnp.full(K, 0.5), jnp.full((K, 3), 3.0)
    assert stages(half, args, K) == (2, 1)
    assert_agree(half, args, K, chunk=9, rtol=2e-3)


def test_bare_sums_of_half_precision_are_left_alone():
    def half(x, v):
        w = weights(x).astype(jnp.float16)
        total = jax.lax.reduce(w, jnp.float16(0), jax.lax.add, (1,))[:, None]
        return jax.lax.reduce_sum_p.bind(w / total, axes=(1,), out_sharding=None)

    before, after = deferred(half, ARGS, K)
    assert after is before


def test_a_bad_factor_does_not_reach_through_a_mask():
    def masked(x, v, keep):
        w = jnp.where(keep, weights(x), 0.0)
        return jnp.where(keep, w / w.sum(1, keepdims=True), 0.0) @ v

    keep = np.ones((K, K), bool)
    keep[3] = False  # this row's weights sum to 0
    assert stages(masked, (*ARGS, keep), K) == (2, 1)
    assert_agree(masked, (*ARGS, keep), K, chunk=6)


@pytest.mark.parametrize("bad", [np.inf, np.nan])
def test_a_bad_factor_spoils_its_row_alone(bad):
    def spoilt(x, v, y):
        w = weights(x) * y[:, None]
        return (w / w.sum(1, keepdims=True)) @ v

    assert_agree(spoilt, (*ARGS, jnp.ones(K).at[5].set(bad).at[7].set(0)), K, chunk=6)


@settings(max_examples=12, deadline=None)
@given(rows=st.integers(1, 5), length=st.integers(9, 33), columns=st.integers(1, 4), chunk=st.integers(1, 9))
def test_any_size_and_chunk(rows, length, columns, chunk):
    def means(a, b, v):
        w = jnp.exp(a @ b)
        return (w / w.sum(1, keepdims=True)) @ v

    args = normal(rows, 2), normal(2, length), normal(length, columns)
    assert_agree(means, args, length, chunk)
