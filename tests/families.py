"""Families of programs that memline is for, at sizes that a test can afford.

Each grows with one number `n` and makes something far bigger than its arguments and results.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

Arrays = tuple[Any, ...]


@dataclass(frozen=True)
class Family:
    """A program with its arguments, and what splitting its biggest value gives."""

    fun: Callable[..., Any]
    args: Callable[[int], Arrays]
    n: int
    """The size for a quick test; odd, so that most chunks leave a remainder."""
    axis: int = 0
    """The axis along which the biggest value is split."""
    stages: int = 1
    differentiable: bool = True


def normal(*shape: int, seed: int = 0) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape).astype(np.float32))


def whole_numbers(high: int, *shape: int, seed: int = 0) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).integers(0, high, size=shape).astype(np.int32))


def distances(x: Any, y: Any) -> Any:
    return ((x[:, None] - y[None, :]) ** 2).sum(-1)


def gaussian_kernel(x: Any, y: Any) -> Any:
    return jnp.exp(-0.5 * distances(x, y))


def nearest(x: Any, queries: Any) -> Any:
    values, places = lax.top_k(-distances(queries, x), 5)
    return -values, places


def kernel_product(x: Any, v: Any) -> Any:
    return gaussian_kernel(x, x) @ v


def kernel_gradient(x: Any, v: Any) -> Any:
    return jax.grad(lambda x, v: v @ kernel_product(x, v), (0, 1))(x, v)


def attend(q: Any, k: Any, v: Any) -> Any:
    return jax.nn.softmax(q @ k.T / np.sqrt(q.shape[-1]).astype(np.float32)) @ v


def attention_gradient(q: Any, k: Any, v: Any) -> Any:
    return jax.value_and_grad(lambda *qkv: (attend(*qkv) ** 2).sum(), (0, 1, 2))(q, k, v)


def mlp_loss(params: Any, x: Any, y: Any) -> Any:
    for w, b in params[:-1]:
        x = jnp.tanh(x @ w + b)
    w, b = params[-1]
    return jnp.mean((x @ w + b - y) ** 2)


def mlp_gradient(w1: Any, b1: Any, w2: Any, b2: Any, w3: Any, b3: Any, x: Any, y: Any) -> Any:
    return jax.value_and_grad(mlp_loss)(((w1, b1), (w2, b2), (w3, b3)), x, y)


def mlp_args(n: int) -> Arrays:
    sizes = [(8, 64), (64,), (64, 64), (64,), (64, 1), (1,), (n, 8), (n, 1)]
    return tuple(0.3 * normal(*shape, seed=i) for i, shape in enumerate(sizes))


def cross_entropy_gradient(h: Any, w: Any, labels: Any) -> Any:
    def loss(h: Any, w: Any) -> Any:
        logits = h @ w
        return (jax.nn.logsumexp(logits, axis=-1) - jnp.take_along_axis(logits, labels[:, None], 1)[:, 0]).mean()

    return jax.value_and_grad(loss, (0, 1))(h, w)


def sparse_gp(x: Any, y: Any, z: Any) -> Any:
    """The collapsed bound of a sparse Gaussian process, unit parameters."""
    n, m = x.shape[0], z.shape[0]
    chol = jnp.linalg.cholesky(gaussian_kernel(z, z) + 1e-2 * jnp.eye(m))
    a = jax.scipy.linalg.solve_triangular(chol, gaussian_kernel(z, x), lower=True)
    inner = jnp.linalg.cholesky(a @ a.T + jnp.eye(m))
    c = jax.scipy.linalg.solve_triangular(inner, a @ y, lower=True)
    return -jnp.log(jnp.diag(inner)).sum() - 0.5 * (y @ y - c @ c) - 0.5 * (n - (a * a).sum())


def sinkhorn(x: Any, y: Any) -> Any:
    cost = distances(x, y)
    f, g = jnp.zeros(len(x)), jnp.zeros(len(y))
    for _ in range(3):
        f = -jax.nn.logsumexp(g[None, :] - cost, axis=1)
        g = -jax.nn.logsumexp(f[:, None] - cost, axis=0)
    return f, g


def conv_gradient(w1: Any, w2: Any, x: Any, labels: Any) -> Any:
    def loss(w1: Any, w2: Any) -> Any:
        numbers = ("NHWC", "HWIO", "NHWC")
        h = jax.nn.relu(lax.conv_general_dilated(x, w1, (1, 1), "SAME", dimension_numbers=numbers))
        h = lax.reduce_window(h, -np.inf, lax.max, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
        h = lax.conv_general_dilated(h, w2, (1, 1), "SAME", dimension_numbers=numbers).mean((1, 2))
        return (jax.nn.logsumexp(h, -1) - jnp.take_along_axis(h, labels[:, None], 1)[:, 0]).mean()

    return jax.value_and_grad(loss, (0, 1))(w1, w2)


def conv_args(n: int) -> Arrays:
    kernels = 0.3 * normal(3, 3, 3, 8), 0.3 * normal(3, 3, 8, 4, seed=1)
    return (*kernels, normal(n, 12, 12, 3, seed=2), whole_numbers(4, n))


def batch_norm_gradient(w1: Any, w2: Any, x: Any, y: Any) -> Any:
    def normalise(h: Any) -> Any:
        return (h - h.mean(0)) / jnp.sqrt(h.var(0) + 1e-3)

    def loss(w1: Any, w2: Any) -> Any:
        h = jax.nn.relu(normalise(x @ w1))
        return ((normalise(h @ w2).sum(1) - y) ** 2).mean()

    return jax.value_and_grad(loss, (0, 1))(w1, w2)


def mmd(x: Any, y: Any) -> Any:
    return gaussian_kernel(x, x).mean() + gaussian_kernel(y, y).mean() - 2 * gaussian_kernel(x, y).mean()


def cumulative(x: Any, y: Any) -> Any:
    return jnp.cumsum(jnp.cos(x[:, None] * y[None, :]), axis=1).max(1)


def medians(x: Any, y: Any) -> Any:
    return jnp.sort(x[:, None] * y[None, :], axis=1)[:, y.shape[0] // 2]


def winners(x: Any, y: Any) -> Any:
    scores = jnp.sin(x[:, None] * y[None, :])
    return jnp.argmax(scores, axis=0), jnp.argmin(scores, axis=0), scores.max(0), (scores > 0.5).any(0)


def joined(x: Any, y: Any) -> Any:
    outer = x[:, None] * y[None, :]
    return jnp.concatenate([jnp.sin(outer), jnp.cos(outer), outer], axis=1) @ jnp.tile(y, 3)


def looked_up(table: Any, places: Any) -> Any:
    rows = table[places]
    return jnp.zeros_like(table).at[places].add(jnp.tanh(rows) * 2), rows.sum(1)


def gram(x: Any) -> Any:
    h = jnp.tanh(x[:, :, None] * jnp.arange(1.0, 9.0)).reshape(len(x), -1)
    return h.T @ h


def padded(x: Any, y: Any) -> Any:
    outer = jnp.pad(x[:, None] * y[None, :], ((0, 0), (1, 1)))
    return (outer[:, 2:] - 2 * outer[:, 1:-1] + outer[:, :-2]).max(1)


def layer_norm(x: Any, w: Any) -> Any:
    h = jnp.exp(x @ w)
    h = (h - h.mean(-1, keepdims=True)) / jnp.sqrt(h.var(-1, keepdims=True) + 1e-3)
    return jax.nn.gelu(h) @ w.T


def reshaped(x: Any, w: Any) -> Any:
    """Axes merged and taken apart again on the way, as batched models do."""
    h = jnp.tanh(x @ w)  # [n, 4, 96]
    h = h.reshape(-1, h.shape[-1]) @ w.T
    return h.reshape(len(x), 4, -1).sum(1)


def _pair(n: int, width: int = 3) -> Arrays:
    return normal(n, width), normal(n, width, seed=1)


FAMILIES: dict[str, Family] = {
    "k-NN": Family(nearest, lambda n: (normal(n, 8), normal(61, 8, seed=1)), 403, differentiable=False),
    "k-NN over points": Family(
        nearest, lambda n: (normal(n, 8), normal(61, 8, seed=1)), 403, axis=1, differentiable=False
    ),
    "kernel product": Family(kernel_product, lambda n: (normal(n, 3), normal(n, seed=1)), 403),
    "kernel gradient": Family(kernel_gradient, lambda n: (normal(n, 3), normal(n, seed=1)), 203, stages=2),
    "attention": Family(attend, lambda n: tuple(normal(n, 16, seed=i) for i in range(3)), 403),
    "attention gradient": Family(attention_gradient, lambda n: tuple(normal(n, 16, seed=i) for i in range(3)), 403),
    "MLP gradient": Family(mlp_gradient, mlp_args, 1003),
    "cross entropy gradient": Family(
        cross_entropy_gradient,
        lambda n: (normal(n, 16), 0.3 * normal(16, 300, seed=1), whole_numbers(300, n)),
        403,
    ),
    "sparse GP": Family(sparse_gp, lambda n: (normal(n, 3), normal(n, seed=1), normal(29, 3, seed=2)), 2003, axis=1),
    "sparse GP gradient": Family(
        jax.grad(sparse_gp, (0, 1, 2)),
        lambda n: (normal(n, 3), normal(n, seed=1), normal(29, 3, seed=2)),
        2003,
        axis=1,
        stages=2,
        differentiable=False,
    ),
    "Sinkhorn": Family(sinkhorn, lambda n: _pair(n, 2), 203, stages=6),
    "conv net gradient": Family(conv_gradient, conv_args, 103, differentiable=False),
    "batch norm gradient": Family(
        batch_norm_gradient,
        lambda n: (0.3 * normal(8, 64), 0.2 * normal(64, 32, seed=1), normal(n, 8, seed=2), normal(n, seed=3)),
        1003,
        stages=9,
    ),
    "MMD": Family(mmd, _pair, 303),
    "cumulative": Family(cumulative, lambda n: (normal(n), normal(n, seed=1)), 403),
    "sort": Family(medians, lambda n: (normal(n), normal(n, seed=1)), 403),
    "argmax": Family(winners, lambda n: (normal(n), normal(n, seed=1)), 403, differentiable=False),
    "concatenate": Family(joined, lambda n: (normal(n), normal(200, seed=1)), 403),
    "gather and scatter": Family(
        looked_up, lambda n: (normal(50, 64), whole_numbers(50, n, seed=1)), 2003, differentiable=False
    ),
    "x.T @ x": Family(gram, lambda n: (normal(n, 7),), 1003),
    "pad and slice": Family(padded, lambda n: (normal(n), normal(n, seed=1)), 403),
    "layer norm": Family(layer_norm, lambda n: (normal(n, 8), 0.3 * normal(8, 200, seed=1)), 1003),
    "reshape": Family(reshaped, lambda n: (normal(n, 4, 8), 0.3 * normal(8, 96, seed=1)), 403),
}
