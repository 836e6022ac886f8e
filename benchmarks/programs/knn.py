"""k nearest neighbours by brute force, with the squared distances written as a broadcast.

Two shapes of one program: many queries (the queries can be split) and few queries against a
large database (only the database can be split, so partial top-k results have to be merged).
"""

import jax
import numpy as np
from jax import lax

from benchmarks.programs.program import MIB, Program, normal

NEIGHBOURS = 10


def nearest(queries: jax.Array, points: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Squared distances and indices of the nearest points of each query, nearest first."""
    distances = ((queries[:, None, :] - points[None, :, :]) ** 2).sum(-1)
    negated, indices = lax.top_k(-distances, NEIGHBOURS)
    return -negated, indices


def make_args(seed: int, queries: int, points: int, dims: int) -> tuple[np.ndarray, np.ndarray]:
    """Queries and points from one normal distribution."""
    rng = np.random.default_rng(seed)
    return normal(rng, queries, dims), normal(rng, points, dims)


KNN = Program(
    name="knn",
    title="k-NN, 512 queries, 200 000 points x 16, top 10",
    fun=nearest,
    make_args=lambda seed: make_args(seed, 512, 200_000, 16),
    warm_args=lambda: make_args(0, 7, 50, 16),
    limit_bytes=40 * MIB,
    target_ratio=1.0,
    tied=((0, 1),),
)

KNN_DATABASE = Program(
    name="knn-database",
    title="k-NN, 8 queries, 4 000 000 points x 8, top 10",
    fun=nearest,
    make_args=lambda seed: make_args(seed, 8, 4_000_000, 8),
    warm_args=lambda: make_args(0, 3, 50, 8),
    limit_bytes=32 * MIB,
    limit_over_arguments=True,
    target_ratio=1.3,
    tied=((0, 1),),
)
