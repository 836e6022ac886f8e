"""The carries that a loop's chunks begin with, saved in one pass over the chunks for a later one to begin with.

With a sequence of n steps run again in chunks of k, n / k carries and what k steps leave behind are held
instead of what n steps do (Griewank, "Achieving logarithmic growth of temporal and spatial complexity in
reverse automatic differentiation", 1992; Chen et al., "Training deep nets with sublinear memory cost", 2016).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from memline.ir.build import Builder
from memline.ir.graph import Loop, Value


def first_saved(builder: Builder, loop: Loop, chunks: int) -> list[Value]:
    """Appends the arrays that the carries of `loop` are saved in, one row a chunk."""
    return [v for carry in loop.carried for v in builder.call(_rows(chunks), carry, source=loop.source)]


def save(builder: Builder, start: Value, chunk: int, saved: Sequence[Value], carries: Sequence[Value]) -> list[Value]:
    """Appends the saving of the carries with which the chunk at `start` begins; returns the new arrays."""

    def put(first: Any, rows: Any, carry: Any) -> Any:
        return lax.dynamic_update_index_in_dim(rows, carry, _row(first, chunk), 0)

    return [v for rows, carry in zip(saved, carries, strict=True) for v in builder.call(put, start, rows, carry)]


def restore(builder: Builder, start: Value, chunk: int, saved: Sequence[Value]) -> list[Value]:
    """Appends the reading of the carries with which the chunk at `start` begins."""

    def take(first: Any, rows: Any) -> Any:
        return lax.dynamic_index_in_dim(rows, _row(first, chunk), 0, keepdims=False)

    return [v for rows in saved for v in builder.call(take, start, rows)]


def _rows(chunks: int) -> Callable[..., Any]:
    return lambda carry: jnp.broadcast_to(carry, (chunks, *carry.shape))


def _row(first: Any, chunk: int) -> Any:
    return lax.div(first, np.int32(chunk))
