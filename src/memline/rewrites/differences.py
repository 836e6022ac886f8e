"""Sums over products of differences, distributed: squared distances without the differences, and their gradients.

    sum_k (x_ik - y_jk)^2 = sum_k x_ik^2 + sum_k y_jk^2 - 2 sum_k x_ik y_jk
    sum_j w_ij (x_ik - y_jk) = x_ik sum_j w_ij - sum_j w_ij y_jk

The left sides make an array over i, j and k; the right sides are matrix products. They cancel, which the left sides
do not, so both clouds of points are moved by the mean of one of them first. With p = x - mean(y) and q = y - mean(y)
every |p_i|^2 and |q_j|^2 is at most 4 times the largest distance squared, and |p_i|^2 + |q_j|^2 at most 5 times: so the
error, relative to the largest distance squared, is bounded whatever the data is and wherever it lies. Where what reads
the result magnifies errors of small distances, as a root or an exponential does, that is not enough, and the products
are computed in double precision.

Rounding errors are taken to grow with the root of the number of terms (N. J. Higham and T. Mary, "A new approach to
probabilistic rounding error analysis", SIAM J. Sci. Comput. 41(5), 2019).
"""

from __future__ import annotations

import functools
import math
import operator
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
import opt_einsum

from memline.ir.build import Builder
from memline.ir.graph import Graph, Op, Value
from memline.rewrites.contraction import Contraction, Labels, contraction_of, summed
from memline.rewrites.rule import Rewriting, approximate, rule
from memline.rewrites.terms import Term, Terms

_SPREAD = 5.0
"""The largest |p_i|^2 + |q_j|^2, in units of the largest |p_i - q_j|^2, where the q_j have mean 0."""
_PASSES = frozenset("add broadcast_in_dim convert_element_type copy max mul neg reshape squeeze sub transpose".split())
"""What hands an error on as it is, relative to the largest element."""
_ROOTS = frozenset("rsqrt sqrt".split())
_STEEP = frozenset("cond custom_linear_solve div exp exp2 expm1 log log1p logistic loop pow tanh while".split())
_STEEPNESS = 1e5
"""By how much what is steep may magnify an error, or a sum lose by cancellation."""


@rule("differences", approximate(), "reduce_sum", "dot_general")
def differences(scope: Graph, node: Op) -> Rewriting | None:
    """sum_k (x_ik - y_jk)^2 = sum_k x_ik^2 - 2 sum_k x_ik y_jk + sum_k y_jk^2, and sum_j w_ij (x_ik - y_jk) alike."""
    return _distributed(scope, node, wide=False)


@rule("differences_wide", approximate(), "reduce_sum", "dot_general")
def differences_wide(scope: Graph, node: Op) -> Rewriting | None:
    """As `differences`, with products of single precision in double: for what a root or an exponential reads."""
    return _distributed(scope, node, wide=True) if node.inputs[0].dtype == np.float32 else None


@dataclass(frozen=True)
class _Product:
    """A number times arrays; each array with the labels of its axes."""

    scale: float
    factors: tuple[tuple[Value, Labels], ...]

    def times(self, term: Term, labels: Labels) -> _Product:
        factors = (*self.factors, *((f, labels if f.ndim else ()) for f in term.factors))
        return _Product(self.scale * term.scale, tuple(sorted(factors, key=lambda f: (f[0].name, f[1]))))

    @property
    def arrays(self) -> tuple[Value, ...]:
        return tuple(f for f, _ in self.factors)

    @property
    def labels(self) -> tuple[Labels, ...]:
        return tuple(labels for _, labels in self.factors)

    @property
    def is_square(self) -> bool:
        return len(self.factors) == 2 and self.factors[0] == self.factors[1]


