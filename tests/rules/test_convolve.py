"""Convolutions in every layout, with their gradients, and reductions over windows."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from memline.rules import table
from tests.rules import harness
from tests.rules.harness import dims, folded, link, normal, only_op

KIND = "conv_general_dilated"
KINDS = """
conv_general_dilated reduce_window reduce_window_sum reduce_window_max reduce_window_min
select_and_scatter select_and_scatter_add select_and_gather_add
"""
check = partial(harness.check, kinds=KINDS)
LAYOUTS = [
    (("NHWC", "HWIO", "NHWC"), (2, 5, 4, 3), (3, 2, 3, 4)),
    (("NCHW", "OIHW", "NCHW"), (2, 3, 5, 4), (4, 3, 3, 2)),
    (("CHWN", "IHWO", "NHWC"), (3, 5, 4, 2), (3, 3, 2, 4)),
]


def conv(layout, padding="SAME", strides=(1, 1), **params):
    return lambda x, k: lax.conv_general_dilated(x, k, strides, padding, dimension_numbers=layout, **params)


def test_convolution_dims():
    layout, x, k = LAYOUTS[0]
    assert dims(conv(layout), normal(*x), normal(*k), kind=KIND) == {
        link([(0, 0)], [(0, 0)]),
        folded("dot", (0, 3), (1, 2)),
        link([(1, 3)], [(0, 3)]),
    }


def test_the_gradient_in_the_weights_sums_over_the_batch():
    layout, x, k = LAYOUTS[0]
    grad = jax.grad(lambda k, x: conv(layout)(x, k).sum())
    found = dims(grad, normal(*k), normal(*x), kind=KIND)
    assert folded("dot", (0, 0), (1, 0)) in found


def test_grouped_features_link_by_whole_groups():
    x, k = normal(2, 5, 4, 6), normal(3, 2, 2, 9)
    found = dims(conv(LAYOUTS[0][0], feature_group_count=3), x, k, kind=KIND)
    assert found == {link([(0, 0)], [(0, 0)]), link([(0, 3, 2), (1, 3, 3)], [(0, 3, 3)])}


def test_kernels_of_size_one_link_space():
    x, k = normal(2, 5, 4, 3), normal(1, 1, 3, 4)
    found = dims(conv(LAYOUTS[0][0]), x, k, kind=KIND)
    assert {link([(0, 1)], [(0, 1)]), link([(0, 2)], [(0, 2)])} <= found
    strided = dims(conv(LAYOUTS[0][0], strides=(1, 2)), x, k, kind=KIND)
    assert link([(0, 1)], [(0, 1)]) in strided
    assert link([(0, 2)], [(0, 2)]) not in strided


@pytest.mark.parametrize(("layout", "x", "k"), LAYOUTS)
@pytest.mark.parametrize("params", [{}, {"strides": (2, 1), "padding": "VALID"}, {"rhs_dilation": (2, 1)}])
def test_convolutions_and_their_gradients(layout, x, k, params):
    fun = conv(layout, **params)
    x, k = normal(*x), normal(*k)
    check(fun, x, k)
    check(jax.grad(lambda x, k: jnp.sum(fun(x, k) ** 2), argnums=(0, 1)), x, k)


@pytest.mark.parametrize("groups", [2, 6])
def test_grouped_convolutions_and_their_gradients(groups):
    fun = conv(LAYOUTS[0][0], feature_group_count=groups)
    x, k = normal(2, 5, 4, 6), normal(3, 2, 6 // groups, 12)
    check(fun, x, k)
    check(jax.grad(lambda x, k: jnp.sum(fun(x, k) ** 2), argnums=(0, 1)), x, k)


def test_batch_groups():
    x, k = normal(6, 5, 4, 2), normal(3, 2, 2, 9)
    cuts = check(conv(LAYOUTS[0][0], batch_group_count=3), x, k)
    assert link([(0, 0, 2), (1, 3, 3)], [(0, 3, 3)]) in {c.dim for c in cuts}


def test_a_kernel_that_covers_space_folds_it():
    x, k = normal(2, 5, 4, 3), normal(5, 1, 3, 4)
    cuts = check(conv(LAYOUTS[0][0], padding="VALID"), x, k)
    assert folded("dot", (0, 1), (1, 0)) in {c.dim for c in cuts}


def test_half_precision_convolution_is_summed_wide():
    x, k = normal(2, 5, 4, 6).astype(jnp.bfloat16), normal(3, 2, 6, 4).astype(jnp.bfloat16)
    check(conv(LAYOUTS[0][0]), x, k)


def test_flops():
    layout, x, k = LAYOUTS[0]
    op = only_op(conv(layout), normal(*x), normal(*k), kind=KIND)
    assert table.flops_of(op) == 2 * (2 * 5 * 4 * 4) * (3 * 2 * 3)


def windows(x, reducer, init, window, strides, padding="VALID"):
    return lax.reduce_window(x, init, reducer, window, strides, padding)


def test_windows_side_by_side_link_by_whole_windows():
    x = normal(3, 6, 5)
    found = dims(lambda x: windows(x, lax.max, -np.inf, (1, 2, 2), (1, 2, 2)), x, kind="reduce_window_max")
    assert found == {link([(0, 0)], [(0, 0)]), link([(0, 1, 2)], [(0, 1)])}


def test_a_window_over_all_of_an_axis_folds():
    found = dims(lambda x: windows(x, lax.add, 0.0, (1, 6), (1, 1)), normal(3, 6), kind="reduce_window_sum")
    assert found == {link([(0, 0)], [(0, 0)]), folded("sum", (0, 1))}


@pytest.mark.parametrize(("reducer", "init"), [(lax.add, 0.0), (lax.max, -np.inf), (lax.min, np.inf), (lax.mul, 1.0)])
@pytest.mark.parametrize(
    ("window", "strides", "padding"),
    [
        ((1, 2, 2), (1, 2, 2), "VALID"),
        ((1, 3, 1), (1, 1, 1), "SAME"),
        ((1, 6, 4), (1, 1, 1), "VALID"),
        ((1, 2, 4), (1, 2, 4), "VALID"),
    ],
)
def test_windows_and_their_gradients(reducer, init, window, strides, padding):
    x = normal(3, 6, 4)
    assert check(lambda x: windows(x, reducer, init, window, strides, padding), x)
    if reducer is not lax.mul:
        check(jax.grad(lambda x: jnp.sum(windows(x, reducer, init, window, strides, padding) ** 2)), x)


def test_tangents_of_a_maximum_over_windows():
    x = normal(4, 6)
    fun = lambda x: windows(x, lax.max, -np.inf, (1, 3), (1, 3))  # noqa: E731
    assert check(lambda x, t: jax.jvp(fun, (x,), (t,)), x, normal(4, 6, seed=1))
