"""Ways to write squared distances between two clouds of points, and what looks like them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

Fun = Callable[[Any, Any], Any]


def _scales(x: Any) -> Any:
    return jnp.arange(1, x.shape[-1] + 1).astype(x.dtype)


def _factor(x: Any) -> Any:
    return jnp.tri(x.shape[-1], dtype=x.dtype)


def _by_einsum(x: Any, y: Any) -> Any:
    z = x[:, None] - y
    return jnp.einsum("ijk,ijk->ij", z, z)


def _by_vmap(x: Any, y: Any) -> Any:
    return jax.vmap(lambda a: jax.vmap(lambda b: jnp.dot(a - b, a - b))(y))(x)


def _moved(x: Any, y: Any) -> Any:
    z = jnp.moveaxis(x.T[:, :, None] - y.T[:, None, :], 0, -1)
    return jnp.sum(-z * -z, -1)


SPELLINGS: dict[str, Fun] = {
    "power": lambda x, y: ((x[:, None] - y[None]) ** 2).sum(-1),
    "reversed": lambda x, y: (jnp.square(-y + x[:, None])).sum(-1),
    "absolute": lambda x, y: jnp.sum(jnp.abs(x[:, None] - y) ** 2, -1),
    "features first": lambda x, y: ((x.T[:, :, None] - y.T[:, None, :]) ** 2).sum(0),
    "einsum": _by_einsum,
    "vmap": _by_vmap,
    "moved": _moved,
    "halved": lambda x, y: 0.5 * jnp.sum((x[:, None] / 2.0 - y / 2.0) ** 2, -1),
    "length scales": lambda x, y: (((x[:, None] - y) / _scales(x)) ** 2).sum(-1),
    "scaled before": lambda x, y: ((x[:, None] / _scales(x) - y / _scales(x)) ** 2).sum(-1),
    "Mahalanobis": lambda x, y: jnp.sum(((x[:, None] - y) @ _factor(x)) ** 2, -1),
}
"""Functions of (N, D) and (M, D) arrays whose results are (N, M)."""

NEAR_MISSES: dict[str, Fun] = {
    "L1": lambda x, y: jnp.abs(x[:, None] - y).sum(-1),
    "cubes": lambda x, y: ((x[:, None] - y) ** 3).sum(-1),
    "largest": lambda x, y: ((x[:, None] - y) ** 2).max(-1),
    "weighted by pairs": lambda x, y: (((x[:, None] - y) * jnp.sin(x[:, None] * y)) ** 2).sum(-1),
    "a product": lambda x, y: jnp.sum((x[:, None] * y) ** 2, -1),
    "to one point": lambda x, y: ((x - y[0]) ** 2).sum(-1),
    "clipped": lambda x, y: (jnp.maximum(x[:, None] - y, 0) ** 2).sum(-1),
}
"""Functions of the same arrays that have no matrix product in them, or nothing to gain by it."""
