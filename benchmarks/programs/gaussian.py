"""A Gaussian kernel matrix times a vector, and the gradient of a loss on it in every input."""

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.programs.program import MIB, Program, normal


def matvec(x: jax.Array, y: jax.Array, vector: jax.Array, scale: jax.Array) -> jax.Array:
    """`K @ vector` with `K[i, j] = exp(-|x_i - y_j|^2 / (2 scale^2))`."""
    x, y = x / scale, y / scale
    squared = (x**2).sum(-1)[:, None] + (y**2).sum(-1)[None, :] - 2 * x @ y.T
    return jnp.exp(-0.5 * squared) @ vector


def loss(x: jax.Array, y: jax.Array, vector: jax.Array, scale: jax.Array, weights: jax.Array):
    """A weighted sum of the product, so that every entry of the kernel matrix has a gradient."""
    return weights @ matvec(x, y, vector, scale)


gradient = jax.grad(loss, argnums=(0, 1, 2, 3, 4))


def matvec_args(seed: int, size: int, dims: int = 8) -> tuple:
    """Two clouds of points, a vector, and a length scale that keeps the kernel between 0 and 1."""
    rng = np.random.default_rng(seed)
    return normal(rng, size, dims), normal(rng, size, dims), normal(rng, size), np.float32(2.0)


def gradient_args(seed: int, size: int, dims: int = 8) -> tuple:
    """The inputs of `matvec`, and weights for its result."""
    return *matvec_args(seed, size, dims), normal(np.random.default_rng(seed + 1), size)


GAUSSIAN_VALUE = Program(
    name="gaussian-value",
    title="Gaussian kernel times vector, n = 20 000",
    fun=matvec,
    make_args=lambda seed: matvec_args(seed, 20_000),
    warm_args=lambda: matvec_args(0, 37),
    limit_bytes=64 * MIB,
    target_ratio=0.85,
)

GAUSSIAN_GRADIENT = Program(
    name="gaussian-gradient",
    title="Gaussian kernel times vector, gradient in all inputs, n = 10 000",
    fun=gradient,
    make_args=lambda seed: gradient_args(seed, 10_000),
    warm_args=lambda: gradient_args(0, 37),
    limit_bytes=64 * MIB,
    target_ratio=0.85,
)
