"""The head of a language model: projection to the vocabulary, cross-entropy and its gradient."""

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.programs.program import MIB, Program, normal


def loss(hidden: jax.Array, weight: jax.Array, labels: jax.Array) -> jax.Array:
    """Mean cross-entropy of the labels under `softmax(hidden @ weight)`."""
    log_probs = jax.nn.log_softmax(hidden @ weight)
    return -jnp.take_along_axis(log_probs, labels[:, None], axis=-1).mean()


value_and_gradient = jax.value_and_grad(loss, argnums=(0, 1))


def make_args(seed: int, tokens: int, dims: int, words: int) -> tuple:
    """Normal hidden states, scaled weights and uniform labels."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, words, tokens, dtype=np.int32)
    return normal(rng, tokens, dims), normal(rng, dims, words, scale=dims**-0.5), labels


LM_HEAD = Program(
    name="lm-head",
    title="LM-head cross-entropy, 8 192 x 512, 32 000 words, value and gradient",
    fun=value_and_gradient,
    make_args=lambda seed: make_args(seed, 8_192, 512, 32_000),
    warm_args=lambda: make_args(0, 11, 6, 30),
    limit_bytes=320 * MIB,
    target_ratio=0.9,
)
