"""Sorting and `top_k`, along their own axis and the others; ties, NaNs and infinities included."""

from functools import partial

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax

from tests.rules import harness
from tests.rules.harness import dims, folded, integers, link, normal, rough

check = partial(harness.check, kinds="sort top_k")


def test_sort_links_the_axes_it_does_not_sort():
    x = rough(4, 5, 3)
    found = dims(lambda x: lax.sort((x, x), dimension=1, num_keys=1), x, kind="sort")
    assert found == {link([(0, a), (1, a)], [(0, a), (1, a)]) for a in (0, 2)}


@pytest.mark.parametrize("dimension", [0, 1])
def test_sort_of_several_operands(dimension):
    keys, more = rough(5, 6), integers(0, 3, 5, 6)
    check(lambda a, b, c: lax.sort((a, b, c), dimension=dimension, num_keys=2), more, keys, normal(5, 6))
    check(lambda a: jnp.argsort(a, axis=dimension, descending=True), keys)


def test_top_k_links_other_axes_and_folds_its_own():
    found = dims(lambda x: lax.top_k(x, 2), normal(3, 9), kind="top_k")
    assert found == {link([(0, 0)], [(0, 0), (1, 0)]), folded("top_k", (0, 1))}
    found = dims(lambda x: lax.top_k(x, 2, axis=0), normal(3, 9), kind="top_k")
    assert found == {link([(0, 1)], [(0, 1), (1, 1)]), folded("top_k", (0, 0))}


def test_top_k_of_nothing_does_not_fold():
    assert folded("top_k", (0, 0)) not in dims(lambda x: lax.top_k(x, 0), normal(5), kind="top_k")


@settings(max_examples=15, deadline=None)
@given(n=st.sampled_from([4, 7, 10]), k=st.sampled_from([1, 3, 4]), seed=st.integers(0, 10**6))
def test_top_k_merges_bit_for_bit(n, k, seed):
    check(lambda x: lax.top_k(x, k), rough(2, n, seed=seed))


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, np.int32, np.uint8, np.int8, np.bool_])
def test_top_k_of_other_types(dtype):
    x = integers(0, 2, 2, 9, dtype=dtype) if dtype == np.bool_ else integers(0, 4, 2, 9, dtype=dtype)
    check(lambda x: lax.top_k(x, 5), x)
    check(lambda x: lax.top_k(x, 5, axis=1), jnp.zeros((2, 9), dtype))


@pytest.mark.parametrize("worst", [-np.inf, np.nan, -np.nan, np.float32(np.uint32(0xFFFFFFFF).view(np.float32))])
def test_top_k_keeps_the_places_of_the_worst_values(worst):
    check(lambda x: lax.top_k(x, 6), jnp.full((7,), worst, np.float32))


def test_top_k_of_lowest_integers():
    check(lambda x: lax.top_k(x, 4), jnp.full((2, 7), np.iinfo(np.int32).min, np.int32))


def test_approximate_top_k_is_left_whole():
    assert dims(lambda x: lax.approx_max_k(x, 2), normal(3, 9), kind="approx_top_k") == set()
