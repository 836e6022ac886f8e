"""`dot_general` in every mix of batch, free and contracted axes."""

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memline.rules import table
from tests.rules.harness import check, dims, folded, integers, link, normal, only_op


def test_matrix_product_dims():
    assert dims(jnp.dot, normal(3, 4), normal(4, 5), kind="dot_general") == {
        link([(0, 0)], [(0, 0)]),
        link([(1, 1)], [(0, 1)]),
        folded("dot", (0, 1), (1, 0)),
    }


def test_batched_product_dims():
    found = dims(lambda a, b: jnp.einsum("bhqd,bhkd->bhqk", a, b), normal(2, 3, 4, 5), normal(2, 3, 6, 5),
                 kind="dot_general")  # fmt: skip
    assert found == {
        link([(0, 0), (1, 0)], [(0, 0)]),
        link([(0, 1), (1, 1)], [(0, 1)]),
        link([(0, 2)], [(0, 2)]),
        link([(1, 2)], [(0, 3)]),
        folded("dot", (0, 3), (1, 3)),
    }


@settings(max_examples=10, deadline=None)
@given(
    spec=st.sampled_from(["ij,jk->ik", "ij,kj->ki", "bij,bjk->bik", "ijk,jkl->il", "ij,ij->", "bi,bj->bij", "i,j->ji"]),
    seed=st.integers(0, 100),
)
def test_einsums_in_pieces(spec, seed):
    sizes = dict(zip("bijkl", np.random.default_rng(seed).permutation([1, 2, 3, 4, 5]).tolist(), strict=True))
    left, right = (normal(*(sizes[c] for c in term)) for term in spec.split("->")[0].split(","))
    assert check(lambda a, b: jnp.einsum(spec, a, b), left, right)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, np.float16, np.int8, np.complex64])
def test_other_types(dtype):
    make = integers if dtype == np.int8 else None
    a = make(-3, 4, 5, 7, dtype=dtype) if make else normal(5, 7).astype(dtype)
    check(lambda a: a @ a.T, a)


def test_preferred_type_is_kept():
    a = normal(5, 7).astype(jnp.bfloat16)
    check(lambda a: jnp.matmul(a, a.T, preferred_element_type=np.float32), a)


def test_flops_are_two_for_each_product():
    assert table.flops_of(only_op(jnp.dot, normal(3, 4), normal(4, 5), kind="dot_general")) == 2 * 3 * 4 * 5
