"""A five-layer perceptron: loss and gradient in all weights over one large batch."""

from itertools import pairwise

import jax
import numpy as np

from benchmarks.programs.program import MIB, RELU_TOLERANCE, Program, normal, relu_note


def predict(params: list[dict], x: jax.Array) -> jax.Array:
    """Dense layers with ReLU between them."""
    for layer in params[:-1]:
        x = jax.nn.relu(x @ layer["weight"] + layer["bias"])
    return x @ params[-1]["weight"] + params[-1]["bias"]


def loss(params: list[dict], x: jax.Array, target: jax.Array) -> jax.Array:
    """Mean squared error of the prediction."""
    return ((predict(params, x)[:, 0] - target) ** 2).mean()


value_and_gradient = jax.value_and_grad(loss)


def make_args(seed: int, batch: int, sizes: tuple[int, ...]) -> tuple:
    """He-initialised weights, small biases, normal inputs and targets."""
    rng = np.random.default_rng(seed)
    params = [
        {
            "weight": normal(rng, fan_in, fan_out, scale=float(np.sqrt(2 / fan_in))),
            "bias": normal(rng, fan_out, scale=0.1),
        }
        for fan_in, fan_out in pairwise(sizes)
    ]
    return params, normal(rng, batch, sizes[0]), normal(rng, batch)


MLP = Program(
    name="mlp",
    title="5-layer MLP, batch 16 384 x 256, width 1 024, loss and gradient",
    fun=value_and_gradient,
    make_args=lambda seed: make_args(seed, 16_384, (256, 1024, 1024, 1024, 1024, 1)),
    warm_args=lambda: make_args(0, 13, (6, 8, 8, 8, 8, 1)),
    limit_bytes=128 * MIB,
    target_ratio=0.7,
    tolerance=RELU_TOLERANCE,
    note=relu_note,
)
