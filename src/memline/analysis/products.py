"""Which order of a matrix product's operands a backend runs fast, and what another order costs.

XLA:CPU gives a product to its library only where the left operand is contracted along its last axis. The
others go to Eigen, which reaches three quarters of the library's rate in float32 and half of it in float64,
and less than a third where the result is much taller than wide (2 cores, jax 0.10 and 0.11; float32, GFLOP/s,
in Eigen and in the library: 1024 x 1024 x 1024, 370 and 460; 4096 rows, 64 columns, 1024 between, 93 and 440).
Gradients of weights are such products: `x.T @ g`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from memline.analysis.machine import Machine
from memline.ir.graph import Op, Value

_TALL = 4
"""A result with so many times more rows than columns is tall."""


_VECTOR_SHARE = 1 / 8
"""How much of the rate of matrix products those of a matrix and a vector reach."""


@dataclass(frozen=True)
class Product:
    """The sizes of one `dot_general`, and the order of its left operand."""

    batch: int
    rows: int
    columns: int
    inner: int
    itemsize_bytes: int
    is_left_contracted_last: bool

    @property
    def flops(self) -> float:
        return 2.0 * self.batch * self.rows * self.columns * self.inner

    @property
    def is_of_matrices(self) -> bool:
        """Whether it is no product of a matrix and a vector, nor one that sums over nothing."""
        return min(self.rows, self.columns, self.inner) > 1

    @property
    def left_bytes(self) -> int:
        return self.batch * self.rows * self.inner * self.itemsize_bytes

    @property
    def result_bytes(self) -> int:
        return self.batch * self.rows * self.columns * self.itemsize_bytes

    def swapped(self, is_left_contracted_last: bool) -> Product:
        """Returns the product with its operands in the other order."""
        return replace(self, rows=self.columns, columns=self.rows, is_left_contracted_last=is_left_contracted_last)

    def turned(self) -> Product:
        """Returns the product with its left operand contracted along its last axis."""
        return replace(self, is_left_contracted_last=True)


def product_of(op: Op) -> Product:
    """Returns the sizes of a `dot_general`."""
    (left_contract, _), (left_batch, _) = op.params["dimension_numbers"]
    left, right = op.inputs
    batch = math.prod(left.shape[a] for a in left_batch)
    inner = math.prod(left.shape[a] for a in left_contract)
    each = max(1, batch * inner)
    return Product(
        batch,
        math.prod(left.shape) // each,
        math.prod(right.shape) // each,
        inner,
        op.outputs[0].dtype.itemsize,
        left.ndim - 1 in left_contract,
    )


def product_seconds(product: Product, machine: Machine) -> float:
    """Returns the estimated time of a product's arithmetic, with its operands as they lie."""
    rate = machine.contraction_flops
    if not product.is_left_contracted_last:
        is_tall = product.rows >= _TALL * product.columns
        rate *= machine.tall_share if is_tall else machine.unturned_share
    wide = max(product.itemsize_bytes, 4) / 4
    if product.inner == 1:  # it is compiled as a multiplication
        return product.flops / 2 / machine.elementwise_flops * wide
    if not product.is_of_matrices:
        return product.flops / (machine.contraction_flops * _VECTOR_SHARE) * wide
    shortest = min(product.rows, product.columns, product.inner)
    return product.flops / rate * wide / min(1.0, shortest / 32)  # short sides are bound by loads


def turned_seconds(product: Product, machine: Machine) -> float:
    """Returns the estimated time of a product whose left operand is first written anew in the library's order."""
    return product_seconds(product.turned(), machine) + product.left_bytes / machine.turned_bytes_per_s


def copied_operands(op: Op) -> tuple[Value, ...]:
    """Returns the operands of a `dot_general` whose batch axes do not lead: they are copied into that order first."""
    contract, batch = op.params["dimension_numbers"]
    copied = []
    for v, contracted, batched in zip(op.inputs, contract, batch, strict=True):
        free = [a for a in range(v.ndim) if a not in contracted and a not in batched]
        order_a, order_b = [*batched, *free, *contracted], [*batched, *contracted, *free]
        if list(range(v.ndim)) not in (order_a, order_b):
            copied.append(v)
    return tuple(copied)
