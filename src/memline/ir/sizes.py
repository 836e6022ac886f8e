"""How much all values of a traced program take together: a bound that needs no planning."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from memline import compat


def all_values_bytes(closed: Any) -> int:
    """Returns the bytes of every value in a closed jaxpr, added: arguments, constants and what each equation makes.

    Values inside loops and branches count once, for a loop holds those of one step. However badly a compiler reuses
    memory, it needs no more than that for values; scratch memory of libraries comes on top.

    >>> import jax, jax.numpy as jnp
    >>> all_values_bytes(jax.make_jaxpr(lambda x: (x + 1) * 2)(jnp.zeros(10)))
    120
    """
    constants = sum(_size_bytes(compat.aval_of(const)) for const in closed.consts if hasattr(const, "shape"))
    return constants + _open_bytes(closed.jaxpr)


def _open_bytes(jaxpr: Any) -> int:
    total = sum(_size_bytes(var.aval) for var in jaxpr.invars)
    for equation in jaxpr.eqns:
        total += sum(_size_bytes(var.aval) for var in equation.outvars)
        total += sum(_inner_bytes(value) for value in equation.params.values())
    return total


def _inner_bytes(param: Any) -> int:
    return sum(
        all_values_bytes(inner) if isinstance(inner, compat.ClosedJaxpr) else _open_bytes(inner)
        for inner in _jaxprs(param)
    )


def _jaxprs(param: Any) -> Iterator[Any]:
    if isinstance(param, compat.ClosedJaxpr | compat.Jaxpr):
        yield param
    elif isinstance(param, list | tuple):
        for part in param:
            yield from _jaxprs(part)


def _size_bytes(aval: Any) -> int:
    shape, dtype = getattr(aval, "shape", None), getattr(aval, "dtype", None)
    return 0 if shape is None or dtype is None else math.prod(shape) * compat.itemsize_bytes(dtype)
