"""The programs that a drawn call is tried in: alone, mapped over a big batch, and on big arrays made inside.

Each is a function of a few small arrays. The last two make intermediates several times as large as their
arguments and results, so that there is something to split.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tests.sweep.arrays import dyadic, made_inside, mixed, outer_fraction, sample
from tests.sweep.call import Drawn


@dataclass(frozen=True)
class Program:
    """A function of a few arrays, with such arrays."""

    name: str
    raw: Callable[..., list[Any]]
    """The results as they come."""
    args: tuple[Any, ...]
    folded: bool = True
    """Whether its results are big, and are to be folded."""

    def fun(self, *args: Any) -> Any:
        """The function to compile."""
        results = self.raw(*args)
        return [_reduced(y) for y in results] if self.folded else results


def programs(drawn: Drawn, seed: int) -> list[Program]:
    """Returns the programs of a drawn call: `batched`, `made` if each of its arrays can be made inside, and `alone`."""
    rng = np.random.default_rng([seed, zlib.crc32(str(drawn).encode())])
    found = [_alone(drawn, rng)]
    if drawn.specs:
        found.insert(0, _batched(drawn, rng))
    if drawn.specs and all(s.elementwise and s.axes for s in drawn.specs) and any(len(s.axes) > 1 for s in drawn.specs):
        found.insert(1, _made(drawn, rng))
    return found


def _alone(drawn: Drawn, rng: np.random.Generator) -> Program:
    args = tuple(sample(spec, dict(drawn.large), rng) for spec in drawn.specs)
    return Program("alone", lambda *xs: _arrays(drawn.function(*xs)), args, folded=False)


def _batched(drawn: Drawn, rng: np.random.Generator) -> Program:
    low, high = (tuple(sample(spec, dict(drawn.small), rng) for spec in drawn.specs) for _ in range(2))
    rows, columns = (dyadic(rng, size) for size in drawn.batch)

    def fun(rows: Any, columns: Any, low: Any, high: Any) -> Any:
        t = outer_fraction((rows, columns))
        numbers = jnp.arange(t.size, dtype=jnp.int32).reshape(t.shape)

        def one(t: Any, number: Any) -> Any:
            args = [mixed(s, t, number, a, b) for s, a, b in zip(drawn.specs, low, high, strict=True)]
            return _arrays(drawn.function(*args))

        return jax.vmap(jax.vmap(one))(t, numbers)

    return Program("batched", fun, (rows, columns, low, high))


def _made(drawn: Drawn, rng: np.random.Generator) -> Program:
    vectors = tuple(tuple(dyadic(rng, size) for size in s.shape(dict(drawn.large))) for s in drawn.specs)

    def fun(vectors: Any) -> Any:
        args = [made_inside(s, v) for s, v in zip(drawn.specs, vectors, strict=True)]
        return _arrays(drawn.function(*args))

    return Program("made", fun, (vectors,))


def with_gradient(program: Program) -> Program | None:
    """Returns the program with its gradient by all floating arguments, or None where it has none."""
    leaves, tree = jax.tree.flatten(program.args)
    moving = [k for k, x in enumerate(leaves) if jnp.issubdtype(x.dtype, np.inexact)]

    def loss(*xs: Any) -> Any:
        full = list(leaves)
        for k, x in zip(moving, xs, strict=True):
            full[k] = x
        return sum(map(_weighed, program.raw(*jax.tree.unflatten(tree, full))), jnp.float32(0.0))

    def fun(*fixed: Any) -> Any:
        given = jax.tree.leaves(fixed)
        return jax.value_and_grad(loss, tuple(range(len(moving))))(*(given[k] for k in moving))

    if not moving:
        return None
    try:
        results = jax.eval_shape(program.raw, *program.args)
        jax.eval_shape(fun, *program.args)
    except Exception:  # it has no gradient, by whatever rule
        return None
    if not any(jnp.issubdtype(y.dtype, np.inexact) for y in results):
        return None
    return Program(f"{program.name} gradient", fun, program.args, folded=False)


def _arrays(results: Any) -> list[Any]:
    """Returns the results as arrays of numbers."""
    found = []
    for y in map(jnp.asarray, jax.tree.leaves(results)):
        if jnp.issubdtype(y.dtype, jax.dtypes.prng_key):
            y = jax.random.key_data(y)
        found.append(y)
    return found


def _reduced(y: Any) -> Any:
    """Folds a result by sums and by extremes, along its first and second axis."""
    if y.ndim == 0 or y.size == 0:
        return y
    if jnp.issubdtype(y.dtype, np.floating) and y.dtype.itemsize == 1:
        y = y.astype(jnp.float32)
    if y.dtype == np.bool_:
        return y.any(0), y.sum(-1 if y.ndim == 1 else 1)
    if jnp.issubdtype(y.dtype, np.complexfloating):
        return y.sum(0)
    return y.sum(0), y.max(-1 if y.ndim == 1 else 1)


def _weighed(y: Any) -> Any:
    """Returns a sum of a result with unlike weights: the gradient of a plain sum is often zero."""
    if not jnp.issubdtype(y.dtype, np.inexact):
        return jnp.float32(0.0)
    y = jnp.real(y)
    dtype = y.dtype if y.dtype == np.float64 else np.dtype(np.float32)
    weights = jnp.ones((), dtype)
    for axis in range(y.ndim):
        weights = weights + 0.5 * jnp.cos(jax.lax.broadcasted_iota(dtype, y.shape, axis) + axis)
    return (y.astype(dtype) * weights).sum()
