"""Three programs as people write them, and their reports: gradients of attention and of a scan, and neighbours."""

from functools import cache

import jax
import jax.numpy as jnp

import memline
from memline.report.record import Record


def attention(weights: jax.Array, tokens: jax.Array) -> jax.Array:
    query, key, value = jnp.split(tokens @ weights, 3, axis=-1)
    scores = jax.nn.softmax(query @ key.T / jnp.sqrt(query.shape[-1]), axis=-1)
    return ((scores @ value) ** 2).mean()


def recurrent(weights: jax.Array, inputs: jax.Array) -> jax.Array:
    def cell(state: jax.Array, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        state = jnp.tanh(state @ weights + x)
        return state, state

    _, states = jax.lax.scan(cell, jnp.zeros(inputs.shape[1:]), inputs)
    return (states**2).mean()


def nearest(points: jax.Array, queries: jax.Array) -> jax.Array:
    distances = ((queries[:, None, :] - points[None, :, :]) ** 2).sum(-1)
    return jax.lax.top_k(-distances, 10)[1]


def _floats(*shape: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, jnp.float32)


CALLS = {
    "attention": (jax.value_and_grad(attention), (_floats(64, 192), _floats(1024, 64)), "6MiB"),
    "recurrent": (jax.value_and_grad(recurrent), (_floats(64, 64), _floats(512, 32, 64)), None),
    "nearest": (nearest, (_floats(4000, 16), _floats(128, 16)), "1500KiB"),
}


@cache
def record_of(name: str) -> Record:
    """The record of one of `CALLS`."""
    fun, args, limit = CALLS[name]
    return memline.report(fun, *args, memory_limit=limit).record
