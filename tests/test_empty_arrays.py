"""Arrays without elements, in programs that are split: nothing divides by their lengths."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import memline
from tests.comparing import assert_same

X = np.linspace(0.5, 1.0, 200, dtype=np.float32)


def table(x: Any) -> Any:
    """A big array that a limit does not leave whole."""
    return jnp.outer(x, x)


NONE = np.zeros(0, np.int32)
PROGRAMS: dict[str, Callable[[Any], Any]] = {
    "a real transform of length zero": lambda x: (table(x).sum(1), jnp.fft.irfft(table(x)[:, :1])),
    "the best none": lambda x: (lax.top_k(table(x), 0), table(x).sum(1)),
    "a product over nothing": lambda x: table(x)[:, :0] @ table(x)[:0],
    "a product of no columns": lambda x: (table(x) @ table(x)[:, :0], table(x).sum(1)),
    "no products": lambda x: jnp.zeros((0, 9, 9)) @ jnp.zeros((0, 9, 9)) + table(x).sum(),
    "sorted rows of nothing": lambda x: (jnp.sort(table(x)[:, :0], 1), table(x).sum(1)),
    "sums of nothing": lambda x: jnp.cumsum(table(x)[:, :0], 1).sum(1) + table(x).sum(1),
    "elements of no rows": lambda x: (table(x)[NONE], table(x).sum(1)),
    "nothing added": lambda x: table(x).at[NONE].add(1.0).sum(1),
    "no segments": lambda x: (jax.ops.segment_sum(table(x)[:0], NONE, 5), table(x).sum(1)),
    "no steps": lambda x: lax.scan(lambda c, y: (c + y.sum(), 2 * y), table(x).sum(), table(x)[:0]),
    "no channels": lambda x: (
        lax.conv(jnp.zeros((1, 0, 9, 9)), jnp.zeros((2, 0, 3, 3)), (1, 1), "SAME") + table(x).sum()
    ),
    "no filters": lambda x: (lax.conv(table(x)[None, None], jnp.zeros((0, 1, 3, 3)), (1, 1), "SAME"), table(x).sum(1)),
    "no equations": lambda x: jnp.linalg.solve(table(x) + 1e3 * jnp.eye(len(x)), table(x)[:, :0]),
    "no matrix": lambda x: (jnp.linalg.eigh(table(x)[:0, :0]), table(x).sum(1)),
}


def smallest(fun: Callable[[Any], Any], x: Any) -> Any:
    """Returns the results under the smallest of some limits that can be met."""
    for limit_bytes in (20_000, 60_000, 200_000, 2_000_000):
        try:
            return memline.jit(fun, memory_limit=limit_bytes)(x)
        except memline.MemoryLimitError:
            continue
    raise AssertionError("no limit was met")


@pytest.mark.parametrize("name", PROGRAMS)
def test_results_are_those_of_plain_jit(name: str) -> None:
    fun = PROGRAMS[name]
    assert_same(smallest(fun, X), jax.jit(fun)(X))
    batch = np.zeros((0, len(X)), np.float32)
    assert_same(smallest(jax.vmap(fun), batch), jax.jit(jax.vmap(fun))(batch))
