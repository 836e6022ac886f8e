"""Computes a sum of products in a given order, in plain JAX: sums as early, broadcasts as late as they can be.

A pair of terms becomes one `dot_general` where something is summed and one of them has an index of its own; one product
of vectors where everything is summed that both have in the same order; else a product element by element, and a sum.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from memline.analysis.spelling import keeps_floats
from memline.rewrites.indices import Axis
from memline.rewrites.order import Term
from memline.rewrites.sums import Factor, SumOfProducts

Array = jax.Array
_Indexed = tuple[Array, tuple[int, ...]]
"""An array and the index along each of its axes."""


def evaluated(form: SumOfProducts, order: Term, scaled: int | None, *operands: Array) -> Array:
    """Returns the array that a form stands for.

    Args:
      form: the sum of products.
      order: in which its factors are contracted.
      scaled: which factor the numbers multiply; None for the result.
      *operands: the factors, then the numbers, then the divisors, as the form has them.
    """
    n_factors, n_numbers = len(form.factors), len(form.numbers)
    machine = _Machine(form)
    values = list(operands[:n_factors])
    numbers = operands[n_factors : n_factors + n_numbers]
    divisors = operands[n_factors + n_numbers :]
    if scaled is not None:
        values[scaled] = _scaled(values[scaled], numbers, divisors, form)
    x, indices = machine.term(order, values, form.out)
    x = x.astype(form.dtype)
    return _laid_out(_scaled(x, numbers, divisors, form) if scaled is None else x, indices, form)


def _scaled(x: Array, numbers: Sequence[Array], divisors: Sequence[Array], form: SumOfProducts) -> Array:
    """Returns an array times the numbers, over the divisors, with the sign, and times the sums over nothing."""
    present = {index for factor in form.factors for index in factor.indices} | set(form.out)
    repeated = math.prod(n for index, n in enumerate(form.sizes) if index in form.summed and index not in present)
    for number in numbers:
        x = x * number.reshape(()).astype(form.dtype)
    for divisor in divisors:
        x = x / divisor.reshape(()).astype(form.dtype)
    if repeated != 1:
        x = x * jnp.asarray(repeated, form.dtype)
    return -x if form.is_negative else x


def _laid_out(x: Array, indices: tuple[int, ...], form: SumOfProducts) -> Array:
    """Returns an array with its indices in the order of the result, broadcast along those that it lacks."""
    order = [indices.index(i) for i in form.out if i in indices]
    x = lax.transpose(x, order) if order != sorted(order) else x
    root = form.root
    x = x.astype(root.dtype)
    if len(indices) < len(form.out):
        places = [at for at, i in enumerate(form.out) if i in indices]
        x = lax.broadcast_in_dim(x, [form.sizes[i] for i in form.out], places)
    return x if x.shape == root.shape else x.reshape(root.shape)


class _Machine:
    """Evaluates terms of one form."""

    def __init__(self, form: SumOfProducts) -> None:
        self.form = form
        precision = form.precision
        self.precision = lax.Precision.HIGHEST if isinstance(precision, str) else precision

    def term(self, term: Term, values: Sequence[Array], wanted: Sequence[int]) -> _Indexed:
        """Returns a term; its indices come in the order of `wanted` where that costs nothing."""
        if isinstance(term.parts, int):
            return self._leaf(self.form.factors[term.parts], values[term.parts], term.indices)
        (a, ia), (b, ib) = (self.term(part, values, wanted) for part in term.parts)
        return self._pair(a, ia, b, ib, term.indices, wanted)

    def _leaf(self, factor: Factor, x: Array, kept: frozenset[int]) -> _Indexed:
        x, indices = self._diagonal(*self._flat(factor.axes, x))
        summed = tuple(at for at, index in enumerate(indices) if index not in kept)
        if not summed:
            return x, indices
        x = lax.reduce_sum(x.astype(self.form.dtype), summed)
        return x, tuple(index for index in indices if index in kept)

    def _flat(self, axes: tuple[Axis, ...], x: Array) -> _Indexed:
        """Returns an array with one axis for each index."""
        indices = tuple(index for axis in axes for index in axis)
        shape = tuple(self.form.sizes[index] for index in indices)
        return (x if x.shape == shape else x.reshape(shape)), indices

    def _diagonal(self, x: Array, indices: tuple[int, ...]) -> _Indexed:
        """Returns an array without second axes of one index: with the diagonals along them."""
        for index in dict.fromkeys(indices):
            while indices.count(index) > 1:
                first = indices.index(index)
                second = indices.index(index, first + 1)
                rest = [at for at in range(len(indices)) if at not in (first, second)]
                order = [*rest, first, second]
                x = lax.transpose(x, order) if order != sorted(order) else x
                n = self.form.sizes[index]
                x = x.reshape(*(x.shape[:-2]), n * n)
                x = lax.slice_in_dim(x, 0, n * n, n + 1, axis=-1)
                indices = (*(indices[at] for at in rest), index)
        return x, indices

    def _pair(
        self, a: Array, ia: tuple[int, ...], b: Array, ib: tuple[int, ...], kept: frozenset[int], wanted: Sequence[int]
    ) -> _Indexed:
        summed = [i for i in ia if i not in kept]
        shared = [i for i in ia if i in kept and i in ib]
        free_a = [i for i in ia if i not in ib]
        free_b = [i for i in ib if i not in ia]
        if summed and (free_a or free_b):
            if self._is_swapped(ia, ib, free_a, free_b, wanted):
                a, ia, b, ib, free_a, free_b = b, ib, a, ia, free_b, free_a
            numbers = (
                (tuple(ia.index(i) for i in summed), tuple(ib.index(i) for i in summed)),
                (tuple(ia.index(i) for i in shared), tuple(ib.index(i) for i in shared)),
            )
            return self._dot(a, b, numbers), (*shared, *free_a, *free_b)
        if summed and not shared and ia == ib:
            return self._dot(a.reshape(-1), b.reshape(-1), (((0,), (0,)), ((), ()))), ()
        return self._product(a, ia, b, ib, summed, wanted)

    def _is_swapped(
        self,
        ia: tuple[int, ...],
        ib: tuple[int, ...],
        free_a: Sequence[int],
        free_b: Sequence[int],
        wanted: Sequence[int],
    ) -> bool:
        """Whether the second operand had better be the first: as the result wants it, or as products are fast."""
        places = [[wanted.index(i) for i in free if i in wanted] for free in (free_a, free_b)]
        if all(places) and len(places[0]) == len(free_a) and len(places[1]) == len(free_b):
            return min(places[1]) < min(places[0])
        return ia[-1] not in ib and ib[-1] in ia

    def _dot(self, a: Array, b: Array, numbers: Any) -> Array:
        wide = self.form.dtype
        if a.dtype != b.dtype or not _fits(a.dtype, wide):
            a, b = a.astype(wide), b.astype(wide)
        return lax.dot_general(a, b, numbers, precision=self.precision, preferred_element_type=wide)

    def _product(
        self,
        a: Array,
        ia: tuple[int, ...],
        b: Array,
        ib: tuple[int, ...],
        summed: Sequence[int],
        wanted: Sequence[int],
    ) -> _Indexed:
        """Returns the product element by element, summed over `summed`."""
        union = [*ia, *(i for i in ib if i not in ia)]
        union.sort(key=lambda i: wanted.index(i) if i in wanted else len(wanted))
        wide = self.form.dtype
        x = _aligned(a.astype(wide), ia, union) * _aligned(b.astype(wide), ib, union)
        axes = tuple(at for at, i in enumerate(union) if i in summed)
        if axes:
            x = lax.reduce_sum(x, axes)
        return x, tuple(i for i in union if i not in summed)


def _aligned(x: Array, indices: tuple[int, ...], union: Sequence[int]) -> Array:
    """Returns an array with an axis for each index in `union`, of size 1 for those that it lacks."""
    order = [indices.index(i) for i in union if i in indices]
    x = lax.transpose(x, order) if order != sorted(order) else x
    return lax.expand_dims(x, [at for at, i in enumerate(union) if i not in indices])


def _fits(narrow: Any, wide: Any) -> bool:
    """Whether products of a type may be added up in another, as `preferred_element_type` says it."""
    return narrow == wide or (jnp.issubdtype(wide, np.floating) and keeps_floats(narrow, wide))
