"""Dense linear algebra and Fourier transforms: parallel over batches and over right-hand sides.

The matrices themselves are never cut: a factorisation needs the whole of its matrix. Operation counts
are the leading terms of the LAPACK algorithms, real arithmetic, for `m` rows and `n` columns.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from jax import lax

from memline import compat
from memline.ir.graph import Op
from memline.rules import table
from memline.rules.table import Dim, Member


def _primitives(*names: str) -> list[Any]:
    found = [getattr(lax.linalg, f"{name}_p", None) or compat.named_primitive(name) for name in names]
    return [primitive for primitive in found if primitive is not None]


def _batch_dims(op: Op, core_ndim: int) -> list[Dim]:
    """One parallel dim for each axis in front of the first operand's last `core_ndim`."""
    return [
        Dim(
            tuple(Member(position, axis) for position in range(len(op.inputs))),
            tuple(Member(position, axis) for position in range(len(op.outputs))),
        )
        for axis in range(op.inputs[0].ndim - core_ndim)
    ]


def _batch_size(op: Op, core_ndim: int) -> int:
    return math.prod(op.inputs[0].shape[: op.inputs[0].ndim - core_ndim])


_MATRIX_BATCHED = """
cholesky eig eigh geqp3 geqrf hessenberg householder_product lu qr schur svd symmetric_product
tridiagonal
""".split()


@table.axes(*_primitives(*_MATRIX_BATCHED))
def batched_matrices(op: Op) -> list[Dim]:
    """Each matrix of a batch is worked on by itself; its own two axes are needed whole."""
    return _batch_dims(op, core_ndim=2)


@table.axes(*_primitives("lu_pivots_to_permutation"))
def batched_pivots(op: Op) -> list[Dim]:
    """Each row of pivots is worked on by itself."""
    return _batch_dims(op, core_ndim=1)


@table.axes(*_primitives("triangular_solve"))
def triangular_solve(op: Op) -> list[Dim]:
    """Batches are independent, and so are right-hand sides: the columns of b, or its rows in x a = b."""
    ndim = op.inputs[1].ndim
    free = ndim - 1 if op.params["left_side"] else ndim - 2
    return [*_batch_dims(op, core_ndim=2), Dim((Member(1, free),), (Member(0, free),))]


@table.axes(*_primitives("tridiagonal_solve"))
def tridiagonal_solve(op: Op) -> list[Dim]:
    """Operands are three diagonals and b; batches and the columns of b are independent."""
    free = op.inputs[3].ndim - 1
    return [*_batch_dims(op, core_ndim=1), Dim((Member(3, free),), (Member(0, free),))]


@table.axes(*_primitives("ormqr"))
def ormqr(op: Op) -> list[Dim]:
    """Multiplies c by an orthogonal matrix: batches are independent, and so is the axis of c that it spares."""
    ndim = op.inputs[2].ndim
    free = ndim - 1 if op.params["left"] else ndim - 2
    return [*_batch_dims(op, core_ndim=2), Dim((Member(2, free),), (Member(0, free),))]


def _matrix_cost(cost: Callable[[int, int], float]) -> Callable[[Op], float]:
    """Returns a flops rule from the cost of one m x n matrix, the first operand's last two axes."""

    def rule(op: Op) -> float:
        m, n = op.inputs[0].shape[-2:]
        return cost(m, n) * _batch_size(op, core_ndim=2)

    return rule


def _qr_cost(m: int, n: int) -> float:
    """Householder reflections, without forming the orthogonal factor."""
    small = min(m, n)
    return 2.0 * m * n * small - 2.0 / 3.0 * small**3


_COSTS: dict[str, Callable[[int, int], float]] = {
    "cholesky": lambda m, n: n**3 / 3,
    "eig": lambda m, n: 25.0 * n**3,
    "eigh": lambda m, n: 9.0 * n**3,
    "geqp3": _qr_cost,
    "geqrf": _qr_cost,
    "hessenberg": lambda m, n: 10.0 / 3.0 * n**3,
    "householder_product": _qr_cost,
    "lu": lambda m, n: m * n * min(m, n) - min(m, n) ** 3 / 3,
    "qr": lambda m, n: 2.0 * _qr_cost(m, n),
    "schur": lambda m, n: 25.0 * n**3,
    "svd": lambda m, n: 4.0 * m * n * min(m, n) + 22.0 * min(m, n) ** 3,
    "symmetric_product": lambda m, n: 1.0 * m * m * n,
    "tridiagonal": lambda m, n: 4.0 / 3.0 * n**3,
}

for _name, _cost in _COSTS.items():
    table.flops(*_primitives(_name))(_matrix_cost(_cost))


@table.flops(*_primitives("triangular_solve"))
def triangular_solve_flops(op: Op) -> float:
    """n^2 for each right-hand side of an n x n matrix."""
    n = op.inputs[0].shape[-1]
    return float(n * math.prod(op.outputs[0].shape))


@table.flops(*_primitives("tridiagonal_solve"))
def tridiagonal_solve_flops(op: Op) -> float:
    """Eight operations for each element of the solution."""
    return 8.0 * math.prod(op.outputs[0].shape)


@table.flops(*_primitives("ormqr"))
def ormqr_flops(op: Op) -> float:
    """Each reflector costs four operations for each element of c."""
    return 4.0 * op.inputs[1].shape[-1] * math.prod(op.outputs[0].shape)


@table.axes(lax.fft_p)
def fft(op: Op) -> list[Dim]:
    """Each transform of a batch is computed by itself."""
    return _batch_dims(op, core_ndim=len(op.params["fft_lengths"]))


@table.flops(lax.fft_p)
def fft_flops(op: Op) -> float:
    """5 n log n for each transform of n points."""
    points = math.prod(op.params["fft_lengths"])
    batch = _batch_size(op, core_ndim=len(op.params["fft_lengths"]))
    return 5.0 * batch * points * max(1.0, math.log2(max(points, 1)))
