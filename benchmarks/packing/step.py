"""A training step of twelve transformer layers, written out: the buffers of its gradient, as XLA schedules them."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp

from memline.packing import Problem, from_jax

LAYERS, WIDTH, TOKENS, BATCH, HEADS, WORDS = 12, 128, 128, 4, 4, 512


def _layer(x: Any, w: dict[str, Any]) -> Any:
    normed = (x - x.mean(-1, keepdims=True)) * jax.lax.rsqrt(x.var(-1, keepdims=True) + 1e-5)
    q, k, v = jnp.split((normed @ w["qkv"]).reshape(BATCH, TOKENS, HEADS, -1), 3, -1)
    scores = jnp.einsum("bthd,bshd->bhts", q, k) / q.shape[-1] ** 0.5
    scores = jnp.where(jnp.tri(TOKENS, dtype=bool), scores, -jnp.inf)
    mixed = jnp.einsum("bhts,bshd->bthd", jax.nn.softmax(scores), v).reshape(x.shape)
    x = x + mixed @ w["out"]
    return x + jax.nn.gelu(x @ w["up"]) @ w["down"]


def _loss(weights: dict[str, Any], words: Any) -> Any:
    x = weights["embed"][words]
    for layer in weights["layers"]:
        x = _layer(x, layer)
    logits = jax.nn.log_softmax(x @ weights["embed"].T)
    return -jnp.take_along_axis(logits[:, :-1], words[:, 1:, None], -1).mean()


def _step(weights: dict[str, Any], words: Any) -> Any:
    loss, gradient = jax.value_and_grad(_loss)(weights, words)
    return loss, jax.tree.map(lambda w, g: w - 0.1 * g, weights, gradient)


def training_step() -> Problem:
    """The packing problem of one step."""

    def shape(*sizes: int) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(sizes, jnp.float32)

    sizes = {"qkv": (WIDTH, 3 * WIDTH), "out": (WIDTH, WIDTH), "up": (WIDTH, 4 * WIDTH), "down": (4 * WIDTH, WIDTH)}
    layers = [{name: shape(*size) for name, size in sizes.items()} for _ in range(LAYERS)]
    words = jax.ShapeDtypeStruct((BATCH, TOKENS), jnp.int32)
    return from_jax(_step, {"embed": shape(WORDS, WIDTH), "layers": layers}, words)
