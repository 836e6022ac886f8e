"""Elementwise primitives: every axis of full size links; stretched axes and scalars are needed whole."""

import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax, nn

from memline.rules import table
from memline.rules.elementwise import CHEAP, COSTLY
from tests.rules.harness import check, dims, integers, link, normal, only_op, rough


def test_every_axis_of_full_size_links():
    assert dims(jnp.add, normal(3, 4), normal(3, 4), kind="add") == {
        link([(0, 0), (1, 0)], [(0, 0)]),
        link([(0, 1), (1, 1)], [(0, 1)]),
    }


def test_stretched_axes_do_not_link():
    found = dims(lambda x, y: lax.sub_p.bind(x, y), normal(3, 1, 5), normal(1, 4, 5), kind="sub")
    assert found == {link([(0, 0)], [(0, 0)]), link([(1, 1)], [(0, 1)]), link([(0, 2), (1, 2)], [(0, 2)])}


def test_scalar_operands_are_needed_whole():
    x = normal(3, 4)
    only_x = {link([(1, 0)], [(0, 0)]), link([(1, 1)], [(0, 1)])}
    assert dims(lambda x: lax.clamp(np.float32(0), x, np.float32(1)), x, kind="clamp") == only_x
    found = dims(lambda c, x, y: lax.select(c, x, y), jnp.bool_(True), x, x, kind="select_n")
    assert found == {link([(1, 0), (2, 0)], [(0, 0)]), link([(1, 1), (2, 1)], [(0, 1)])}


@pytest.mark.parametrize(
    "fun",
    [
        lambda x, y: jnp.arctan2(x, y) + lax.nextafter(x, y) * lax.rem(x, y),
        lambda x, y: jnp.where(x > y, jnp.exp(x), jnp.log1p(jnp.abs(y))) / (1 + y**2),
        lambda x, y: jnp.clip(y, x - 1, x + 1) + jnp.float32(x < y).astype(jnp.bfloat16),
        lambda x, y: nn.gelu(x) + nn.softplus(y) + nn.sigmoid(x) * jnp.tanh(y),
        lambda x, y: lax.erf_inv(jnp.tanh(x)) + lax.rsqrt(jnp.abs(y)) + lax.integer_pow(x, 3),
        lambda x, y: jnp.maximum(x, y) - jnp.sign(x) * jnp.floor(y) + lax.reduce_precision(x, 5, 10),
    ],
)
@pytest.mark.parametrize("shapes", [((3, 5), (3, 5)), ((3, 1), (1, 5))])
def test_elementwise_chains(fun, shapes):
    assert check(fun, normal(*shapes[0]), normal(*shapes[1], seed=1))


def test_infinities_nans_and_integers():
    x = rough(4, 6)
    check(lambda x: (jnp.minimum(x, 1), jnp.isfinite(x), lax.is_finite(x), jnp.isnan(x), jnp.round(x)), x)
    i = integers(-9, 9, 7)
    check(lambda i: (i << 2, i ^ 3, ~i, lax.population_count(i), lax.clz(i), i // 4, i % 3), i)


def test_complex_parts():
    x = normal(3, 4)
    check(lambda x, y: jnp.abs(lax.complex(x, y)) + jnp.real(jnp.conj(lax.complex(x, y))), x, x)


def test_costs_weigh_by_primitive():
    x = normal(10, 10)
    assert table.flops_of(only_op(jnp.add, x, x, kind="add")) == 100
    assert table.flops_of(only_op(jnp.exp, x, kind="exp")) == 1000


def test_a_primitive_is_cheap_or_costly():
    assert not CHEAP.keys() & COSTLY.keys()
    assert {"add", "select_n", "add_any"} <= CHEAP.keys()
    assert {"exp", "tanh", "erf_inv", "igamma"} <= COSTLY.keys()
