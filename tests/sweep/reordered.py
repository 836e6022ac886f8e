"""The same program with each sum taken in an order of its own: what a difference of sums is uncertain by.

Neither wider types nor nudged arguments show that where two sums cancel that are rounded alike: their difference is 0
then, and is a unit of the sums' last places as soon as one of them is rounded otherwise.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend import core

from memline import compat


def reordered(fun: Callable[..., Any], strides: tuple[int, ...]) -> Callable[..., Any]:
    """Returns a function with each sum, also of products, taken as the sum of interleaved ones.

    Args:
      fun: the function.
      strides: into how many sums they are taken apart, one after the other, and again from the first. Sums in the
        bodies of loops and branches are left as they are.
    """

    def run(*args: Any) -> Any:
        closed, shapes = jax.make_jaxpr(fun, return_shape=True)(*args)
        results = _evaluated(closed.jaxpr, closed.consts, jax.tree.leaves(args), itertools.cycle(strides))
        return jax.tree.unflatten(jax.tree.structure(shapes), results)

    return run


def _evaluated(jaxpr: Any, consts: Sequence[Any], args: Sequence[Any], strides: Iterator[int]) -> list[Any]:
    values = dict(zip((*jaxpr.constvars, *jaxpr.invars), (*consts, *args), strict=True))

    def read(atom: Any) -> Any:
        return atom.val if isinstance(atom, core.Literal) else values[atom]

    for eqn in jaxpr.eqns:
        operands = [read(v) for v in eqn.invars]
        inner = eqn.params.get("jaxpr")
        if eqn.primitive.name in ("jit", "pjit") and isinstance(inner, core.ClosedJaxpr):
            results = _evaluated(inner.jaxpr, inner.consts, operands, strides)
        elif eqn.primitive.name == "reduce_sum" and eqn.params["axes"]:
            results = [_sum(eqn, operands[0], next(strides))]
        elif eqn.primitive.name == "dot_general" and eqn.params["dimension_numbers"][0][0]:
            results = [_dot(eqn, operands, next(strides))]
        else:
            results = compat.bind(eqn.primitive, eqn.params, operands, eqn.ctx)
        values.update(zip(eqn.outvars, results, strict=True))
    return [read(v) for v in jaxpr.outvars]


def _sum(eqn: Any, x: Any, stride: int) -> Any:
    axis = max(eqn.params["axes"], key=lambda a: x.shape[a])
    parts = [eqn.primitive.bind(_every(x, axis, k, stride), **eqn.params) for k in range(stride)]
    return _added(parts)


def _dot(eqn: Any, operands: Sequence[Any], stride: int) -> Any:
    (left, right), _ = eqn.params["dimension_numbers"]
    a, b = operands
    parts = [
        eqn.primitive.bind(_every(a, left[0], k, stride), _every(b, right[0], k, stride), **eqn.params)
        for k in range(stride)
    ]
    return _added(parts)


def _every(x: Any, axis: int, first: int, stride: int) -> Any:
    return lax.slice_in_dim(x, min(first, x.shape[axis]), x.shape[axis], stride, axis)


def _added(parts: Sequence[Any]) -> Any:
    total = parts[0]
    for part in parts[1:]:
        total = jnp.add(total, part)
    return total
