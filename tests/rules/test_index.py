"""Gathers, scatters and slices at computed places, in the forms that JAX's indexing makes."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from tests.rules import harness
from tests.rules.harness import dims, folded, integers, link, normal, rough

KINDS = """
gather scatter scatter-add scatter-sub scatter-mul scatter-min scatter-max dynamic_slice dynamic_update_slice
"""
check = partial(harness.check, kinds=KINDS)

MODES = ["fill", "clip", "promise_in_bounds"]


def test_take_links_indices_and_the_axes_taken_whole():
    x, i = normal(7, 5), integers(0, 7, 3, 4)
    found = dims(lambda x, i: x.at[i].get(mode="clip"), x, i, kind="gather")
    assert found == {link([(1, 0)], [(0, 0)]), link([(1, 1)], [(0, 1)]), link([(0, 1)], [(0, 2)])}


def test_take_along_axis_links_operand_and_indices():
    x, i = normal(7, 5), integers(0, 5, 7, 2)
    found = dims(lambda x, i: jnp.take_along_axis(x, i, axis=1), x, i, kind="gather")
    assert found == {link([(0, 0), (1, 0)], [(0, 0)]), link([(1, 1)], [(0, 1)])}


def test_picking_labels_by_row_number_needs_the_operand_whole():
    x, labels = normal(7, 5), integers(0, 5, 7)
    found = dims(lambda x, labels: x[jnp.arange(7), labels], x, labels, kind="gather")
    assert found == {link([(1, 0)], [(0, 0)])}


def test_scatter_add_folds_its_indices():
    x, i, u = normal(7, 5), integers(0, 7, 3, 4), normal(3, 4, 5)
    found = dims(lambda x, i, u: x.at[i].add(u), x, i, u, kind="scatter-add")
    assert found == {
        folded("scatter", (1, 0), (2, 0)),
        folded("scatter", (1, 1), (2, 1)),
        link([(0, 1), (2, 2)], [(0, 1)]),
    }


def test_plain_scatter_folds_only_in_the_order_of_its_updates():
    x, i, u = normal(7, 5), integers(0, 7, 3, 4), normal(3, 4, 5)
    found = dims(lambda x, i, u: x.at[i].set(u), x, i, u, kind="scatter")
    assert found == {folded("scatter", (1, 0), (2, 0)), link([(0, 1), (2, 2)], [(0, 1)])}
    found = dims(lambda x, i, u: x.at[i].set(u, unique_indices=True), x, i, u, kind="scatter")
    assert folded("scatter", (1, 1), (2, 1)) in found


@pytest.mark.parametrize("mode", ["fill", "clip", "wrap"])
def test_takes_in_pieces(mode):
    i = integers(-3, 8, 3, 4)
    for axis in (0, 1):
        check(lambda x, i, axis=axis: jnp.take(x, i, axis=axis, mode=mode), normal(5, 5), i)
    if mode != "wrap":
        check(lambda x, i: jnp.take_along_axis(x, i, axis=1, mode=mode), normal(3, 5), i)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("method", ["add", "set", "mul", "min", "max", "subtract"])
def test_scatters_in_pieces(mode, method):
    out_of_bounds = 0 if mode == "promise_in_bounds" else 3
    i = integers(-out_of_bounds, 4 + out_of_bounds, 6)
    x = rough(4, 3) if method in {"min", "max", "set"} else normal(4, 3)
    u = rough(6, 3, seed=1) if method in {"min", "max", "set"} else normal(6, 3, seed=1)
    check(lambda x, i, u: getattr(x.at[i], method)(u, mode=mode), x, i, u)
    check(lambda x, i, u: getattr(x.at[:, i], method)(u.T, mode=mode), x.T, i, u)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, np.int32])
def test_scatters_of_other_types(dtype):
    u = integers(0, 9, 8, 2).astype(dtype)
    check(lambda i, u: jnp.zeros((3, 2), dtype).at[i].add(u), integers(0, 3, 8), u)


@pytest.mark.parametrize(
    "fun",
    [
        lambda x, i: jnp.take_along_axis(x, i[:, None], axis=1),
        lambda x, i: x[i].sum(),
        lambda x, i: x[jnp.arange(x.shape[0]), i],
        lambda x, i: x[i[:, None], i[None, :]],
        lambda x, i: jax.vmap(lambda row, k: row[k])(x, i),
        lambda x, i: jax.vmap(lambda row, k: lax.dynamic_slice(row, (k,), (2,)))(x, i),
        lambda x, i: jax.vmap(lambda row, k: lax.dynamic_update_slice(row, row[:2], (k,)))(x, i),
        lambda x, i: jax.vmap(lambda c: c[i], in_axes=1, out_axes=1)(x),
        lambda x, i: jax.vmap(lambda c, k: c.at[k].set(0.0))(x, i),
        lambda x, i: x[:, None, 1:3][i],
    ],
)
def test_indexing_and_its_gradient_in_pieces(fun):
    x, i = normal(5, 5), integers(0, 5, 5)
    assert check(fun, x, i)
    assert check(jax.grad(lambda x, i: jnp.sum(fun(x, i) ** 2)), x, i)


def test_slices_at_computed_places_link_axes_taken_whole():
    x, u, k = normal(6, 5), normal(2, 5), integers(0, 6)
    found = dims(lambda x, k: lax.dynamic_slice(x, (k, k), (2, 5)), x, k, kind="dynamic_slice")
    assert found == {link([(0, 1)], [(0, 1)])}
    found = dims(lambda x, u, k: lax.dynamic_update_slice(x, u, (k, k)), x, u, k, kind="dynamic_update_slice")
    assert found == {link([(0, 1), (1, 1)], [(0, 1)])}
    check(lambda x, k: lax.dynamic_slice(x, (k, k), (2, 5)), x, jnp.int32(3))
    check(lambda x, u, k: lax.dynamic_update_slice(x, u, (k, k)), x, u, jnp.int32(5))


@pytest.mark.parametrize("mode", [lax.GatherScatterMode.FILL_OR_DROP, lax.GatherScatterMode.CLIP])
def test_a_start_along_an_axis_taken_whole_means_the_same_in_pieces(mode):
    numbers = lax.GatherDimensionNumbers(offset_dims=(1, 2), collapsed_slice_dims=(), start_index_map=(0, 1))
    i = jnp.array([[0, 0], [1, 0], [0, 2], [9, 9], [2, 0]])
    cuts = check(lambda x, i: lax.gather(x, i, numbers, (2, 4), mode=mode), normal(4, 4), i)
    assert link([(0, 1)], [(0, 2)]) in {c.dim for c in cuts}
