"""A convolutional classifier: four strided 3x3 layers, loss and gradient over a batch of images."""

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from benchmarks.programs.program import MIB, RELU_TOLERANCE, Program, normal, relu_note

STRIDES = (1, 2, 2, 2)


def predict(params: dict, images: jax.Array) -> jax.Array:
    """Logits of `[batch, height, width, channels]` images."""
    x = images
    for layer, stride in zip(params["convolutions"], STRIDES, strict=True):
        x = lax.conv_general_dilated(
            x, layer["weight"], (stride, stride), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC")
        )
        x = jax.nn.relu(x + layer["bias"])
    return x.mean((1, 2)) @ params["weight"] + params["bias"]


def loss(params: dict, images: jax.Array, labels: jax.Array) -> jax.Array:
    """Mean cross-entropy of the labels."""
    log_probs = jax.nn.log_softmax(predict(params, images))
    return -jnp.take_along_axis(log_probs, labels[:, None], axis=-1).mean()


value_and_gradient = jax.value_and_grad(loss)


def make_args(seed: int, batch: int, size: int, channels: tuple[int, ...], classes: int) -> tuple:
    """He-initialised weights, small biases, normal images and uniform labels."""
    rng = np.random.default_rng(seed)
    convolutions = [
        {
            "weight": normal(rng, 3, 3, fan_in, fan_out, scale=float(np.sqrt(2 / (9 * fan_in)))),
            "bias": normal(rng, fan_out, scale=0.1),
        }
        for fan_in, fan_out in zip((3, *channels[:-1]), channels, strict=True)
    ]
    params = {
        "convolutions": convolutions,
        "weight": normal(rng, channels[-1], classes, scale=channels[-1] ** -0.5),
        "bias": normal(rng, classes, scale=0.1),
    }
    labels = rng.integers(0, classes, batch, dtype=np.int32)
    return params, normal(rng, batch, size, size, 3), labels


CONV_NET = Program(
    name="conv-net",
    title="convolutional net, 4 layers, 256 images of 64 x 64, loss and gradient",
    fun=value_and_gradient,
    make_args=lambda seed: make_args(seed, 256, 64, (32, 64, 64, 128), 10),
    warm_args=lambda: make_args(0, 5, 16, (4, 6, 6, 8), 10),
    limit_bytes=256 * MIB,
    target_ratio=1.1,
    tolerance=RELU_TOLERANCE,
    note=relu_note,
)
