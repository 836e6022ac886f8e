"""`lax.top_k` as a kernel: the same values and places, bit for bit, in a fraction of the time.

XLA:CPU selects from rows of float32 on one thread, one element after the other, and sorts rows of other types. The
kernel compares whole blocks of a row with the worst of the best so far, on all threads; see `cpp/kernels/top_k.cpp`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from memline.compat import itemsize_bytes, wide_enough
from memline.devices import thread_count
from memline.kernels.native import TOP_K

_TYPES = frozenset(
    "float16 bfloat16 float32 float64 int8 int16 int32 int64 uint8 uint16 uint32 uint64".split()
)  # the handler's
_LEAST_ELEMENTS = 1 << 10
"""Measured, rows of every length are faster; below this a call costs what XLA's own code does in place."""
_EQUAL_NANS = jax.__version_info__ < (0, 11)
"""Whether XLA takes NaNs of bfloat16 of one sign for equal, whatever their other bits."""
_FEW = 32
"""Up to so many are kept in order, more with as many again beside them."""


def serves(shape: Sequence[int], dtype: Any, k: int) -> bool:
    """Tells whether the kernel selects k elements from an array of this type, and is worth calling.

    >>> serves((25, 200_000), "float32", 10), serves((4, 5), "float32", 2), serves((25, 200_000), "float8_e5m2", 10)
    (True, False, False)
    """
    return str(dtype) in _TYPES and k > 0 and math.prod(shape) >= _LEAST_ELEMENTS


def run(x: Any, k: int, axis: int) -> list[Any]:
    """Returns the values and places of the k greatest elements along an axis, as `lax.top_k` does.

    Args:
      x: an array or tracer of a kind that the kernel serves.
      k: how many, at most the axis's size.
      axis: which axis, from 0.
    """
    with wide_enough([x.dtype]):
        rows = x if axis == x.ndim - 1 else jnp.swapaxes(x, axis, -1)
        shape = (*rows.shape[:-1], k)
        results = (jax.ShapeDtypeStruct(shape, x.dtype), jax.ShapeDtypeStruct(shape, np.dtype("int32")))
        found = jax.ffi.ffi_call(TOP_K, results)(rows, equal_nans=_EQUAL_NANS)
        return list(found) if axis == x.ndim - 1 else [jnp.swapaxes(y, axis, -1) for y in found]


def scratch_bytes(shape: Sequence[int], dtype: Any, k: int, axis: int) -> int:
    """Returns the bytes that the kernel takes beside operand and results: elements with places, for each thread."""
    rows = math.prod(shape) // max(1, shape[axis])
    kept = k if k <= _FEW else min(2 * k, shape[axis])
    return kept * (16 if itemsize_bytes(dtype) == 8 else 8) * min(rows, thread_count())
