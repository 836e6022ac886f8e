"""Whether two compilations of one program compute the same: equal, or apart by no more than rounding."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

# Units of rounding, relative to a result's largest element, that another order of operations may make.
_MOST_ROUNDING = 64.0
_MOST_ROUNDING_SHORT = 4.0  # in 16 bits and less sums are made in wider types, and a result is rounded once or twice
_BLOCK = 1 << 20


def rounding_share(found: Sequence[Any], expected: Sequence[Any]) -> float:
    """Returns by how much results differ, as a share of what rounding explains.

    Args:
      found, expected: the leaves of the results of two runs on the same arguments.

    Returns:
      0 where all are bit-equal; up to 1 for floating-point results that are apart by rounding alone (64 units of
      the last place of a result's largest element, 4 for types of 16 bits and less); inf where anything else
      differs: shapes, types, integers, where infinities and NaNs are.

    >>> rounding_share([jnp.ones(3)], [jnp.ones(3)])
    0.0
    >>> rounding_share([jnp.arange(3)], [jnp.ones(3, int)])
    inf
    """
    if len(found) != len(expected):
        return math.inf
    return max((_share(a, b) for a, b in zip(found, expected, strict=True)), default=0.0)


def _share(a: Any, b: Any) -> float:
    if a.shape != b.shape or a.dtype != b.dtype:
        return math.inf
    if jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
        a, b = jax.random.key_data(a), jax.random.key_data(b)
    flat_a, flat_b = np.asarray(a).reshape(-1), np.asarray(b).reshape(-1)
    if not jnp.issubdtype(a.dtype, np.inexact):
        return 0.0 if np.array_equal(flat_a, flat_b) else math.inf
    largest = apart = 0.0
    for x, y in _blocks(flat_a, flat_b):
        finite = np.isfinite(y)
        if not np.array_equal(x[~finite], y[~finite], equal_nan=True) or not np.isfinite(x[finite]).all():
            return math.inf
        largest = max(largest, float(np.abs(y[finite]).max(initial=0.0)))
        apart = max(apart, float(np.abs(x[finite] - y[finite]).max(initial=0.0)))
    if not apart:
        return 0.0
    unit = float(jnp.finfo(a.dtype).eps)
    allowed = (_MOST_ROUNDING if unit < 1e-4 else _MOST_ROUNDING_SHORT) * unit * largest
    return apart / allowed if allowed else math.inf


def _blocks(a: np.ndarray, b: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields both in pieces, wide enough to subtract without rounding again; a wide copy of all might not fit."""
    wide = np.complex128 if jnp.issubdtype(a.dtype, np.complexfloating) else np.float64
    for start in range(0, a.size, _BLOCK):
        stop = start + _BLOCK
        yield a[start:stop].astype(wide), b[start:stop].astype(wide)
