"""How partial results over chunks of a folded axis are merged.

A fold is three plain JAX functions: what the accumulators are before the first chunk, how one chunk
updates them, and how the op's results come from them in the end. The first may use the operands that
the dim does not cut (a scatter starts from the array it updates). Chunks come in order and without
gaps. Sums of half-precision values are carried in float32, so that cutting an axis into many pieces
costs no accuracy.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from memline import compat
from memline.ir.graph import Op

Arrays = Sequence[Any]


@dataclass(frozen=True)
class Fold:
    """How one kind of folded dim merges; `op` is the whole op in `init` and `finish`, the cut one in `step`."""

    init: Callable[[Op, Arrays], Arrays]
    """(whole op, operands: None where cut, whole otherwise) -> accumulators"""
    step: Callable[[Op, Any, Arrays, Arrays], Arrays]
    """(cut op, index of the chunk's first element, accumulators, operands: chunks where cut) -> accumulators"""
    finish: Callable[[Op, Arrays], Arrays]
    """(whole op, accumulators) -> results"""
    combine: Any = None
    """The primitive that merges an accumulator with a chunk's result, where `step` does only that."""


_folds: dict[str, Fold] = {}


def register(name: str, fold: Fold) -> None:
    """Adds a fold to the table under the name that `Dim.fold` uses."""
    if name in _folds:
        raise ValueError(f"fold {name} exists already")
    _folds[name] = fold


def fold_named(name: str) -> Fold:
    """Returns the fold of that name."""
    return _folds[name]


def apply_op(op: Op, operands: Arrays) -> list[Any]:
    """Computes an op on arrays or tracers."""
    return compat.bind(op.primitive, op.params, operands, op.context)


def wide_dtype(dtype: Any) -> Any:
    """Returns the dtype in which sums of `dtype` are carried."""
    if jnp.issubdtype(dtype, np.floating) and np.dtype(dtype).itemsize < 4:
        return np.dtype(np.float32)
    return dtype


def lowest(dtype: Any) -> Any:
    """Returns the identity of `max` for a dtype."""
    if dtype == np.bool_:
        return False
    if not jnp.issubdtype(dtype, np.inexact):
        return jnp.iinfo(dtype).min
    return -np.inf if _has_infinity(dtype) else jnp.finfo(dtype).min


def highest(dtype: Any) -> Any:
    """Returns the identity of `min` for a dtype."""
    if dtype == np.bool_:
        return True
    if not jnp.issubdtype(dtype, np.inexact):
        return jnp.iinfo(dtype).max
    return np.inf if _has_infinity(dtype) else jnp.finfo(dtype).max


def _has_infinity(dtype: Any) -> bool:
    """Tells whether a floating dtype can hold infinity; some of 8 bits make NaN of it."""
    return not np.isnan(np.asarray(np.inf).astype(dtype).astype(np.complex64))


def _elementwise(combine: Any, identity: Callable[[Any], Any]) -> Fold:
    def init(op: Op, whole: Arrays) -> Arrays:
        return [jnp.full(v.shape, identity(v.dtype), v.dtype) for v in op.outputs]

    def step(op: Op, start: Any, accs: Arrays, operands: Arrays) -> Arrays:
        return [combine.bind(a, b) for a, b in zip(accs, apply_op(op, operands), strict=True)]

    return Fold(init, step, lambda op, accs: accs, combine)


def _sum_init(op: Op, whole: Arrays) -> Arrays:
    return [jnp.zeros(v.shape, wide_dtype(v.dtype)) for v in op.outputs]


def _sum_step(op: Op, start: Any, accs: Arrays, operands: Arrays) -> Arrays:
    return [a + b.astype(a.dtype) for a, b in zip(accs, apply_op(op, operands), strict=True)]


def _sum_finish(op: Op, accs: Arrays) -> Arrays:
    return [a.astype(v.dtype) for a, v in zip(accs, op.outputs, strict=True)]


def _dot_step(op: Op, start: Any, accs: Arrays, operands: Arrays) -> Arrays:
    params = {**op.params, "preferred_element_type": np.dtype(accs[0].dtype)}
    wide = Op(op.primitive, params, op.inputs, op.outputs, op.source, op.context)
    return [accs[0] + apply_op(wide, operands)[0]]


def _extreme_fold(better: Callable[[Any, Any], Any], worst: Callable[[Any], Any]) -> Fold:
    """argmax and argmin: the first index of the best value, NaN counting as better than any number."""

    def init(op: Op, whole: Arrays) -> Arrays:
        (x,), (index,) = op.inputs, op.outputs
        return [
            jnp.full(index.shape, worst(x.dtype), x.dtype),
            jnp.zeros(index.shape, index.dtype),
        ]

    def step(op: Op, start: Any, accs: Arrays, operands: Arrays) -> Arrays:
        best, best_index = accs
        (x,) = operands
        (axis,) = op.params["axes"]
        (index,) = apply_op(op, operands)
        found = jnp.squeeze(jnp.take_along_axis(x, jnp.expand_dims(index, axis), axis=axis, mode="clip"), axis)
        replaces = better(found, best)
        if jnp.issubdtype(x.dtype, np.inexact):
            replaces = (replaces & ~jnp.isnan(best)) | (jnp.isnan(found) & ~jnp.isnan(best))
        # The first chunk always replaces, so that an array of only the worst value gives index 0.
        replaces = replaces | (start == 0)
        moved = index + jnp.asarray(start, index.dtype)
        return [jnp.where(replaces, found, best), jnp.where(replaces, moved, best_index)]

    return Fold(init, step, lambda op, accs: accs[1:])


register("sum", Fold(_sum_init, _sum_step, _sum_finish, lax.add_p))
register("dot", Fold(_sum_init, _dot_step, _sum_finish, lax.add_p))
register("max", _elementwise(lax.max_p, lowest))
register("min", _elementwise(lax.min_p, highest))
register("prod", _elementwise(lax.mul_p, lambda dtype: 1))
register("and", _elementwise(lax.and_p, lambda dtype: True if dtype == np.bool_ else -1))
register("or", _elementwise(lax.or_p, lambda dtype: 0))
register("xor", _elementwise(lax.xor_p, lambda dtype: 0))
register("argmax", _extreme_fold(lambda a, b: a > b, lowest))
register("argmin", _extreme_fold(lambda a, b: a < b, highest))
