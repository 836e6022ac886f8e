"""Values as sums of products: which parts of an array vary along which of its axes.

`x[:, None] - y[None]` is a big array of two small terms. What is a sum over products of such arrays can be summed
term by term, and then the big array is never made. `Terms` finds the terms, looking through broadcasts, transposes,
reshapes by axes of size 1, scalings and conversions; every factor of a term keeps the rank of the value that it was
found in, with size 1 along the axes on which it does not depend.
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from memline.analysis.spelling import keeps_floats
from memline.ir.build import Builder
from memline.ir.graph import Graph, Op, Source, Value
from memline.rewrites.contraction import contraction_of, summed
from memline.rewrites.match import Axes, operand_axes

_DEPTH = 24
"""Nodes that are looked through, one behind another."""
_MOST_TERMS, _MOST_FACTORS = 8, 4
ELEMENTWISE = frozenset(
    "abs add convert_element_type cos div exp exp2 expm1 integer_pow log log1p logistic max min mul neg pow rsqrt sign "
    "sin sqrt square sub tanh".split()
)
"""Elementwise primitives that are written again on smaller operands."""


@dataclass(frozen=True)
class Term:
    """A number times a product of arrays that broadcast against each other."""

    scale: float
    factors: tuple[Value, ...]

    def times(self, other: Term) -> Term:
        return Term(self.scale * other.scale, self.factors + other.factors)


class Terms:
    """Finds the terms of values of one scope.

    Args:
      scope: the graph that the values are in.
      builder: takes the nodes that make the factors.
      source: the user's line that these nodes stand for.
      wide: whether factors of single precision become ones of double precision. Those of half precision become ones
        of single precision in any case.
    """

    def __init__(self, scope: Graph, builder: Builder, source: Source | None, *, wide: bool) -> None:
        self._scope = scope
        self._builder = builder
        self._source = source
        self._wide = wide
        self._narrow: dict[Value, Value] = {}
        self._terms: dict[Value, tuple[int, tuple[Term, ...]]] = {}

    def of(self, v: Value, depth: int = 0) -> tuple[Term, ...]:
        """Returns the terms that sum to a value; one alone, with the value itself, where nothing is known of it."""
        seen_at, known = self._terms.get(v, (_DEPTH + 1, ()))
        if depth < seen_at:  # else it was found with as many nodes left to look through
            known = self._found(v, depth)
            self._terms[v] = depth, known
        return known

    def _found(self, v: Value, depth: int) -> tuple[Term, ...]:
        op = self._maker(v, depth)
        found = None
        if op is not None and op.kind in _EXPANDERS:
            found = _EXPANDERS[op.kind](self, op, depth + 1)
        if found is None or len(found) > _MOST_TERMS or any(len(t.factors) > _MOST_FACTORS for t in found):
            return (Term(1.0, (self._working(self.narrow(v, depth)),)),)
        return merged(found)

    def narrow(self, v: Value, depth: int = 0) -> Value:
        """Returns a value with size 1 along the axes along which all its elements are equal, as far as that is seen."""
        if v not in self._narrow:
            self._narrow[v] = self._narrowed(v, depth)
        return self._narrow[v]

    def written(self, fun: Callable[..., Any], *operands: Value) -> Value:
        """Writes a function of values, and returns its one result."""
        with jax.enable_x64(True) if self._wide else contextlib.nullcontext():
            (result,) = self._builder.call(fun, *operands, source=self._source)
        return result

    def working_type(self, dtype: Any) -> Any:
        """Returns the type in which numbers of a type are computed with."""
        if jnp.issubdtype(dtype, np.floating) and jnp.finfo(dtype).bits < 32:
            dtype = np.dtype(np.float32)
        return np.dtype(np.float64) if self._wide and dtype == np.float32 else dtype

    def _working(self, v: Value) -> Value:
        dtype = self.working_type(v.dtype)
        return v if dtype == v.dtype else self.written(lambda a: a.astype(dtype), v)

    def _maker(self, v: Value, depth: int) -> Op | None:
        op = self._scope.producer.get(v)
        return op if isinstance(op, Op) and depth < _DEPTH and not op.effects else None

    def _narrowed(self, v: Value, depth: int) -> Value:
        op = self._maker(v, depth)
        if op is None or v.ndim == 0:
            return v
        if op.kind in ("broadcast_in_dim", "transpose", "reshape"):
            axes = _axes_of(op)
            if axes is None:
                return v
            return self._placed(self.narrow(op.inputs[0], depth + 1), axes, v)
        if op.kind in ELEMENTWISE:
            operands = [self.narrow(x, depth + 1) for x in op.inputs]
            shape = np.broadcast_shapes(*(x.shape for x in operands))
            if shape != v.shape and len(shape) == v.ndim:
                return self.written(lambda *xs: _again(op, xs, shape), *operands)
        return v

    def _placed(self, x: Value, axes: Axes, like: Value) -> Value:
        """Returns `x` in the rank of `like`, its axis k at `axes[k]`; `like` itself where that is all of it."""
        places = {axis: k for k, axis in enumerate(axes) if axis is not None}
        shape = tuple(x.shape[places[axis]] if axis in places else 1 for axis in range(like.ndim))
        order = [places[axis] for axis in sorted(places)]
        dropped = [k for k, axis in enumerate(axes) if axis is None]  # of size 1
        if shape == like.shape:
            return like
        if x.shape == shape and order == list(range(x.ndim)):
            return x
        return self.written(lambda a: lax.transpose(a, (*dropped, *order)).reshape(shape), x)

    # What follows reads one primitive each: the terms of its result, or None where they are of no use.

    def _moved(self, op: Op, depth: int) -> tuple[Term, ...] | None:
        axes = _axes_of(op)
        if axes is None:
            return None
        (result,) = op.outputs
        found = self.of(op.inputs[0], depth)
        if len(found) == 1 and len(found[0].factors) == 1:
            return None
        return tuple(
            Term(t.scale, tuple(f if f.ndim == 0 else self._placed(f, axes, result) for f in t.factors)) for t in found
        )

    def _negated(self, op: Op, depth: int) -> tuple[Term, ...]:
        return tuple(Term(-t.scale, t.factors) for t in self.of(op.inputs[0], depth))

    def _converted(self, op: Op, depth: int) -> tuple[Term, ...] | None:
        old, new = op.inputs[0].dtype, op.outputs[0].dtype
        is_wider = keeps_floats(old, new)
        if not is_wider:
            return None
        return self.of(op.inputs[0], depth) if self.working_type(old) == self.working_type(new) else None

    def _added(self, op: Op, depth: int) -> tuple[Term, ...] | None:
        """The two terms of `p + q` or `p - q`, where neither is an array of the size of the other's result.

        Both are moved by the mean of one of them, so that a common offset does not drown their difference.
        """
        (result,) = op.outputs
        # Asked first, for most sums are of two arrays of full size, and to look for their terms is slow.
        if any(self.narrow(x, depth).shape == result.shape for x in op.inputs):
            return None
        sign = -1.0 if op.kind == "sub" else 1.0
        left, right = (self._single(x, depth) for x in op.inputs)
        if left is None or right is None or not jnp.issubdtype(result.dtype, np.floating):
            return None
        (p, q), scales = (left[1], right[1]), (left[0], sign * right[0])
        if p.ndim != q.ndim or result.shape in (p.shape, q.shape):
            return None
        if q.size_bytes > p.size_bytes:  # the mean is taken over the smaller
            return self._centred(scales[1], q, scales[0], p)
        return self._centred(scales[0], p, scales[1], q)

    def _single(self, v: Value, depth: int) -> tuple[float, Value] | None:
        """Returns the number and the array whose product a value is, or None for more terms or factors."""
        terms = list(self.of(v, depth))
        if len(terms) != 1 or len(terms[0].factors) != 1 or not terms[0].scale:
            return None
        return terms[0].scale, terms[0].factors[0]

    def _centred(self, scale_p: float, p: Value, scale_q: float, q: Value) -> tuple[Term, Term]:
        axes = tuple(a for a in range(p.ndim) if q.shape[a] > 1 and p.shape[a] == 1)
        mean = self.written(lambda a: finite_mean(a, axes), q)
        ratio = scale_q / scale_p
        moved_p = self.written(lambda a, c: a + jnp.asarray(ratio, c.dtype) * c, p, mean)
        moved_q = self.written(lambda a, c: a - c, q, mean)
        return Term(scale_p, (moved_p,)), Term(scale_q, (moved_q,))

    def _multiplied(self, op: Op, depth: int) -> tuple[Term, ...] | None:
        if not jnp.issubdtype(op.outputs[0].dtype, np.floating):
            return None
        left, right = (self._factor(x, depth) for x in op.inputs)
        return tuple(a.times(b) for a in left for b in right)

    def _factor(self, v: Value, depth: int) -> tuple[Term, ...]:
        number = scalar(v)
        return self.of(v, depth) if number is None else (Term(number, ()),)

    def _divided(self, op: Op, depth: int) -> tuple[Term, ...] | None:
        if not jnp.issubdtype(op.outputs[0].dtype, np.floating):
            return None
        number, found = scalar(op.inputs[1]), self.of(op.inputs[0], depth)
        if number is not None:
            return tuple(Term(t.scale / number, t.factors) for t in found) if number else None
        by = self._working(self.narrow(op.inputs[1], depth))
        result = []
        for term in found:
            at = next((k for k, f in enumerate(term.factors) if f.ndim and _covers(f, by)), None)
            if at is None:
                return None
            quotient = self.written(jnp.divide, term.factors[at], by)
            result.append(Term(term.scale, (*term.factors[:at], quotient, *term.factors[at + 1 :])))
        return tuple(result)

    def _mapped(self, op: Op, depth: int) -> tuple[Term, ...] | None:
        """The terms of a product with a matrix, which maps each term by itself."""
        found = [self.of(x, depth) for x in op.inputs]
        sums = [k for k, terms in enumerate(found) if len(terms) > 1]
        if len(sums) != 1 or any(len(t.factors) != 1 for terms in found for t in terms):
            return None
        whole = contraction_of(op)
        return tuple(
            Term(
                a.scale * b.scale,
                (self.written(functools.partial(summed, whole, whole.labels, 1.0), *a.factors, *b.factors),),
            )
            for a in found[0]
            for b in found[1]
        )

    def _squared(self, op: Op, depth: int) -> tuple[Term, ...] | None:
        if op.kind == "integer_pow" and op.params["y"] != 2:
            return None
        base = self.base_of_square(op)
        if base is None:
            return None
        found = self.of(base, depth)
        return tuple(a.times(b) for a in found for b in found)

    def base_of_square(self, op: Op) -> Value | None:
        """Returns the x of which an op is x * x, written in whichever way; None for other ops and types."""
        is_product = op.kind == "mul" and op.inputs[0] is op.inputs[1]
        is_power = op.kind == "square" or (op.kind == "integer_pow" and op.params["y"] == 2)
        base = op.inputs[0]
        if not (is_product or is_power) or not jnp.issubdtype(base.dtype, np.floating):
            return None
        inner = self._scope.producer.get(base)
        return inner.inputs[0] if isinstance(inner, Op) and inner.kind == "abs" else base


def merged(terms: Sequence[Term]) -> tuple[Term, ...]:
    """Returns the terms with those of equal factors as one."""
    scales: dict[tuple[Value, ...], float] = {}
    for term in terms:
        factors = tuple(sorted(term.factors, key=lambda f: f.name))
        scales[factors] = scales.get(factors, 0.0) + term.scale
    return tuple(Term(scale, factors) for factors, scale in scales.items())


def scalar(v: Value) -> float | None:
    """Returns the number that a constant of rank 0 is, or None."""
    return float(np.asarray(v.const)) if v.is_const and v.ndim == 0 else None


def finite_mean(x: Any, axes: tuple[int, ...]) -> Any:
    """Returns the mean over some axes, kept with size 1; 0 where it is not a number.

    A point at infinity, as padding often is, must not move the others there.
    """
    mean = jnp.mean(x, axes, keepdims=True)
    return jnp.where(jnp.isfinite(mean), mean, jnp.zeros_like(mean))


def _covers(f: Value, by: Value) -> bool:
    """Whether an array varies along all the axes along which another does."""
    return by.ndim == 0 or (f.ndim == by.ndim and all(s == 1 or f.shape[a] == s for a, s in enumerate(by.shape)))


def _again(op: Op, operands: Sequence[Any], shape: tuple[int, ...]) -> Any:
    wide = [jnp.broadcast_to(x, shape) if x.ndim else x for x in operands]
    return op.primitive.bind(*wide, **op.params)


def _axes_of(op: Op) -> Axes | None:
    """Returns where each axis of an op's operand is in its result, None for one of size 1 that is gone; or None."""
    return operand_axes(op, tuple(range(op.outputs[0].ndim)))


_EXPANDERS: dict[str, Callable[[Terms, Op, int], tuple[Term, ...] | None]] = {
    "broadcast_in_dim": Terms._moved,
    "transpose": Terms._moved,
    "reshape": Terms._moved,
    "neg": Terms._negated,
    "convert_element_type": Terms._converted,
    "add": Terms._added,
    "sub": Terms._added,
    "mul": Terms._multiplied,
    "div": Terms._divided,
    "dot_general": Terms._mapped,
    "integer_pow": Terms._squared,
    "square": Terms._squared,
}
