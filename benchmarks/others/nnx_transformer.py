"""A causal language model of flax nnx layers: one `optax.adamw` step, its layers unrolled or under `nnx.scan`."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import optax
from flax import nnx

from benchmarks.others.training_step import transformer_step

VOCABULARY = 256


class Block(nnx.Module):
    """Attention and a perceptron, each behind a layer norm and beside a residual."""

    def __init__(self, width: int, heads: int, rngs: nnx.Rngs) -> None:
        # A bias of the keys has no gradient but rounding, of which adamw makes a step of full length.
        self.attention = nnx.MultiHeadAttention(heads, width, use_bias=False, decode=False, rngs=rngs)
        self.wide = nnx.Linear(width, 4 * width, rngs=rngs)
        self.narrow = nnx.Linear(4 * width, width, rngs=rngs)
        self.norm_attention = nnx.LayerNorm(width, rngs=rngs)
        self.norm_perceptron = nnx.LayerNorm(width, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Sequences `[batch, tokens, width]` to others."""
        mask = nnx.make_causal_mask(x[..., 0])
        x = x + self.attention(self.norm_attention(x), mask=mask)
        return x + self.narrow(jax.nn.gelu(self.wide(self.norm_perceptron(x))))


class LanguageModel(nnx.Module):
    """Embeddings, blocks, and logits of the next token."""

    def __init__(self, layers: int, width: int, heads: int, tokens: int, scanned: bool, rngs: nnx.Rngs) -> None:
        self.embedding = nnx.Embed(VOCABULARY, width, rngs=rngs)
        self.positions = nnx.Embed(tokens, width, rngs=rngs)
        self.norm = nnx.LayerNorm(width, rngs=rngs)
        self.head = nnx.Linear(width, VOCABULARY, rngs=rngs)
        self.scanned = scanned
        if scanned:

            @nnx.split_rngs(splits=layers)
            @nnx.vmap(in_axes=0, out_axes=0)
            def make_blocks(rngs: nnx.Rngs) -> Block:
                return Block(width, heads, rngs)

            self.blocks = make_blocks(rngs)
        else:
            self.blocks = nnx.List([Block(width, heads, rngs) for _ in range(layers)])

    def __call__(self, texts: jax.Array) -> jax.Array:
        """The logits `[batch, tokens, VOCABULARY]` of texts `[batch, tokens]`."""
        x = self.embedding(texts) + self.positions(np.arange(texts.shape[1]))
        if self.scanned:

            @nnx.scan(in_axes=(nnx.Carry, 0), out_axes=nnx.Carry)
            def through(x: jax.Array, block: Block) -> jax.Array:
                return block(x)

            x = through(x, self.blocks)
        else:
            for block in self.blocks:
                x = block(x)
        return self.head(self.norm(x))


def build(
    layers: int, width: int, heads: int, tokens: int, *, scanned: bool
) -> tuple[Callable[..., Any], Callable[[int, int], tuple]]:
    """The training step of `(model and optimiser state, texts)`, and its arguments by `(seed, batch)`."""

    def make(seed: int) -> tuple[nnx.Module, nnx.Optimizer]:
        model = LanguageModel(layers, width, heads, tokens, scanned, nnx.Rngs(seed))
        return model, nnx.Optimizer(model, optax.adamw(3e-4), wrt=nnx.Param)

    definition = nnx.split(nnx.eval_shape(lambda: make(0)))[0]

    def loss(model: nnx.Module, texts: jax.Array) -> jax.Array:
        logits = model(texts[:, :-1])
        return optax.softmax_cross_entropy_with_integer_labels(logits, texts[:, 1:]).mean()

    def step(state: Any, texts: jax.Array) -> tuple:
        model, optimiser = nnx.merge(definition, state)
        value, gradient = nnx.value_and_grad(loss)(model, texts)
        optimiser.update(model, gradient)
        return nnx.state((model, optimiser)), value

    def make_args(seed: int, batch: int) -> tuple:
        state = nnx.to_pure_dict(nnx.state(make(seed)))
        texts = np.random.default_rng(seed).integers(0, VOCABULARY, (batch, tokens + 1), dtype=np.int32)
        return jax.device_get(state), texts

    return step, make_args


UNROLLED = transformer_step(
    build, "nnx-unrolled", "flax nnx transformer, 12 layers unrolled", scanned=False, limit_mib=470
)
SCANNED = transformer_step(build, "nnx-scanned", "flax nnx transformer, 12 layers scanned", scanned=True, limit_mib=560)
