"""Sums of products of arrays: `reduce_sum` and `dot_general` by the labels of their axes."""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp

from memline.ir.graph import Op, Value

Labels = tuple[int, ...]


@dataclass(frozen=True)
class Contraction:
    """A node that sums a product: a label for each axis of its operands, and those that its result has."""

    operands: tuple[Value, ...]
    labels: tuple[Labels, ...]
    out: Labels
    sizes: dict[int, int]

    @property
    def size(self) -> int:
        """The elements of the product, before it is summed."""
        return math.prod(self.sizes.values())

    @property
    def summed(self) -> int:
        """How many of them make one element of the result."""
        return math.prod(size for label, size in self.sizes.items() if label not in self.out)


def contraction_of(node: Op) -> Contraction:
    """Returns what a `reduce_sum` or a `dot_general` sums."""
    if node.kind == "reduce_sum":
        (operand,) = node.inputs
        labels = tuple(range(operand.ndim))
        out = tuple(label for label in labels if label not in node.params["axes"])
        return Contraction((operand,), (labels,), out, dict(enumerate(operand.shape)))
    (left_sum, right_sum), (left_batch, right_batch) = node.params["dimension_numbers"]
    left, right = node.inputs
    shared = dict(zip((*right_sum, *right_batch), (*left_sum, *left_batch), strict=True))
    fresh = iter(range(left.ndim, left.ndim + right.ndim))
    left_labels = tuple(range(left.ndim))
    right_labels = tuple(shared[a] if a in shared else next(fresh) for a in range(right.ndim))
    free_left = (a for a in left_labels if a not in left_sum and a not in left_batch)
    free_right = (label for a, label in enumerate(right_labels) if a not in shared)
    sizes = {**dict(zip(right_labels, right.shape, strict=True)), **dict(enumerate(left.shape))}
    return Contraction((left, right), (left_labels, right_labels), (*left_batch, *free_left, *free_right), sizes)


def summed(whole: Contraction, labels: Sequence[Labels], number: float, *arrays: Any) -> Any:
    """Returns a number times the sum of a product of arrays of size 1 along some of their axes.

    The result has the axes of the contraction's, with size 1 along those on which no array depends.

    Args:
      whole: which axes are summed, and how long they are.
      labels: of each array, the labels of its axes.
      number: what the product is multiplied with.
      *arrays: the factors.
    """
    kept = [
        [label for label, size in zip(of_x, x.shape, strict=True) if size > 1]
        for x, of_x in zip(arrays, labels, strict=True)
    ]
    operands = [x.reshape([size for size in x.shape if size > 1]) for x in arrays]
    present = set().union(*kept)
    out = [label for label in whole.out if label in present]
    if all(of_x == kept[0] for of_x in kept):
        left = [label for label in kept[0] if label in out]
        product = functools.reduce(operator.mul, operands)
        y = product.sum(tuple(a for a, label in enumerate(kept[0]) if label not in out))
        y = y.transpose([left.index(label) for label in out])
    else:
        pairs = (part for pair in zip(operands, kept, strict=True) for part in pair)
        y = jnp.einsum(*pairs, out, precision="highest", optimize="optimal")
    number *= math.prod(n for label, n in whole.sizes.items() if label not in whole.out and label not in present)
    y = y if number == 1 else jnp.asarray(number, y.dtype) * y
    return y.reshape([whole.sizes[label] if label in present else 1 for label in whole.out])
