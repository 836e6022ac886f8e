"""The small program that most tests of the API use, and how they compare results."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import memline

N = 500
TIGHT = 100_000  # bytes; the kernel matrix of N points alone takes a million
POINTS = np.linspace(0.0, 1.0, N, dtype=np.float32)


def kernel_sums(x: Any) -> Any:
    """The row sums of a kernel matrix: far more memory between than before and after."""
    return jnp.exp(-((x[:, None] - x[None, :]) ** 2)).sum(1)


def points() -> jax.Array:
    """A fresh array, which a test may give away."""
    return jnp.array(POINTS)


def assert_same(found: Any, expected: Any, rtol: float = 2e-5) -> None:
    """Compares trees: structures and types equal, integers bit by bit, floats to `rtol` of the largest."""
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert a.shape == b.shape
        assert a.dtype == b.dtype
        assert getattr(a, "weak_type", False) == getattr(b, "weak_type", False)
        if jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
            a, b = jax.random.key_data(a), jax.random.key_data(b)
        if not jnp.issubdtype(a.dtype, np.inexact):
            np.testing.assert_array_equal(a, b)
            continue
        wide = np.complex128 if jnp.issubdtype(a.dtype, np.complexfloating) else np.float64
        a, b = np.asarray(a).astype(wide), np.asarray(b).astype(wide)
        scale = float(np.abs(b[np.isfinite(b)]).max(initial=0.0))
        np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol * scale)


def limited(fun: Any, limit: Any = TIGHT, **settings: Any) -> Any:
    return memline.jit(fun, memory_limit=limit, **settings)


def agree(fun: Any, *args: Any, limit: Any = TIGHT, split: bool = True, **kwargs: Any) -> Any:
    """Calls with and without a limit, compares, and checks that there was something to do."""
    bounded = limited(fun, limit)
    assert_same(bounded(*args, **kwargs), jax.jit(fun)(*args, **kwargs))
    plan: Any = bounded.lower(*args, **kwargs).plan
    assert plan.compiled_peak_bytes <= plan.limit_bytes
    assert bool(plan.moves) == split
    return plan
