"""Kinds of arrays to draw: what numbers an array holds, and how one is drawn or made inside a program.

A kind is a letter. Kinds that are drawn element by element are functions of a number between 0 and 1, so
that a program can make a big array of them from two short vectors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

SMALL = {"n": 5, "m": 4, "d": 3, "e": 2}
LARGE = {"n": 37, "m": 28, "d": 18, "e": 6}
_WIDE = {np.dtype(name) for name in ("float64", "complex128", "int64", "uint64")}


@dataclass(frozen=True)
class Spec:
    """One argument: its kind, its axes (letters, or digits for a fixed size) and a dtype that is not the kind's own."""

    kind: str
    axes: tuple[str, ...]
    dtype: Any = None
    weak: bool = False
    """Whether its type yields to others', as that of a Python number does; for arguments without axes."""

    def __str__(self) -> str:
        dtype = f":{np.dtype(self.dtype)}" if self.dtype else ":weak" if self.weak else ""
        return f"{self.kind}[{', '.join(self.axes)}]{dtype}"

    @classmethod
    def parse(cls, text: str) -> Spec:
        """Reads text such as ``"x n d"``: kind x, axes n and d."""
        kind, *axes = text.split()
        return cls(kind, tuple(axes))

    def shape(self, sizes: Mapping[str, int]) -> tuple[int, ...]:
        return tuple(sizes[a] if a in sizes else int(a) for a in self.axes)

    @property
    def elementwise(self) -> bool:
        """Whether each element is drawn by itself."""
        return self.kind in ELEMENTWISE

    @property
    def wide(self) -> bool:
        """Whether it needs 64-bit types."""
        return self.dtype is not None and np.dtype(self.dtype) in _WIDE


def _real(t: Any, xp: Any) -> Any:
    return (t - 0.5) * 5.0


def _complex(t: Any, xp: Any) -> Any:
    return (t - 0.5) * 5.0 + 1j * ((t * 7.0) % 1.0 - 0.5)


ELEMENTWISE: dict[str, tuple[Callable[[Any, Any], Any], Any]] = {
    "x": (_real, np.float32),  # any real number
    "+": (lambda t, xp: 0.3 + 2.5 * t, np.float32),  # positive
    "u": (lambda t, xp: 0.05 + 0.9 * t, np.float32),  # inside (0, 1)
    "v": (lambda t, xp: 1.9 * t - 0.95, np.float32),  # inside (-1, 1)
    "w": (lambda t, xp: 1.1 + 2.0 * t, np.float32),  # over 1
    "r": (lambda t, xp: xp.floor(t * 5.0) - 2.0, np.float32),  # with many ties
    "N": (lambda t, xp: xp.where(t < 0.2, np.nan, (t - 0.5) * 5.0), np.float32),  # with NaNs
    "i": (lambda t, xp: xp.floor(t * 3.0), np.int32),  # 0, 1, 2
    "j": (lambda t, xp: xp.floor(t * 19.0) - 9.0, np.int32),  # integers of both signs
    "B": (lambda t, xp: xp.floor(t * 255.0), np.uint8),  # bytes
    "b": (lambda t, xp: t > 0.5, np.bool_),
    "c": (_complex, np.complex64),
}
"""kind: (the array of a number in (0, 1) for each element, its dtype)"""


def _square(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Well-conditioned square matrices."""
    return rng.normal(size=shape) + 2.0 * np.sqrt(shape[-1]) * np.eye(shape[-1])


def _definite(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    a = rng.normal(size=shape)
    return a @ np.swapaxes(a, -1, -2) / shape[-1] + np.eye(shape[-1])


def _on_simplex(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    x = rng.uniform(0.2, 1.0, size=shape)
    return x / x.sum(-1, keepdims=True)


_WHOLE: dict[str, tuple[Callable[[np.random.Generator, tuple[int, ...]], np.ndarray], Any]] = {
    "q": (_square, np.float32),
    "s": (_definite, np.float32),
    "l": (lambda rng, shape: np.tril(_square(rng, shape)), np.float32),
    "U": (lambda rng, shape: np.triu(_square(rng, shape)), np.float32),
    "h": (lambda rng, shape: _definite(rng, shape) + 0j, np.complex64),
    "o": (lambda rng, shape: np.sort(rng.normal(size=shape), -1), np.float32),
    "p": (lambda rng, shape: rng.permuted(np.broadcast_to(np.arange(shape[-1]), shape), axis=-1), np.int32),
    "D": (_on_simplex, np.float32),
}
"""kind: (how to draw the whole array, its dtype)"""

_DISCRETE = "rijBbpo"
"""Kinds of which a mean of two is of another kind, or has no ties any more."""


def sample(spec: Spec, sizes: Mapping[str, int], rng: np.random.Generator) -> Any:
    """Draws an array of a kind; `k` is a PRNG key."""
    shape = spec.shape(sizes)
    if spec.kind == "k":
        seeds = rng.integers(0, 1 << 30, size=shape)
        return jax.vmap(jax.random.key)(seeds) if shape else jax.random.key(int(seeds))
    if spec.elementwise:
        make, dtype = ELEMENTWISE[spec.kind]
        numbers = make(rng.random(size=shape), np)
    else:
        draw, dtype = _WHOLE[spec.kind]
        numbers = draw(rng, shape)
    if spec.weak and dtype in (np.float32, np.int32):  # from a Python number, whose type is weak
        return jnp.asarray(np.asarray(numbers, dtype).item())
    return jnp.asarray(np.asarray(numbers), spec.dtype or dtype)


def made_inside(spec: Spec, vectors: Any) -> Any:
    """Returns an array of an element-by-element kind, made from one vector for each of its axes.

    The vectors hold multiples of 1/256, so that no rounding makes a difference between one program and another.
    """
    make, dtype = ELEMENTWISE[spec.kind]
    t = outer_fraction(vectors)
    return make(t.astype(np.float64) if spec.wide else t, jnp).astype(spec.dtype or dtype)


def outer_fraction(vectors: Any) -> Any:
    """Returns the fractions, in (0, 1), of the sums of one element of each vector."""
    rank = len(vectors)
    total = jnp.float32(0.0)
    for axis, v in enumerate(vectors):
        total = total + v.reshape([-1 if a == axis else 1 for a in range(rank)])
    return total - jnp.floor(total) + jnp.float32(1 / 512)


def dyadic(rng: np.random.Generator, size: int) -> Any:
    """Draws a vector for `outer_fraction`."""
    return jnp.asarray(rng.integers(0, 256, size=size) / 256, np.float32)


def mixed(spec: Spec, t: Any, number: Any, low: Any, high: Any) -> Any:
    """Returns an array of the kind that depends on `t` in (0, 1): one between two, or either of two.

    Of keys it is the one with the running `number` folded in.
    """
    if spec.kind == "k":
        fold_in = jax.random.fold_in
        for _ in range(low.ndim):
            fold_in = jax.vmap(fold_in, (0, None))
        return fold_in(low, number)
    if spec.kind in _DISCRETE or not jnp.issubdtype(low.dtype, np.inexact):
        return jnp.where(t > 0.5, high, low)
    return low + (high - low) * t.astype(low.dtype)
