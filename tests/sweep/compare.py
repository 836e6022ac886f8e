"""Whether two results of one program are the same: bit by bit, or no further apart than rounding explains."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core

_ROUNDINGS, _NARROW_ROUNDINGS = 60, 4
"""Units in the last place, of the largest element of a result, that sums in another order may differ by.

The second is for types of 16 bits and less, of which 60 units are half the number: what is not as near as that is
left to the referees.
"""

Referee = Callable[[], list[Any]]
"""Computes results of the same program, differently rounded: in float64, nudged, op by op."""


def coarsest(jaxpr: Any) -> float:
    """Returns the largest unit of rounding of the types that a program computes in, with those inside its bodies.

    A compiler leaves out roundings to narrow types where it can, in one program otherwise than in another.
    """
    units = [_unit(v.aval.dtype) for eqn in jaxpr.eqns for v in eqn.outvars if hasattr(v.aval, "dtype")]
    inner = [coarsest(body) for eqn in jaxpr.eqns for body in core.jaxprs_in_params(eqn.params)]
    return max([*units, *inner], default=0.0)


def turns_open(jaxpr: Any) -> bool:
    """Whether a program has loops, or loops in its bodies, that its numbers end: in other types they may never end."""
    return any(
        eqn.primitive.name == "while" or any(map(turns_open, core.jaxprs_in_params(eqn.params))) for eqn in jaxpr.eqns
    )


def differences(found: Any, expected: Any, referees: Callable[[], list[Any]], unit: float = 0.0) -> str | None:
    """Returns what is wrong with `found`, or None.

    Args:
      found: the results.
      expected: those of plain `jit`.
      referees: computes results of the same program, differently rounded.
      unit: the coarsest unit of rounding that the program computes with, where that is not that of the results.

    Shapes, dtypes and weak types must be equal, NaNs and infinities at the same places. Integers and flags
    must be equal and floats near. Where they are not, the other roundings that `referees` computes say
    whether the program decides there at all: a place where they disagree with what plain `jit` found is
    no place to be judged by more than they differ.
    """
    if jax.tree.structure(found) != jax.tree.structure(expected):
        return f"trees differ: {jax.tree.structure(found)} and {jax.tree.structure(expected)}"
    pairs = list(zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True))
    others: list[Any] | None = None
    for index, (a, b) in enumerate(pairs):
        kind_a, kind_b = _type(a), _type(b)
        if kind_a != kind_b:
            return f"result {index} is {kind_a}, not {kind_b}"
        x, y = _numbers(a), _numbers(b)
        wrong = _apart(x, y, b.dtype, None, unit)
        if not wrong.any():
            continue
        if others is None:
            others = [jax.tree.leaves(other) for other in referees()]
        wrong = _apart(x, y, b.dtype, [_numbers(other[index]) for other in others], unit)
        if wrong.any():
            place = tuple(int(k) for k in np.argwhere(wrong)[0])
            return f"result {index} at {place}: {x[place]!r}, not {y[place]!r} ({wrong.sum()} of {wrong.size} differ)"
    return None


def finite_share(results: Any) -> float:
    """Returns the share of floating elements that are finite numbers; 1 where there are none to count."""
    leaves = [_numbers(x) for x in jax.tree.leaves(results) if jnp.issubdtype(x.dtype, np.inexact)]
    total = sum(x.size for x in leaves)
    return sum(int(np.isfinite(x).sum()) for x in leaves) / total if total else 1.0


def _unit(dtype: Any) -> float:
    return float(jnp.finfo(dtype).eps) if jnp.issubdtype(dtype, np.inexact) else 0.0


def _type(x: Any) -> Any:
    return x.shape, x.dtype, getattr(x, "weak_type", False)


def _numbers(x: Any) -> np.ndarray:
    """Returns an array on the host, in a type wide enough to compare in."""
    if jnp.issubdtype(x.dtype, jax.dtypes.prng_key):
        return np.asarray(jax.random.key_data(x))
    if jnp.issubdtype(x.dtype, np.complexfloating):
        return np.asarray(x).astype(np.complex128)
    if jnp.issubdtype(x.dtype, np.floating):
        return np.asarray(x).astype(np.float64)
    return np.asarray(x).astype(np.int64) if x.dtype != np.bool_ else np.asarray(x)


def _apart(x: np.ndarray, y: np.ndarray, dtype: Any, others: list[np.ndarray] | None, unit: float) -> np.ndarray:
    """Returns where two arrays of numbers differ by more than they may."""
    same = (x == y) | ((x != x) & (y != y))
    if others is not None and not jnp.issubdtype(dtype, np.inexact):
        unsure = np.zeros(x.shape, bool)
        for other in others:
            unsure |= (other != y) & ~((other != other) & (y != y))
        return ~(same | unsure)
    if not jnp.issubdtype(dtype, np.inexact):
        return ~same
    with np.errstate(invalid="ignore", over="ignore"):
        finite = np.abs(y[np.isfinite(y)])
        scale = float(finite.max(initial=0.0))
        info = jnp.finfo(dtype)
        own = (_ROUNDINGS if info.bits >= 32 else _NARROW_ROUNDINGS) * float(info.eps)
        allowed = np.full(x.shape, max(own, min(_NARROW_ROUNDINGS * unit, 0.25)) * scale + float(info.tiny))
        unsure = np.zeros(x.shape, bool)
        for other in others or []:
            spread = np.abs(other - y)
            unsure |= ~np.isfinite(spread) & ~((other == y) | ((other != other) & (y != y)))
            allowed = allowed + 8.0 * np.where(np.isfinite(spread), spread, 0.0)
        if others:
            # What a whole result is uncertain by, each of its elements may be: errors wander between them.
            spreads = [np.abs(other - y) for other in others]
            widest = max((float(s[np.isfinite(s)].max(initial=0.0)) for s in spreads), default=0.0)
            allowed = allowed + 4.0 * widest
            # A sum so uncertain that it may be over the largest number of its type may be no number in another order.
            unsure |= np.isfinite(y) & (np.abs(y) + allowed > float(info.max))
        near = np.abs(x - y) <= allowed
    return ~(same | near | unsure)
