"""Gradients of long scans: a recurrent network over 20 000 steps, and an explicit solver of a field equation."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from benchmarks.programs.program import MIB, Program, normal

BATCH = 32


def recurrence(weights: jax.Array, bias: jax.Array, start: jax.Array, inputs: jax.Array):
    """The loss of a tanh network's last state, and its gradient in the weights, the bias and the first state."""

    def loss(weights: jax.Array, bias: jax.Array, start: jax.Array) -> jax.Array:
        def step(state: jax.Array, x: jax.Array) -> tuple[jax.Array, None]:
            return jnp.tanh(state @ weights + x + bias), None

        return (lax.scan(step, start, inputs)[0] ** 2).sum()

    return jax.value_and_grad(loss, (0, 1, 2))(weights, bias, start)


def recurrence_args(seed: int, steps: int, batch: int, width: int) -> tuple:
    """Weights of norm about one, and inputs for every step."""
    rng = np.random.default_rng(seed)
    scale = 1 / np.sqrt(width)
    return (
        normal(rng, width, width, scale=scale),
        normal(rng, width),
        normal(rng, batch, width),
        normal(rng, steps, batch, width),
    )


def stencil(field: jax.Array, diffusion: jax.Array):
    """The mean square of a reacting, diffusing field after many explicit steps, and its gradient."""

    def loss(field: jax.Array, diffusion: jax.Array, steps: int = 500) -> jax.Array:
        def step(u: jax.Array, _: None) -> tuple[jax.Array, None]:
            around = sum(jnp.roll(u, shift, axis) for axis in (0, 1) for shift in (1, -1))
            return u + 0.01 * (diffusion * (around - 4 * u) + jnp.tanh(u) - u**3), None

        return (lax.scan(step, field, None, length=steps)[0] ** 2).mean()

    return jax.value_and_grad(loss, (0, 1))(field, diffusion)


def stencil_args(seed: int, side: int) -> tuple:
    """A random field on a square, and how fast it spreads."""
    return normal(np.random.default_rng(seed), side, side), np.float32(0.5)


RECURRENCE = Program(
    name="recurrence",
    title="recurrent net and gradient, 20 000 steps, 32 x 64",
    fun=recurrence,
    make_args=lambda seed: recurrence_args(seed, 20_000, BATCH, 64),
    warm_args=lambda: recurrence_args(0, 11, 3, 5),
    limit_bytes=8 * MIB,
    limit_over_arguments=True,
    target_ratio=1.0,
)

STENCIL = Program(
    name="stencil",
    title="field equation and gradient, 256 x 256, 500 steps",
    fun=stencil,
    make_args=lambda seed: stencil_args(seed, 256),
    warm_args=lambda: stencil_args(0, 7),
    limit_bytes=10 * MIB,
    target_ratio=1.0,
)
