"""Reductions and cumulative ops; merged results must not show where the axis was cut."""

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax

from memline.rules import table
from tests.rules.harness import check, dims, folded, integers, link, normal, only_op, rough


def test_kept_axes_link_and_reduced_ones_fold():
    found = dims(lambda x: jnp.sum(x, axis=(0, 2)), normal(3, 4, 5), kind="reduce_sum")
    assert found == {folded("sum", (0, 0)), link([(0, 1)], [(0, 0)]), folded("sum", (0, 2))}


@pytest.mark.parametrize("fun", [jnp.sum, jnp.max, jnp.min, jnp.prod])
@pytest.mark.parametrize("dtype", [np.float32, jnp.bfloat16, np.float16, np.int32, np.int8, np.uint8])
def test_reductions(fun, dtype):
    x = normal(7, 3) if dtypes_float(dtype) else integers(0, 5, 7, 3)
    check(lambda x: fun(x, axis=0), x.astype(dtype))


def dtypes_float(dtype):
    return jnp.issubdtype(dtype, jnp.floating)


@pytest.mark.parametrize("fun", [jnp.max, jnp.min, jnp.argmax, jnp.argmin])
@settings(max_examples=5, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_extremes_of_rough_numbers(fun, seed):
    check(lambda x: fun(x, axis=1), rough(3, 7, seed=seed))


@pytest.mark.parametrize("dtype", [jnp.float8_e4m3fn, jnp.float8_e5m2])
def test_extremes_of_types_with_and_without_infinity(dtype):
    check(lambda x: (jnp.max(x, axis=0), jnp.min(x, axis=1)), normal(7, 5).astype(dtype))


@pytest.mark.parametrize("dtype", [np.int32, np.uint8, np.bool_, jnp.bfloat16])
@pytest.mark.parametrize("fun", [jnp.argmax, jnp.argmin])
def test_arg_extremes_of_other_types(fun, dtype):
    check(lambda x: fun(x, axis=0), integers(0, 2, 9, 2).astype(dtype))


@pytest.mark.parametrize("value", [-np.inf, np.inf, np.nan])
def test_arg_extremes_of_equal_values_are_the_first(value):
    x = jnp.full((7, 2), value, np.float32)
    check(lambda x: (jnp.argmax(x, axis=0), jnp.argmin(x, axis=0)), x)


@pytest.mark.parametrize("dtype", [np.bool_, np.int32, np.uint8, np.int8])
def test_bitwise_reductions(dtype):
    x = integers(0, 2, 9, 3).astype(dtype)
    for fun in (lax.reduce_and, lax.reduce_or, lax.reduce_xor):
        check(lambda x, fun=fun: fun(x, axes=(0,)), x)


def test_any_all_and_max_of_flags():
    x = integers(0, 2, 9, 3).astype(bool)
    check(lambda x: (jnp.any(x, axis=0), jnp.all(x, axis=1), jnp.max(x, axis=0), jnp.min(x)), x)


def test_half_precision_sums_are_carried_wide():
    x = jnp.ones((4096, 1), jnp.bfloat16)
    check(lambda x: lax.reduce_sum(x, axes=(0,)), x)


@pytest.mark.parametrize("fun", [jnp.cumsum, jnp.cumprod, lax.cummax, lax.cummin, lax.cumlogsumexp])
def test_cumulative_ops_link_other_axes(fun):
    x = normal(4, 5)
    cuts = check(lambda x: fun(x, axis=1), x)
    assert {c.dim for c in cuts if c.kind.startswith("cum")} == {link([(0, 0)], [(0, 0)])}


def test_a_reduction_by_any_function_links_what_it_keeps():
    def merge(a, b):
        return a[0] * b[0] + a[1], a[1] * b[1]

    x = normal(4, 3)
    cuts = check(lambda x: lax.reduce((x, x), (np.float32(0), np.float32(1)), merge, (1,)), x)
    assert {c.dim for c in cuts} == {link([(0, 0), (1, 0)], [(0, 0), (1, 0)])}


def test_flops_count_what_goes_in():
    assert table.flops_of(only_op(lambda x: jnp.sum(x), normal(3, 4), kind="reduce_sum")) == 12
