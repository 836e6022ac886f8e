"""Random numbers: a chunk of a random array is that chunk of the whole, bit for bit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax, random

import memline
from memline import Plan, SplitAxis
from memline.ir.graph import Op
from memline.ir.trace import trace
from tests.rules.harness import check, dims, link, normal

KEY = random.PRNGKey(7)


def bits_of(key, shape, width=32):
    return random.bits(random.wrap_key_data(key), shape, dtype=f"uint{width}")


def test_every_axis_of_a_draw_is_made_from_its_places():
    found = dims(lambda k: bits_of(k, (3, 4)), KEY, kind="random_bits")
    assert found == {link([], [(0, 0)]), link([], [(0, 1)])}


@settings(max_examples=20, deadline=None)
@given(
    shape=st.lists(st.integers(1, 7), min_size=1, max_size=4).map(tuple),
    width=st.sampled_from([8, 16, 32]),
    seed=st.integers(0, 2**32 - 1),
)
def test_bits_in_pieces_are_the_bits_of_the_whole(shape, width, seed):
    check(lambda k: bits_of(k, shape, width), random.PRNGKey(seed), kinds="random_bits")


def test_bits_of_64():
    with jax.enable_x64(True):
        check(lambda k: bits_of(k, (5, 3), 64), KEY, kinds="random_bits")


def test_draws_for_many_keys_link_along_the_keys_too():
    keys = jnp.stack([KEY, KEY + 1, KEY + 2])

    def many(keys):
        return jax.vmap(lambda k: bits_of(k, (4, 2)))(keys)

    assert dims(many, keys, kind="random_bits") == {
        link([(0, 0)], [(0, 0)]),
        link([], [(0, 1)]),
        link([], [(0, 2)]),
    }
    check(many, keys)


@pytest.mark.parametrize("name", ["rbg", "unsafe_rbg"])
def test_other_generators_draw_whole(name):
    key = random.key_data(random.key(1, impl=name))

    def fun(k):
        return random.bits(random.wrap_key_data(k, impl=name), (4, 6))

    assert dims(fun, key, kind="random_bits") == set()


def test_the_older_way_of_counting_draws_whole():
    with jax.threefry_partitionable(False):
        assert dims(lambda k: bits_of(k, (4, 6)), KEY, kind="random_bits") == set()


def test_more_places_than_can_be_counted_are_drawn_whole():
    assert dims(lambda k: bits_of(k, (1 << 16, (1 << 16) + 1)), KEY, kind="random_bits") == set()


@pytest.mark.parametrize(
    "fun",
    [
        lambda k, x: random.key_data(jax.vmap(random.fold_in, (None, 0))(random.wrap_key_data(k), jnp.arange(5))),
        lambda k, x: random.key_data(random.split(random.wrap_key_data(k), 5)),
        lambda k, x: random.key_data(jax.vmap(random.split)(random.split(random.wrap_key_data(k), 4))),
        lambda k, x: random.key_data(jax.vmap(random.key)(jnp.arange(6))),
        lambda k, x: random.gamma(k, jnp.abs(x) + 0.5),
        lambda k, x: random.normal(k, x.shape) * random.bernoulli(k, 0.5, x.shape),
    ],
)
def test_keys_and_draws_in_pieces(fun):
    check(fun, KEY, normal(4, 6))


def named(fun, *args, kind):
    """The name of the first value that an op of a kind makes."""
    return next(n.outputs[0].name for n in trace(fun, *args).nodes if isinstance(n, Op) and n.kind == kind)


def dropped(key, x, w):
    """A layer with dropout: the mask is as large as the activations."""
    h = jnp.tanh(x @ w)
    return (jnp.where(random.bernoulli(key, 0.9, h.shape), h / 0.9, 0.0) ** 2).sum(1)


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("chunk", [7, 16])
def test_dropout_keeps_its_mask(axis, chunk):
    args = KEY, normal(37, 5), normal(5, 43)
    plan = Plan.of(SplitAxis(named(dropped, *args, kind="tanh"), axis, chunk))
    mask = memline.jit(lambda *a: dropped(*a) == 0, plan=plan)
    limited = memline.jit(dropped, plan=plan)
    assert limited.lower(*args).plan.moves
    np.testing.assert_allclose(limited(*args), jax.jit(dropped)(*args), rtol=2e-6)
    np.testing.assert_array_equal(mask(*args), jax.jit(dropped)(*args) == 0)


@pytest.mark.parametrize("transform", ["grad", "vmap"])
def test_dropout_under_a_limit(transform):
    args = KEY, normal(4000, 20), normal(20, 300, seed=1)
    limited = memline.limit(dropped, "3MiB")
    assert memline.plan(dropped, "3MiB")(*args).moves
    if transform == "grad":
        found, expected = (jax.grad(lambda w, f=f: f(KEY, args[1], w).sum())(args[2]) for f in (limited, dropped))
    else:
        keys = random.split(KEY, 3)
        found, expected = (jax.vmap(f, (0, None, None))(keys, *args[1:]) for f in (limited, dropped))
    np.testing.assert_allclose(found, expected, rtol=2e-5, atol=1e-4)


def test_a_draw_is_not_made_whole():
    def count(key):
        return (random.uniform(key, (1000, 1000)) ** 2 + random.uniform(key, (1000, 1000))).sum(0)

    limited = memline.jit(count, memory_limit="1MiB")
    np.testing.assert_allclose(limited(KEY), count(KEY), rtol=2e-6)
    compiled = limited.lower(KEY).compile()
    peak_bytes = min(compiled.measure(KEY, repeats=0).peak_bytes for _ in range(4))  # threads may add some
    assert peak_bytes < 3 << 20, "an array of the whole draw takes 3.8 MiB"


def test_a_nested_split_counts_from_both_places():
    def fun(key, x):
        return jnp.exp(random.normal(key, x.shape) * x).sum()

    x = normal(60, 50)
    name = named(fun, KEY, x, kind="exp")
    plan = Plan.of(SplitAxis(name, 0, 16), SplitAxis(f"{name}@0", 1, 11))
    np.testing.assert_allclose(memline.jit(fun, plan=plan)(KEY, x), fun(KEY, x), rtol=2e-5)


def test_lax_rng_is_left_whole():
    assert dims(lambda a: lax.rng_uniform(a, 1.0, (3, 4)), np.float32(0), kind="rng_uniform") == set()
