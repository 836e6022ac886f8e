"""Entropic optimal transport between two clouds of points: ten unrolled Sinkhorn iterations.

The iterations run in the log domain, on a cost matrix that is computed from the points.
"""

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import logsumexp

from benchmarks.programs.program import MIB, Program, normal

ITERATIONS = 10
EPSILON = 0.1


def sinkhorn(x: jax.Array, y: jax.Array, log_a: jax.Array, log_b: jax.Array):
    """The two dual potentials and the transport cost they stand for."""
    cost = ((x[:, None, :] - y[None, :, :]) ** 2).sum(-1)
    f, g = 0 * log_a, 0 * log_b
    for _ in range(ITERATIONS):
        f = -EPSILON * logsumexp((g[None, :] - cost) / EPSILON + log_b[None, :], axis=1)
        g = -EPSILON * logsumexp((f[:, None] - cost) / EPSILON + log_a[:, None], axis=0)
    return f, g, (jnp.exp(log_a) * f).sum() + (jnp.exp(log_b) * g).sum()


def log_weights(rng: np.random.Generator, size: int) -> np.ndarray:
    """Logarithms of random weights that sum to one."""
    weights = rng.uniform(0.5, 1.5, size)
    return np.log(weights / weights.sum()).astype(np.float32)


def make_args(seed: int, rows: int, columns: int) -> tuple:
    """Two clouds in three dimensions, half a unit apart, with weights."""
    rng = np.random.default_rng(seed)
    x, y = normal(rng, rows, 3, scale=0.5), normal(rng, columns, 3, scale=0.5)
    return x, y + np.float32(0.5), log_weights(rng, rows), log_weights(rng, columns)


SINKHORN = Program(
    name="sinkhorn",
    title="Sinkhorn, 10 unrolled iterations, 4 000 x 4 000",
    fun=sinkhorn,
    make_args=lambda seed: make_args(seed, 4_000, 4_000),
    warm_args=lambda: make_args(0, 17, 19),
    limit_bytes=32 * MIB,
    target_ratio=3.0,
)
