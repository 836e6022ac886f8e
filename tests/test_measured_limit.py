"""The limit holds on the real machine: measured growth in a fresh process, one program for each family of rules."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import memline
from tests.families import FAMILIES, normal

MIB = 2**20
# Family, and a size at which the whole program's temporaries are tens of MiB.
SIZES = {
    "k-NN": 150_000,  # broadcast, elementwise, short reduction, top-k along a cut axis
    "kernel gradient": 2_501,  # dot products both ways
    "attention gradient": 2_049,  # softmax and its gradient
    "cross entropy gradient": 40_001,  # gather and scatter with batch axes
    "sparse GP gradient": 100_001,  # Cholesky and triangular solves
    "conv net gradient": 2_003,  # convolutions, pooling windows and their gradients
    "batch norm gradient": 80_001,  # stages
    "cumulative": 3_001,  # cumulative sums
    "sort": 2_501,  # sorts
    "argmax": 3_501,  # arg-max over the cut axis
    "gather and scatter": 150_001,  # embedding and its transpose
    "reshape": 30_001,  # merged axes
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SIZES)
def test_growth_stays_under_the_limit_less_the_arguments(name: str) -> None:
    family = FAMILIES[name]
    args = family.args(SIZES[name])
    grows_no_more_than_allowed(family.fun, args)


def layer(x: Any, p: Any) -> Any:
    """A layer of a transformer without heads."""
    normed = (x - x.mean(-1, keepdims=True)) / jnp.sqrt(x.var(-1, keepdims=True) + 1e-5)
    q, k, v = (normed @ p[name] for name in ("q", "k", "v"))
    x = x + jax.nn.softmax(q @ jnp.swapaxes(k, 1, 2) / 8) @ v
    return x + jax.nn.gelu(x @ p["up"]) @ p["down"], None


def transformer_gradient(p: Any, x: Any) -> Any:
    return jax.grad(lambda p: (lax.scan(layer, x, p)[0] ** 2).mean())(p)


def recurrence_gradient(w: Any, h: Any, xs: Any) -> Any:
    def loss(w: Any, h: Any, xs: Any) -> Any:
        return (lax.scan(lambda h, x: (jnp.tanh(h @ w + x), None), h, xs)[0] ** 2).sum()

    return jax.value_and_grad(loss, (0, 1))(w, h, xs)


@pytest.mark.slow
def test_layers_under_a_scan():
    width, layers = 32, 6
    shapes = {**dict.fromkeys("qkv", (layers, width, width)), "up": (layers, width, 96), "down": (layers, 96, width)}
    weights = {name: 0.1 * normal(*shape, seed=i) for i, (name, shape) in enumerate(shapes.items())}
    grows_no_more_than_allowed(transformer_gradient, (weights, normal(33, 100, width, seed=9)))


@pytest.mark.slow
def test_a_long_recurrence():
    grows_no_more_than_allowed(
        recurrence_gradient, (0.2 * normal(8, 8), normal(50, 8, seed=1), normal(10_001, 8, seed=2))
    )


def grows_no_more_than_allowed(fun: Any, args: Any) -> None:
    held = sum(np.asarray(x).nbytes for x in jax.tree.leaves(args))
    whole = memline.jit(fun).lower(*args).plan
    assert whole.whole_peak_bytes is not None
    temporaries = whole.whole_peak_bytes - whole.argument_bytes - whole.output_bytes
    assert temporaries > 20 * MIB, "too small to show anything"
    limit_bytes = whole.argument_bytes + whole.output_bytes + max(temporaries // 4, 8 * MIB)
    compiled = memline.jit(fun, memory_limit=limit_bytes).lower(*args).compile()
    assert compiled.plan.moves
    room = limit_bytes - held
    assert compiled.measure(*args, repeats=0).peak_bytes <= 1.05 * room + 8 * MIB
