"""Random programs, drawn step by step from the families of rules."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import strategies as st
from jax import lax

Step = Callable[[Any], Any]
LENGTH = 150  # of the axes that make a program's values big


def _softmax(axis: int) -> Step:
    return lambda x: jax.nn.softmax(x, axis=axis)


def _take(axis: int) -> Step:
    def take(x: Any) -> Any:
        places = (jnp.arange(x.shape[axis]) * 7) % x.shape[axis]
        return jnp.take(x, places, axis=axis)

    return take


STEPS: dict[str, Step] = {
    "tanh": jnp.tanh,
    "exp": lambda x: jnp.exp(-jnp.abs(x)),
    "scaled": lambda x: 0.5 * x + 1.0,
    "where": lambda x: jnp.where(x > 0, x, 0.1 * x),
    "mask": lambda x: jnp.where(jnp.arange(x.shape[0])[:, None] >= jnp.arange(x.shape[1]), x, 0.0),
    "transpose": lambda x: x.T,
    "gram": lambda x: x @ x.T / x.shape[1],
    "gram over rows": lambda x: x.T @ x / x.shape[0],
    "mixed rows": lambda x: lax.dot_general(jnp.sin(x), x, (((0,), (0,)), ((), ()))) / x.shape[0],
    "dropped out": lambda x: jnp.where(jax.random.bernoulli(jax.random.key(3), 0.7, x.shape), x, 0.0),
    "held": lambda x: lax.optimization_barrier(x) * 0.9,
    "centred": lambda x: x - x.mean(0),
    "normed": lambda x: (x - x.mean(1, keepdims=True)) / jnp.sqrt(x.var(1, keepdims=True) + 1e-2),
    "softmax 0": _softmax(0),
    "softmax 1": _softmax(1),
    "largest": lambda x: x / (1.0 + jnp.abs(x).max(0)),
    "cumsum 0": lambda x: jnp.cumsum(x, axis=0) / x.shape[0],
    "cumsum 1": lambda x: jnp.cumsum(x, axis=1) / x.shape[1],
    "sorted": lambda x: jnp.sort(x, axis=1),
    "taken 0": _take(0),
    "taken 1": _take(1),
    "padded": lambda x: jnp.pad(x, ((0, 0), (1, 2))),
    "joined": lambda x: jnp.concatenate([x, 2 * x[:, :3]], axis=1),
    "sliced": lambda x: x[1:, :],
    "reversed": lambda x: x[:, ::-1] + x,
    "reshaped": lambda x: (x.reshape(x.shape[0], 1, x.shape[1]) * 0.5).reshape(x.shape),
    "distances": lambda x: jnp.exp(-((x[:, None, :4] - x[None, :, :4]) ** 2).sum(-1)),
}
ENDS: dict[str, Step] = {
    "sum": lambda x: x.sum(),
    "rows": lambda x: x.sum(1),
    "columns": lambda x: x.sum(0),
    "max": lambda x: (x.max(0), x.min(1)),
    "best": lambda x: (jnp.argmax(jnp.round(x * 8), 1), jnp.argmin(jnp.round(x * 8), 0)),
    "top": lambda x: lax.top_k(jnp.round(x * 8), 3),
    "any": lambda x: ((x > 0.5).any(0), (x > -3).all(1)),
    "counts": lambda x: (x > 0.25).astype(np.int32).sum(1),
    "logsumexp": lambda x: jax.scipy.special.logsumexp(x, axis=1),
}


class Drawn:
    """A program with its arguments; prints as how it was made, not as its numbers."""

    def __init__(self, text: str, fun: Callable[[Any, Any], Any], x: Any, y: Any) -> None:
        self.text = text
        self.fun = fun
        self.x = x
        self.y = y

    def __repr__(self) -> str:
        return f"<{self.text}>"


@st.composite
def programs(draw: st.DrawFn) -> Drawn:
    """Draws an outer product of points, some steps, and an end; or the gradient of that."""
    steps = draw(st.lists(st.sampled_from(sorted(STEPS)), min_size=1, max_size=4))
    ends = draw(st.lists(st.sampled_from(sorted(ENDS)), min_size=1, max_size=2, unique=True))
    rows = draw(st.integers(LENGTH, LENGTH + 60))
    columns = draw(st.integers(LENGTH, LENGTH + 60))
    gradient = draw(st.booleans()) and ends == ["sum"]
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    x = rng.normal(size=(rows, 5)).astype(np.float32)
    y = rng.normal(size=(5, columns)).astype(np.float32)

    def program(x: Any, y: Any) -> Any:
        value = x @ y
        for step in steps:
            value = STEPS[step](value)
        return [ENDS[end](value) for end in ends]

    text = f"{rows} x {columns}: {', '.join([*steps, *ends])}"
    if gradient:
        return Drawn(f"gradient of {text}", jax.grad(lambda x, y: program(x, y)[0], (0, 1)), x, y)
    return Drawn(text, program, x, y)
