"""Primitives that move elements: which axes link, in what units, and that the pieces are right."""

from itertools import pairwise

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax

from tests.rules.harness import check, dims, link, normal


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ((6, 4), (24,), {link([(0, 0, 1)], [(0, 0, 4)])}),
        ((24,), (4, 6), {link([(0, 0, 6)], [(0, 0, 1)])}),
        ((4, 6), (6, 4), {link([(0, 0, 2)], [(0, 0, 3)])}),
        ((3, 4), (3, 1, 4), {link([(0, 0)], [(0, 0)]), link([(0, 1)], [(0, 2)])}),
        ((1, 5), (5,), {link([(0, 1)], [(0, 0)])}),
        ((1, 1), (1,), set()),
        ((2, 3, 5), (6, 5), {link([(0, 0, 1)], [(0, 0, 3)]), link([(0, 2)], [(0, 1)])}),
        ((5, 2, 3), (5, 6), {link([(0, 0)], [(0, 0)]), link([(0, 1, 1)], [(0, 1, 3)])}),
        ((3, 4), (2, 6), set()),
        ((0, 4), (4, 0), set()),
    ],
)
def test_reshape_links(before, after, expected):
    assert dims(lambda x: lax.reshape(x, after), normal(*before), kind="reshape") == expected


@settings(max_examples=15, deadline=None)
@given(factors=st.lists(st.sampled_from([1, 2, 3]), min_size=2, max_size=5), data=st.data())
def test_reshapes_in_pieces(factors, data):
    def grouped():
        cuts = sorted(data.draw(st.sets(st.integers(1, len(factors) - 1))))
        bounds = [0, *cuts, len(factors)]
        return tuple(int(np.prod(factors[a:b])) for a, b in pairwise(bounds))

    x = np.arange(np.prod(factors), dtype=np.int32).reshape(grouped())
    shape = grouped()
    check(lambda x: lax.reshape(x, shape), x)


def test_a_reshape_that_permutes_has_no_links():
    assert dims(lambda x: lax.reshape(x, (6, 4), dimensions=(1, 0)), normal(4, 6), kind="reshape") <= {
        link([(0, 1)], [(0, 0)]),
        link([(0, 0)], [(0, 1)]),
    }
    check(lambda x: lax.reshape(x, (12, 2), dimensions=(1, 0)), normal(4, 6))


def test_broadcast_links_old_axes_and_makes_new_ones():
    found = dims(lambda x: lax.broadcast_in_dim(x, (4, 3, 5), (1, 2)), normal(3, 1), kind="broadcast_in_dim")
    assert found == {link([], [(0, 0)]), link([(0, 0)], [(0, 1)]), link([], [(0, 2)])}
    check(lambda x: lax.broadcast_in_dim(x, (4, 3, 5), (1, 2)), normal(3, 1))


def test_slice_links_axes_taken_whole():
    assert dims(lambda x: x[:, 1:3], normal(4, 5), kind="slice") == {link([(0, 0)], [(0, 0)])}


def test_stack_and_unstack_link_across_the_new_axis():
    x = normal(4, 5)
    found = dims(lambda x, y: jnp.stack([x, y], axis=1), x, x, kind="stack")
    assert found == {link([(0, 0), (1, 0)], [(0, 0)]), link([(0, 1), (1, 1)], [(0, 2)])}
    found = dims(lambda x: jnp.unstack(x.reshape(4, 5), axis=0)[:2], x.reshape(2, 10), kind="unstack")
    assert found == {link([(0, 1)], [(o, 0) for o in range(4)])}


def test_tile_makes_each_copy_by_itself():
    found = dims(lambda x: jnp.tile(x, (1, 3)), normal(4, 5), kind="tile")
    assert found == {link([(0, 0)], [(0, 0)]), link([], [(0, 1, 5)])}


def test_pad_links_axes_without_padding():
    pads = ((0, 0, 0), (1, 0, 0), (0, 0, 1))
    found = dims(lambda x: lax.pad(x, np.float32(0), pads), normal(4, 5, 6), kind="pad")
    assert found == {link([(0, 0)], [(0, 0)])}


def test_iota_in_pieces_counts_on():
    cuts = check(lambda: lax.broadcasted_iota(jnp.int32, (5, 7), 1))
    assert {c.dim for c in cuts} == {link([], [(0, 0)]), link([], [(0, 1)])}
    check(lambda: lax.broadcasted_iota(jnp.bfloat16, (5, 300), 1))


@pytest.mark.parametrize(
    "fun",
    [
        lambda x: x.T,
        lambda x: jnp.transpose(x[None, :, None, :], (3, 0, 1, 2)),
        lambda x: jnp.squeeze(x[None, :, :, None]),
        lambda x: lax.squeeze(x[None, :, :, None], (-1,)),
        lambda x: lax.slice(x, (0, 1), (6, 5), (1, 2)),
        lambda x: jnp.concatenate([x, x + 1, x * 2], axis=1),
        lambda x: jnp.split(x, [1, 4], axis=0),
        lambda x: lax.rev(x, (1,)),
        lambda x: jnp.pad(x, ((0, 0), (2, 1))),
        lambda x: lax.pad(x, np.float32(1), ((0, 0, 2), (0, 0, 0))),
        lambda x: jnp.tile(x, (2, 3)),
        lambda x: jnp.repeat(x, 2, axis=0),
        lambda x: jnp.stack([x, x], axis=1).reshape(12, 5),
        lambda x: jnp.unstack(x, axis=0),
        lambda x: lax.bitcast_convert_type(lax.bitcast_convert_type(x, np.int8), np.float32),
        lambda x: x + jnp.arange(5) * jnp.eye(6, 5),
    ],
)
def test_moves_in_pieces(fun):
    assert check(fun, normal(6, 5))


def test_barriers_link_every_axis_with_itself():
    found = dims(lambda x: lax.optimization_barrier(x), normal(4, 5), kind="optimization_barrier")
    assert found == {link([(0, 0)], [(0, 0)]), link([(0, 1)], [(0, 1)])}
    check(lambda x: lax.optimization_barrier(x), normal(4, 5))
