"""Batches of matrices and columns of right-hand sides; a matrix itself is never cut."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.lax import linalg

from memline.rules import table
from tests.rules import harness
from tests.rules.harness import dims, link, normal, only_op

KINDS = """
cholesky eig eigh fft geqp3 geqrf hessenberg householder_product lu lu_pivots_to_permutation ormqr qr
schur svd symmetric_product triangular_solve tridiagonal tridiagonal_solve
"""
check = partial(harness.check, kinds=KINDS)


def spd(*batch, n=4):
    a = normal(*batch, n, n)
    return a @ jnp.swapaxes(a, -1, -2) + 4 * jnp.eye(n)


def lower(*batch, n=4):
    return jnp.tril(normal(*batch, n, n)) + 3 * jnp.eye(n)


@pytest.mark.parametrize(("left_side", "free"), [(True, 2), (False, 1)])
def test_triangular_solve_links_batches_and_right_hand_sides(left_side, free):
    a, b = lower(3), normal(3, 4, 4)
    found = dims(lambda a, b: linalg.triangular_solve(a, b, left_side=left_side), a, b, kind="triangular_solve")
    assert found == {link([(0, 0), (1, 0)], [(0, 0)]), link([(1, free)], [(0, free)])}


@pytest.mark.parametrize("left_side", [True, False])
@pytest.mark.parametrize("flags", [{"lower": True}, {"lower": True, "transpose_a": True}, {"unit_diagonal": True}])
def test_triangular_solve_in_pieces(left_side, flags):
    b = normal(3, 4, 5) if left_side else normal(3, 5, 4)
    check(lambda a, b: linalg.triangular_solve(a, b, left_side=left_side, **flags), lower(3), b, rtol=1e-4)


def test_a_single_matrix_has_no_dims():
    assert dims(linalg.cholesky, spd(), kind="cholesky") == set()


@pytest.mark.parametrize(
    "fun",
    [
        linalg.cholesky,
        lambda a: linalg.eigh(a)[1],
        lambda a: jnp.linalg.svd(a, compute_uv=False),
        lambda a: linalg.lu(a)[0],
        lambda a: linalg.lu_pivots_to_permutation(linalg.lu(a)[1], 4),
        linalg.qr,
        lambda a: linalg.hessenberg(a)[0],
        lambda a: linalg.tridiagonal(a)[1],
        lambda a: linalg.schur(a)[0],
        lambda a: linalg.symmetric_product(a, a, symmetrize_output=True),
        lambda a: linalg.householder_product(a, a[..., 0]),
        lambda a: jnp.linalg.eigvals(a).real.sum(-1),
        lambda a: jnp.linalg.qr(a, mode="raw"),
        lambda a: jax.grad(lambda a: jnp.log(jnp.diagonal(linalg.cholesky(a), axis1=1, axis2=2)).sum())(a),
    ],
)
def test_batches_in_pieces(fun):
    assert check(fun, spd(3), rtol=1e-3)


def test_orthogonal_products_link_the_axis_they_spare():
    a, taus, c = normal(2, 4, 3), normal(2, 3), normal(2, 4, 5)
    found = dims(lambda *args: linalg.ormqr(*args), a, taus, c, kind="ormqr")
    assert found == {link([(0, 0), (1, 0), (2, 0)], [(0, 0)]), link([(2, 2)], [(0, 2)])}
    check(lambda *args: linalg.ormqr(*args), a, taus, c)
    check(lambda *args: linalg.ormqr(*args, left=False, transpose=True), a, taus, jnp.swapaxes(c, 1, 2))


def test_tridiagonal_solve_links_batches_and_columns():
    d, b = normal(3, 4), normal(3, 4, 2)
    off = 0.1 * d
    off = off.at[:, 0].set(0)
    cuts = check(linalg.tridiagonal_solve, off, d + 3, jnp.flip(off, 1), b)
    rows = link([(i, 0) for i in range(4)], [(0, 0)])
    assert {c.dim for c in cuts} == {rows, link([(3, 2)], [(0, 2)])}


def test_fourier_transforms_link_batches():
    cuts = check(lambda x: lax.fft(x, "RFFT", (5,)), normal(4, 5))
    assert {c.dim for c in cuts} == {link([(0, 0)], [(0, 0)])}


def test_flops():
    assert table.flops_of(only_op(linalg.cholesky, spd(5, n=6), kind="cholesky")) == 5 * 6**3 / 3
    solve = only_op(lambda a, b: linalg.triangular_solve(a, b, left_side=True), lower(), normal(4, 7),
                    kind="triangular_solve")  # fmt: skip
    assert table.flops_of(solve) == 4 * 4 * 7
    assert np.isclose(table.flops_of(only_op(linalg.lu, spd(n=9), kind="lu")), 2 / 3 * 9**3)
