"""What counts as the same results."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from memline.verify.agreement import rounding_share

ONES = np.ones(5, np.float32)


def floats(values):
    return np.array(values, np.float32)


def test_equal_is_equal():
    trees = [ONES, np.arange(3), np.zeros((0, 3)), np.array([np.nan, np.inf, -np.inf]), np.array([True]), np.float32(3)]
    assert rounding_share(trees, [x.copy() for x in trees]) == 0
    keys = [jax.random.split(jax.random.key(0))]
    assert rounding_share(keys, [keys[0].copy()]) == 0
    assert rounding_share([jnp.array([0.0])], [jnp.array([-0.0])]) == 0


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "complex64"])
def test_rounding_is_told_from_more(dtype):
    exact = jnp.linspace(0.5, 1.0, 9).astype(dtype)
    unit = float(jnp.finfo(dtype).eps)
    apart = exact.at[0].add(jnp.asarray(2 * unit, dtype))
    assert 0 < rounding_share([apart], [exact]) <= 1
    assert rounding_share([exact.at[0].add(jnp.asarray(0.25, dtype))], [exact]) > 1


def test_small_elements_are_measured_by_the_largest():
    exact = np.array([1e6, 1.0], np.float32)
    assert rounding_share([exact + floats([0, 1])], [exact]) < 1
    assert rounding_share([exact[1:] + np.float32(1)], [exact[1:]]) > 1


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ([np.arange(3)], [np.arange(3) + 1]),
        ([ONES], [ONES, ONES]),
        ([ONES], [ONES[:4]]),
        ([ONES], [ONES.astype(np.float64)]),
        ([floats([np.nan, 1])], [floats([1, 1])]),
        ([floats([np.inf, 1])], [floats([-np.inf, 1])]),
        ([floats([1, 1])], [floats([np.inf, 1])]),
        ([ONES], [0 * ONES]),
        ([jax.random.key(0)], [jax.random.key(1)]),
        ([np.array([True])], [np.array([False])]),
    ],
)
def test_what_is_not_rounding(found, expected):
    assert rounding_share(found, expected) == math.inf


def test_big_arrays_are_compared_to_their_end():
    exact = np.ones(3 * 2**20 + 5, np.float32)
    other = exact.copy()
    other[-1] = 2
    assert rounding_share([other], [exact]) > 1
