"""Softmax attention over one sequence, and the gradient of a loss on it."""

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.programs.program import MIB, Program, normal


def attention(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
    """Scaled dot-product attention; every array is `[heads, tokens, dims]`."""
    scores = jnp.einsum("hqd,hkd->hqk", q, k) / np.sqrt(q.shape[-1])
    return jnp.einsum("hqk,hkd->hqd", jax.nn.softmax(scores, axis=-1), v)


def loss(q: jax.Array, k: jax.Array, v: jax.Array, target: jax.Array) -> jax.Array:
    """Mean squared distance of the attention's result from a target."""
    return ((attention(q, k, v) - target) ** 2).mean()


value_and_gradient = jax.value_and_grad(loss, argnums=(0, 1, 2))


def make_args(seed: int, heads: int, tokens: int, dims: int) -> tuple[np.ndarray, ...]:
    """Normal queries, keys, values and target."""
    rng = np.random.default_rng(seed)
    return tuple(normal(rng, heads, tokens, dims) for _ in range(4))


ATTENTION = Program(
    name="attention",
    title="attention 8 x 4 096 x 64, value and gradient",
    fun=value_and_gradient,
    make_args=lambda seed: make_args(seed, 8, 4_096, 64),
    warm_args=lambda: make_args(0, 2, 19, 64),
    limit_bytes=128 * MIB,
    target_ratio=0.6,
)
