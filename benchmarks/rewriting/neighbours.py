"""Nearest neighbours by brute force, every distance written as a broadcast, beside other ways to find them."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from benchmarks.programs.knn import NEIGHBOURS, make_args, nearest
from benchmarks.programs.program import MIB, Program, Rival, normal

_BLOCK = 25
"""Queries at a time in the version written by hand: a million distances each fit the limit's 100 MiB."""


def by_hand(queries: jax.Array, points: jax.Array) -> Callable[[], Any]:
    """What one writes in JAX for lack of memory: products for distances, and some queries at a time."""

    @jax.jit
    def search(queries: jax.Array, points: jax.Array) -> tuple[jax.Array, jax.Array]:
        lengths = (points**2).sum(-1)

        def some(block: jax.Array) -> tuple[jax.Array, jax.Array]:
            squared = (block**2).sum(-1)[:, None] + lengths - 2 * block @ points.T
            negated, indices = lax.top_k(-squared, NEIGHBOURS)
            return -negated, indices

        found = lax.map(some, queries.reshape(-1, _BLOCK, queries.shape[-1]))
        return jax.tree.map(lambda x: x.reshape(-1, NEIGHBOURS), found)

    return lambda: search(queries, points)


def by_keops(queries: jax.Array, points: jax.Array) -> Callable[[], Any]:
    """KeOps: a symbolic matrix of distances, reduced by a kernel that it compiles."""
    from pykeops.numpy import LazyTensor  # pyright: ignore[reportMissingImports]

    x, y = np.asarray(queries), np.asarray(points)
    squared = ((LazyTensor(x[:, None, :]) - LazyTensor(y[None, :, :])) ** 2).sum(-1)
    return lambda: squared.argKmin(NEIGHBOURS, dim=1)


def by_faiss(queries: jax.Array, points: jax.Array) -> Callable[[], Any]:
    """FAISS: exhaustive search in a flat index, which is filled beforehand."""
    import faiss  # pyright: ignore[reportMissingImports]

    x, y = np.asarray(queries), np.asarray(points)
    index = faiss.IndexFlatL2(y.shape[1])
    index.add(y)
    return lambda: index.search(x, NEIGHBOURS)


def nearest_by_cosine(queries: jax.Array, points: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Cosines and indices of the points that point most nearly in the direction of each query."""
    products = (queries[:, None, :] * points[None, :, :]).sum(-1)
    lengths = jnp.linalg.norm(queries, axis=-1)[:, None] * jnp.linalg.norm(points, axis=-1)
    return lax.top_k(products / lengths, NEIGHBOURS)


def nearest_by_l1(queries: jax.Array, points: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Sums of absolute differences and indices of the nearest points of each query."""
    negated, indices = lax.top_k(-jnp.abs(queries[:, None, :] - points[None, :, :]).sum(-1), NEIGHBOURS)
    return -negated, indices


def image_args(seed: int, queries: int, points: int) -> tuple[np.ndarray, np.ndarray]:
    """Vectors of the size of small images, with positive entries and a few directions that matter."""
    rng = np.random.default_rng(seed)
    basis = np.abs(normal(rng, 20, 784))
    x, y = (np.abs(normal(rng, n, 20) @ basis) + normal(rng, n, 784) ** 2 for n in (queries, points))
    return x, y


WIDE = Program(
    name="knn-wide",
    title="k-NN by broadcasting, 1 000 queries, 1 000 000 points x 100, top 10",
    fun=nearest,
    make_args=lambda seed: make_args(seed, 1_000, 1_000_000, 100),
    warm_args=lambda: make_args(0, 50, 500, 100),
    limit_bytes=100 * MIB,
    limit_over_arguments=True,
    target_ratio=1 / 3,
    plain_fits=True,
    tied=((0, 1),),
    rivals=(Rival("products and lax.map by hand", by_hand, 1 / 0.95),),
)

NARROW = Program(
    name="knn-narrow",
    title="k-NN by broadcasting, 1 000 queries, 1 000 000 points x 3, top 10",
    fun=nearest,
    make_args=lambda seed: make_args(seed, 1_000, 1_000_000, 3),
    warm_args=lambda: make_args(0, 50, 500, 3),
    limit_bytes=100 * MIB,
    limit_over_arguments=True,
    target_ratio=1.0,
    tied=((0, 1),),
    rivals=(
        Rival("products and lax.map by hand", by_hand, 1 / 0.95),
        Rival("KeOps", by_keops, 1.5),
        Rival("FAISS", by_faiss, 1.0),
    ),
)

COSINE = Program(
    name="knn-cosine",
    title="k-NN by cosine, 1 000 queries, 60 000 points x 784, top 10",
    fun=nearest_by_cosine,
    make_args=lambda seed: image_args(seed, 1_000, 60_000),
    warm_args=lambda: image_args(0, 50, 500),
    limit_bytes=64 * MIB,
    limit_over_arguments=True,
    target_ratio=1.0,
    plain_fits=True,
    tied=((0, 1),),
)

L1 = Program(
    name="knn-l1",
    title="k-NN by L1, 1 000 queries, 60 000 points x 784, top 10",
    fun=nearest_by_l1,
    make_args=lambda seed: image_args(seed, 1_000, 60_000),
    warm_args=lambda: image_args(0, 50, 500),
    limit_bytes=64 * MIB,
    limit_over_arguments=True,
    target_ratio=1.1,
    plain_fits=True,
    tied=((0, 1),),
)
