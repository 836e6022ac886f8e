"""Sums of products: the one normal form of contractions, whatever ops they are written with.

    result[i, ...] = sum over all other indices of factor[i, k, ...] * factor[k, ...] * ... / divisor * ...

A factor is an array with, for each of its axes, the indices that run along it. `reading.sum_of` reads the form off a
value, `order.best_order` finds in which order it is best contracted, and `einsum.evaluated` writes it in that order.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from memline.ir.graph import Value
from memline.rewrites.indices import Axis
from memline.rewrites.work import Work


@dataclass(frozen=True)
class Factor:
    """An array, and the indices that run along each of its axes, the slowest first; none along one of size 1."""

    value: Value
    axes: tuple[Axis, ...]

    @property
    def indices(self) -> tuple[int, ...]:
        """All indices in the order of the axes; one that runs along two of them stands there twice."""
        return tuple(index for axis in self.axes for index in axis)


@dataclass(frozen=True)
class SumOfProducts:
    """The normal form of one value."""

    root: Value
    axes: tuple[Axis, ...]
    """The indices along the axes of the result."""
    factors: tuple[Factor, ...]
    numbers: tuple[Value, ...]
    """Factors without axes."""
    divisors: tuple[Value, ...]
    """What the result is divided by; without axes."""
    is_negative: bool
    summed: frozenset[int]
    """The indices that the result has not."""
    sizes: tuple[int, ...]
    """How far each index runs."""
    dtype: Any
    """The widest type of what is absorbed: that of sums and of intermediate results."""
    precision: Any
    """What the products were asked for, as `lax.dot_general` takes it."""
    work: Work
    """What it takes as it is written."""
    drops_zeros: bool
    """Whether terms are left out that are some factor times a zero of a mask: not NaN where that factor is infinite."""

    @property
    def out(self) -> tuple[int, ...]:
        """The indices of the result, in order."""
        return tuple(index for axis in self.axes for index in axis)
