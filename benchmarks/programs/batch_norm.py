"""A perceptron with batch normalisation: every layer waits for statistics of the whole batch."""

from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.programs.program import MIB, RELU_TOLERANCE, Program, normal, relu_note


def normalise(x: jax.Array, gain: jax.Array, shift: jax.Array) -> jax.Array:
    """Batch normalisation with the statistics of this batch."""
    mean, variance = x.mean(0), x.var(0)
    return (x - mean) / jnp.sqrt(variance + 1e-5) * gain + shift


def predict(params: dict, x: jax.Array) -> jax.Array:
    """Logits: dense, batch norm and ReLU in every layer, then a dense head."""
    for layer in params["layers"]:
        x = jax.nn.relu(normalise(x @ layer["weight"], layer["gain"], layer["shift"]))
    return x @ params["weight"] + params["bias"]


def loss(params: dict, x: jax.Array, labels: jax.Array) -> jax.Array:
    """Mean cross-entropy of the labels."""
    log_probs = jax.nn.log_softmax(predict(params, x))
    return -jnp.take_along_axis(log_probs, labels[:, None], axis=-1).mean()


value_and_gradient = jax.value_and_grad(loss)


def make_args(seed: int, batch: int, sizes: tuple[int, ...], classes: int) -> tuple:
    """He-initialised weights, gains near one, small shifts, normal inputs, uniform labels."""
    rng = np.random.default_rng(seed)
    layers = [
        {
            "weight": normal(rng, fan_in, fan_out, scale=float(np.sqrt(2 / fan_in))),
            "gain": 1 + normal(rng, fan_out, scale=0.1),
            "shift": normal(rng, fan_out, scale=0.1),
        }
        for fan_in, fan_out in pairwise(sizes)
    ]
    params = {
        "layers": layers,
        "weight": normal(rng, sizes[-1], classes, scale=sizes[-1] ** -0.5),
        "bias": normal(rng, classes, scale=0.1),
    }
    labels = rng.integers(0, classes, batch, dtype=np.int32)
    return params, normal(rng, batch, sizes[0]), labels


BATCH_NORM = Program(
    name="batch-norm",
    title="batch-norm MLP, 4 layers of 512, batch 16 384, loss and gradient",
    fun=value_and_gradient,
    make_args=lambda seed: make_args(seed, 16_384, (256, 512, 512, 512, 512), 10),
    warm_args=lambda: make_args(0, 13, (6, 8, 8, 8, 8), 10),
    limit_bytes=192 * MIB,
    target_ratio=1.5,
    # Twice what plain `jit` itself is from float64 when only its compile options change: 1.1e-2.
    tolerance=2 * RELU_TOLERANCE,
    note=relu_note,
)
