"""A causal language model of equinox layers: one `optax.adamw` step, its layers unrolled or under `lax.scan`."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax

from benchmarks.others.training_step import transformer_step

VOCABULARY = 256


class Block(eqx.Module):
    """Attention and a perceptron, each behind a layer norm and beside a residual."""

    attention: eqx.nn.MultiheadAttention
    perceptron: eqx.nn.MLP
    norm_attention: eqx.nn.LayerNorm
    norm_perceptron: eqx.nn.LayerNorm

    def __init__(self, width: int, heads: int, key: jax.Array) -> None:
        first, second = jax.random.split(key)
        self.attention = eqx.nn.MultiheadAttention(heads, width, key=first)
        self.perceptron = eqx.nn.MLP(width, width, 4 * width, 1, activation=jax.nn.gelu, key=second)
        self.norm_attention = eqx.nn.LayerNorm(width)
        self.norm_perceptron = eqx.nn.LayerNorm(width)

    def __call__(self, x: jax.Array) -> jax.Array:
        """One sequence `[tokens, width]` to another."""
        tokens = x.shape[0]
        normed = jax.vmap(self.norm_attention)(x)
        x = x + self.attention(normed, normed, normed, mask=jnp.tril(jnp.ones((tokens, tokens), bool)))
        return x + jax.vmap(self.perceptron)(jax.vmap(self.norm_perceptron)(x))


class LanguageModel(eqx.Module):
    """Embeddings, blocks, and logits of the next token."""

    embedding: eqx.nn.Embedding
    positions: jax.Array
    blocks: Any
    norm: eqx.nn.LayerNorm
    head: eqx.nn.Linear
    scanned: bool = eqx.field(static=True)

    def __init__(self, layers: int, width: int, heads: int, tokens: int, scanned: bool, key: jax.Array) -> None:
        keys = jax.random.split(key, 4)

        def make_block(key: jax.Array) -> Block:
            return Block(width, heads, key)

        block_keys = jax.random.split(keys[0], layers)
        self.blocks = eqx.filter_vmap(make_block)(block_keys) if scanned else [make_block(k) for k in block_keys]
        self.embedding = eqx.nn.Embedding(VOCABULARY, width, key=keys[1])
        self.positions = 0.02 * jax.random.normal(keys[2], (tokens, width))
        self.norm = eqx.nn.LayerNorm(width)
        self.head = eqx.nn.Linear(width, VOCABULARY, key=keys[3])
        self.scanned = scanned

    def __call__(self, text: jax.Array) -> jax.Array:
        """The logits `[tokens, VOCABULARY]` of one text `[tokens]`."""
        x = jax.vmap(self.embedding)(text) + self.positions
        if self.scanned:
            arrays, static = eqx.partition(self.blocks, eqx.is_array)
            x, _ = jax.lax.scan(lambda x, layer: (eqx.combine(layer, static)(x), None), x, arrays)
        else:
            for block in self.blocks:
                x = block(x)
        return jax.vmap(self.head)(jax.vmap(self.norm)(x))


def build(
    layers: int, width: int, heads: int, tokens: int, *, scanned: bool
) -> tuple[Callable[..., Any], Callable[[int, int], tuple]]:
    """The training step of `(parameters, optimiser state, texts)`, and its arguments by `(seed, batch)`."""
    optimiser = optax.adamw(3e-4)

    def make(key: jax.Array) -> LanguageModel:
        return LanguageModel(layers, width, heads, tokens, scanned, key)

    skeleton = eqx.filter_eval_shape(make, jax.random.key(0))
    _, static = eqx.partition(skeleton, lambda leaf: isinstance(leaf, jax.ShapeDtypeStruct))

    def loss(parameters: Any, texts: jax.Array) -> jax.Array:
        logits = jax.vmap(eqx.combine(parameters, static))(texts[:, :-1])
        return optax.softmax_cross_entropy_with_integer_labels(logits, texts[:, 1:]).mean()

    def step(parameters: Any, state: Any, texts: jax.Array) -> tuple:
        value, gradient = jax.value_and_grad(loss)(parameters, texts)
        updates, state = optimiser.update(gradient, state, parameters)
        return optax.apply_updates(parameters, updates), state, value

    def make_args(seed: int, batch: int) -> tuple:
        parameters = eqx.filter(make(jax.random.key(seed)), eqx.is_array)
        texts = np.random.default_rng(seed).integers(0, VOCABULARY, (batch, tokens + 1), dtype=np.int32)
        return (*jax.device_get((parameters, optimiser.init(parameters))), texts)

    return step, make_args


UNROLLED = transformer_step(
    build, "equinox-unrolled", "equinox transformer, 12 layers unrolled", scanned=False, limit_mib=470
)
SCANNED = transformer_step(
    build, "equinox-scanned", "equinox transformer, 12 layers scanned", scanned=True, limit_mib=560
)
