"""A small character transformer and one training step of it, with Adam, written in plain JAX."""

from collections.abc import Callable
from dataclasses import replace
from math import inf

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.programs.program import MIB, Program, normal
from examples.demo.source_text import CHARACTERS, batch

HEADS = 4
LEARNING_RATE = 2e-3


def normalise(x: jax.Array, gain: jax.Array) -> jax.Array:
    """Scale every token's features to unit root mean square."""
    return x / jnp.sqrt((x**2).mean(-1, keepdims=True) + 1e-6) * gain


def attend(x: jax.Array, layer: dict) -> jax.Array:
    """Causal self-attention over `[batch, tokens, width]`."""
    rows, length, width = x.shape
    q, k, v = jnp.moveaxis((x @ layer["qkv"]).reshape(rows, length, 3, HEADS, width // HEADS), 2, 0)
    scores = jnp.einsum("bqhd,bkhd->bhqk", q, k) / np.sqrt(width // HEADS)
    scores = jnp.where(jnp.tril(jnp.ones((length, length), bool)), scores, -1e9)
    mixed = jnp.einsum("bhqk,bkhd->bqhd", jax.nn.softmax(scores, axis=-1), v)
    return mixed.reshape(rows, length, width) @ layer["out"]


def predict(params: dict, tokens: jax.Array) -> jax.Array:
    """Logits of the next character at every place."""
    x = params["characters"][tokens] + params["places"]
    for layer in params["layers"]:
        x = x + attend(normalise(x, layer["gain_1"]), layer)
        x = x + jax.nn.gelu(normalise(x, layer["gain_2"]) @ layer["up"]) @ layer["down"]
    return normalise(x, params["gain"]) @ params["head"]


def loss(params: dict, tokens: jax.Array, following: jax.Array) -> jax.Array:
    """Mean cross-entropy of the following characters, in nats."""
    log_probs = jax.nn.log_softmax(predict(params, tokens))
    return -jnp.take_along_axis(log_probs, following[..., None], axis=-1).mean()


def training_step(state: dict, tokens: jax.Array, following: jax.Array) -> tuple[dict, jax.Array]:
    """The state after one step of Adam (Kingma and Ba, 2015), and the loss before it."""
    value, gradient = jax.value_and_grad(loss)(state["params"], tokens, following)
    count = state["count"] + 1
    first = jax.tree.map(lambda m, g: 0.9 * m + 0.1 * g, state["first"], gradient)
    second = jax.tree.map(lambda v, g: 0.99 * v + 0.01 * g**2, state["second"], gradient)

    def moved(p: jax.Array, m: jax.Array, v: jax.Array) -> jax.Array:
        rate = LEARNING_RATE * jnp.sqrt(1 - 0.99**count) / (1 - 0.9**count)
        return p - rate * m / (jnp.sqrt(v) + 1e-6)

    params = jax.tree.map(moved, state["params"], first, second)
    return {"params": params, "first": first, "second": second, "count": count}, value


def make_state(seed: int, width: int, layers: int, length: int) -> dict:
    """Scaled normal weights and an optimiser that has seen nothing."""
    rng = np.random.default_rng(seed)
    scale = width**-0.5
    params = {
        "characters": normal(rng, CHARACTERS, width),
        "places": normal(rng, length, width, scale=0.3),
        "gain": np.ones(width, np.float32),
        "head": normal(rng, width, CHARACTERS, scale=scale),
        "layers": [
            {
                "gain_1": np.ones(width, np.float32),
                "gain_2": np.ones(width, np.float32),
                "qkv": normal(rng, width, 3 * width, scale=scale),
                "out": normal(rng, width, width, scale=0.5 * scale),
                "up": normal(rng, width, 4 * width, scale=scale),
                "down": normal(rng, 4 * width, width, scale=0.25 * scale),
            }
            for _ in range(layers)
        ],
    }
    zeros = jax.tree.map(np.zeros_like, params)
    return {"params": params, "first": zeros, "second": zeros, "count": np.float32(0)}


def make_args(seed: int, rows: int, length: int, width: int, layers: int) -> tuple:
    """A fresh state and a batch of text."""
    return make_state(seed, width, layers, length), *batch(seed, rows, length)


PROGRAM = Program(
    name="transformer",
    title="training step of a 3-layer character transformer, 32 x 256 characters",
    fun=training_step,
    make_args=lambda seed: make_args(seed, 32, 256, 128, 3),
    warm_args=lambda: make_args(0, 3, 16, 16, 3),
    limit_bytes=48 * MIB,
    target_ratio=inf,  # the demo shows the times and judges none
)
QUICK = replace(PROGRAM, make_args=lambda seed: make_args(seed, 8, 32, 16, 2))


def train(jit: Callable[[Callable], Callable], quick: bool, say: Callable[[str], None]) -> list[float]:
    """Some training steps, each on another batch; the losses."""
    state, tokens, following = (QUICK if quick else PROGRAM).make_args(0)
    step = jit(training_step)
    losses = []
    count = 3 if quick else 15
    for number in range(1, count + 1):
        state, value = step(state, tokens, following)
        losses.append(float(value))
        tokens, following = batch(number, *tokens.shape)
        if number % 5 == 0 or number == count:
            say(f"transformer: step {number}, loss {losses[-1]:.3f} nats a character")
    return losses
