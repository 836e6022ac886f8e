"""What orders of a contraction are compared by: work, in units of one multiply-add of a product, and bytes made."""

from __future__ import annotations

from dataclasses import dataclass

_ELEMENT = 15.0
"""An elementwise operation takes as long as so many operations of a matrix product."""
_VECTOR = 8.0
"""And one of a product of a matrix and a vector, which is bound by reading the matrix."""
_BYTE = 50.0
"""And one byte of an array that is written and read again."""


@dataclass(frozen=True)
class Work:
    """The work of some ops, and the largest array that they leave for each other."""

    cost: float = 0.0
    largest_bytes: int = 0

    def __add__(self, other: Work) -> Work:
        return Work(self.cost + other.cost, max(self.largest_bytes, other.largest_bytes))


def product_work(flops: float, is_of_matrices: bool, made_bytes: int) -> Work:
    """Returns the work of a product; `made_bytes` are those of its result, if that is not the last."""
    return Work(flops * (1.0 if is_of_matrices else _VECTOR) + _BYTE * made_bytes, made_bytes)


def elementwise_work(elements: int, made_bytes: int) -> Work:
    """Returns the work of an elementwise operation or a reduction over so many elements."""
    return Work(_ELEMENT * elements + _BYTE * made_bytes, made_bytes)
