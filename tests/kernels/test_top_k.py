"""The kernel against `lax.top_k` itself, bit for bit."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax

from memline.kernels import top_k
from tests.kernels.native import needs_kernels

TYPES = (
    "float16", "bfloat16", "float32", "float64",
    "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64",
)  # fmt: skip
ROWS, LENGTH = 4, 270


def bits_of(x):
    x = np.asarray(x)
    return x.view(f"u{x.dtype.itemsize}")


def assert_bits_equal(found, expected):
    for a, b in zip(found, expected, strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        np.testing.assert_array_equal(bits_of(a), bits_of(b))


@functools.cache
def programs(k, axis):
    return jax.jit(lambda x: top_k.run(x, k, axis)), jax.jit(lambda x: lax.top_k(x, k, axis=axis))


def check(x, k, axis):
    ours, theirs = programs(k, axis)
    assert_bits_equal(ours(x), theirs(x))


def elements(dtype, shape, seed, different):
    """Any bits at all, in the measure of `different`: few make many equal ones. Of floats every special value too."""
    rng = np.random.default_rng(seed)
    dtype = jnp.dtype(dtype)
    pool = rng.integers(0, 256, (different, dtype.itemsize), dtype=np.uint8).view(dtype).reshape(-1)
    if jnp.issubdtype(dtype, np.floating):
        special = np.array([np.nan, -np.nan, np.inf, -np.inf, 0.0, -0.0, 1.0], dtype)
        pool = np.concatenate([pool, special])
    return jnp.asarray(rng.choice(pool, shape))


@needs_kernels
@pytest.mark.parametrize("dtype", TYPES)
class TestTypes:
    @settings(max_examples=15, deadline=None)
    @given(seed=st.integers(0, 2**32), different=st.sampled_from([1, 5, 5000]))
    def test_any_bits(self, dtype, seed, different):
        with jax.enable_x64(True):
            check(elements(dtype, (ROWS, LENGTH), seed, different), 40, 1)

    @pytest.mark.parametrize("k", [1, LENGTH])
    def test_one_and_all(self, dtype, k):
        with jax.enable_x64(True):
            check(elements(dtype, (ROWS, LENGTH), 0, 100), k, 1)


@needs_kernels
class TestShapes:
    @settings(max_examples=12, deadline=None)
    @given(data=st.data())
    def test_of_any_rank_and_axis(self, data):
        shape = tuple(data.draw(st.lists(st.integers(1, 9), min_size=1, max_size=4)))
        axis = data.draw(st.integers(0, len(shape) - 1))
        check(elements("float32", shape, 0, 20), data.draw(st.integers(1, shape[axis])), axis)

    @pytest.mark.parametrize("shape", [(0, 5), (3, 0, 5)])
    def test_no_rows(self, shape):
        check(jnp.zeros(shape), 2, len(shape) - 1)

    @pytest.mark.parametrize("k", [1, 10, 32, 33, 500])
    @pytest.mark.parametrize("order", ["rising", "falling", "random"])
    def test_long_rows_for_several_threads(self, k, order):
        x = np.random.default_rng(0).normal(size=(9, 20_001)).astype(np.float32)
        if order != "random":
            x = np.sort(x)[:, :: 1 if order == "rising" else -1]
        check(jnp.asarray(x), k, 1)


def test_what_it_serves():
    others = ("bool", "complex64", "float8_e5m2", "int4", "key<fry>")
    assert not any(top_k.serves((100, 100), dtype, 3) for dtype in others)
    assert all(top_k.serves((100, 100), jnp.dtype(dtype), 3) for dtype in TYPES)
    assert not top_k.serves((100, 100), "float32", 0)
    assert not top_k.serves((0, 100), "float32", 3)
    assert not top_k.serves((10, 100), "float32", 3)


def test_scratch_is_of_the_kept_elements(monkeypatch):
    monkeypatch.setattr(top_k, "thread_count", lambda: 4)
    assert top_k.scratch_bytes((100, 5000), "float32", 10, 1) == 4 * 10 * 8
    assert top_k.scratch_bytes((100, 5000), "float64", 1000, 1) == 4 * 2000 * 16
    assert top_k.scratch_bytes((2, 5000), "bfloat16", 4000, 1) == 2 * 5000 * 8