def _distributed(scope: Graph, node: Op, *, wide: bool) -> Rewriting | None:
    (value,) = node.outputs
    if not jnp.issubdtype(value.dtype, np.floating):
        return None
    whole = contraction_of(node)
    if whole.size == 0 or math.prod(value.shape) >= max(math.prod(v.shape) for v in whole.operands):
        return None
    builder = Builder(f"{value.name}.{'w' if wide else 'd'}")
    terms = Terms(scope, builder, node.source, wide=wide)
    products = [_Product(1.0, ())]
    for operand, labels in zip(whole.operands, whole.labels, strict=True):
        found = terms.of(operand)
        products = [product.times(term, labels) for product in products for term in found]
    products = _merged(products)
    if len(products) < 2 or not all(_is_smaller(product, whole) for product in products):
        return None
    is_distance = _is_sum_of_squares(scope, node, terms)
    parts = [
        terms.written(functools.partial(summed, whole, product.labels, product.scale), *product.arrays)
        for product in products
    ]
    squares = [part for part, product in zip(parts, products, strict=True) if is_distance and product.is_square]
    others = [part for part in parts if part not in squares]
    replacement = terms.written(functools.partial(_total, len(squares), value), *squares, *others)
    bound = _bound(whole, terms.working_type(value.dtype))
    bound = _magnified(scope, value, bound) if is_distance else bound * _STEEPNESS
    return Rewriting(value, tuple(builder.nodes), replacement, tag=approximate(bound))


def _merged(products: Sequence[_Product]) -> list[_Product]:
    scales: dict[Any, float] = {}
    for product in products:
        scales[product.factors] = scales.get(product.factors, 0.0) + product.scale
    return [_Product(scale, factors) for factors, scale in scales.items()]


def _is_smaller(product: _Product, whole: Contraction) -> bool:
    """Whether a product can be summed without an array as large as what was summed before."""
    if not product.factors or any(math.prod(f.shape) >= whole.size for f, _ in product.factors):
        return False
    if len(product.factors) < 3:
        return True
    kept = [
        {label: size for label, size in zip(labels, f.shape, strict=True) if size > 1} for f, labels in product.factors
    ]
    subscripts = ",".join("".join(map(opt_einsum.get_symbol, sizes)) for sizes in kept)
    out = "".join(opt_einsum.get_symbol(label) for label in whole.out if any(label in sizes for sizes in kept))
    shapes = [tuple(sizes.values()) for sizes in kept]
    _, told = opt_einsum.contract_path(f"{subscripts}->{out}", *shapes, shapes=True, optimize="optimal")
    return told.largest_intermediate < whole.size


def _total(n_squares: int, value: Value, *parts: Any) -> Any:
    """Returns the sum of all parts. A sum of squares is not below 0, and infinite for a point at infinity."""
    total = functools.reduce(operator.add, parts)
    if n_squares:
        squares = functools.reduce(operator.add, parts[:n_squares])
        total = jnp.where(jnp.isfinite(squares), jnp.maximum(total, 0), squares)
    return jnp.broadcast_to(total, value.shape).astype(value.dtype)


def _is_sum_of_squares(scope: Graph, node: Op, terms: Terms) -> bool:
    if node.kind == "dot_general":
        (left_sum, right_sum), (left_batch, right_batch) = node.params["dimension_numbers"]
        is_all = len(left_sum) + len(left_batch) == node.inputs[0].ndim
        return node.inputs[0] is node.inputs[1] and is_all and (left_sum, left_batch) == (right_sum, right_batch)
    maker = scope.producer.get(node.inputs[0])
    while isinstance(maker, Op) and maker.kind == "convert_element_type":
        maker = scope.producer.get(maker.inputs[0])
    return isinstance(maker, Op) and terms.base_of_square(maker) is not None


def _bound(whole: Contraction, dtype: Any) -> float:
    """Returns the error of distributed squares in a type, relative to the largest result."""
    unit = float(jnp.finfo(dtype).eps) / 2
    return _SPREAD * (2 * math.sqrt(whole.summed) + 3) * unit


def _magnified(scope: Graph, value: Value, bound: float) -> float:
    """Returns what becomes of a bound in what reads a value, directly or through what hands errors on."""
    worst, seen, todo = bound, {value}, [value]
    while todo:
        for reader, _ in scope.consumers.get(todo.pop(), ()):
            if reader.kind in _ROOTS:
                worst = max(worst, math.sqrt(bound))
            elif reader.kind in _STEEP:
                worst = max(worst, bound * _STEEPNESS)
            elif reader.kind in _PASSES:
                todo += [v for v in reader.outputs if v not in seen]
                seen.update(reader.outputs)
    return worst
