"""A residual network from `haiku.nets` with its batch norm: one `optax.sgd` step."""

from collections.abc import Callable
from typing import Any

import haiku as hk
import jax
import numpy as np
import optax

from benchmarks.programs.program import MIB, RELU_TOLERANCE, Program, relu_note

CLASSES = 100


def build(
    pixels: int, channels: tuple[int, ...], blocks: tuple[int, ...] = (2, 2, 2, 2)
) -> tuple[Callable[..., Any], Callable[[int, int], tuple]]:
    """The training step of `(parameters, averages, images, labels)`, and its arguments by `(seed, batch)`."""

    def predict(images: jax.Array, is_training: bool) -> jax.Array:
        network = hk.nets.ResNet(
            blocks,
            CLASSES,
            bottleneck=False,
            channels_per_group=channels,
            use_projection=(False,) + (True,) * (len(blocks) - 1),
            initial_conv_config={"output_channels": channels[0]},
        )
        return network(images, is_training)

    network = hk.transform_with_state(predict)
    optimiser = optax.sgd(0.1)

    def loss(parameters: Any, averages: Any, images: jax.Array, labels: jax.Array) -> tuple:
        logits, averages = network.apply(parameters, averages, None, images, True)
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean(), averages

    def step(parameters: Any, averages: Any, images: jax.Array, labels: jax.Array) -> tuple:
        (value, averages), gradient = jax.value_and_grad(loss, has_aux=True)(parameters, averages, images, labels)
        updates, _ = optimiser.update(gradient, optimiser.init(parameters))
        return optax.apply_updates(parameters, updates), averages, value

    def make_args(seed: int, batch: int) -> tuple:
        rng = np.random.default_rng(seed)
        images = rng.standard_normal((batch, pixels, pixels, 3), dtype=np.float32)
        parameters, averages = network.init(jax.random.key(seed), images[:1], True)
        return (*jax.device_get((parameters, averages)), images, rng.integers(0, CLASSES, batch, dtype=np.int32))

    return step, make_args


_fun, _make_args = build(pixels=64, channels=(32, 64, 128, 256))

RESNET = Program(
    name="haiku-resnet",
    title="haiku ResNet of 18 layers, 512 images of 64 x 64, sgd step",
    fun=_fun,
    make_args=lambda seed: _make_args(seed, 512),
    warm_args=lambda: _make_args(0, 8),
    limit_bytes=190 * MIB,
    target_ratio=1.15,
    tolerance=RELU_TOLERANCE,
    note=relu_note,
)
