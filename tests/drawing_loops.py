"""Random programs with scans, drawn part by part: what a step does, carries and stacks, and what comes after."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import strategies as st
from jax import lax

from tests.drawing import Drawn

WIDTH = 12
Step = Callable[[Any, Any, Any], Any]
"""(the state [rows, WIDTH], a row of weights [WIDTH], the first state) -> the next state"""


def _inner_steps(h: Any, w: Any, x: Any) -> Any:
    return lax.scan(lambda g, s: (jnp.tanh(g * s + w), g.sum(1)), h, jnp.arange(1.0, 4.0, dtype=h.dtype))[0]


def _inner_gradient(h: Any, w: Any, x: Any) -> Any:
    return jax.grad(lambda h: lax.scan(lambda g, s: (jnp.sin(g + s), None), h, jnp.stack([w, -w]))[0].sum())(h)


def _along_rows(h: Any, w: Any, x: Any) -> Any:
    return lax.scan(lambda g, row: (jnp.tanh(0.5 * g + row), g + row), w, h)[1] * 0.5


def _along_columns(h: Any, w: Any, x: Any) -> Any:
    return lax.scan(lambda g, c: (jnp.tanh(g + c), g), jnp.zeros_like(h[:, 0]), h.T, reverse=True)[1].T


STEPS: dict[str, Step] = {
    "mixed": lambda h, w, x: jnp.tanh(h @ jnp.outer(jnp.sin(w), jnp.cos(w)) / 3),
    "shifted": lambda h, w, x: jnp.tanh(h + w),
    "beside": lambda h, w, x: 0.5 * h + 0.3 * x,
    "first row": lambda h, w, x: 0.7 * h + 0.2 * x[0] * w,
    "normed": lambda h, w, x: (h - h.mean(1, keepdims=True)) / jnp.sqrt(h.var(1, keepdims=True) + 0.3),
    "centred": lambda h, w, x: h - h.mean(0),
    "softmax 0": lambda h, w, x: jax.nn.softmax(h, 0) * 3,
    "softmax 1": lambda h, w, x: jax.nn.softmax(h + w, 1),
    "masked": lambda h, w, x: jnp.where(jnp.arange(h.shape[0])[:, None] % 5 < jnp.arange(WIDTH), h, 0.5 * h),
    "noisy": lambda h, w, x: h + jax.random.uniform(jax.random.key(7), h.shape, np.float32).astype(h.dtype),
    "dropped out": lambda h, w, x: jnp.where(jax.random.bernoulli(jax.random.key(3), 0.7, h.shape), h, 0.0),
    "turned": lambda h, w, x: 0.9 * h[::-1],
    "columns turned": lambda h, w, x: 0.9 * h[:, ::-1],
    "cumulative": lambda h, w, x: jnp.cumsum(h, 1) / WIDTH,
    "held": lambda h, w, x: lax.optimization_barrier(h) * 0.9,
    "gram": lambda h, w, x: jnp.tanh(h @ h.T) @ h / h.shape[0],
    "inner steps": _inner_steps,
    "inner gradient": _inner_gradient,
    "along rows": _along_rows,
    "along columns": _along_columns,
    "mapped": lambda h, w, x: lax.map(lambda row: jnp.tanh(row) + w, h),
    "branched": lambda h, w, x: lax.cond(w[0] > 0, jnp.sin, jnp.tanh, h),
}

CARRIED: dict[str, tuple[Callable[[Any], Any], Callable[[Any, Any, Any], Any]]] = {
    "count": (lambda x: 0, lambda c, h, w: c + 1),
    "total": (lambda x: jnp.zeros_like(x[0]), lambda c, h, w: c + h.sum(0)),
    "total from a row": (lambda x: x[0], lambda c, h, w: c - (h * w).sum(0)),
    "energy": (lambda x: x[0, 0] * 0, lambda c, h, w: c + (h * h).sum() / h.size),
    "largest": (lambda x: x[0], lambda c, h, w: jnp.maximum(c, h.max(0))),
    "moving mean": (lambda x: x[1], lambda c, h, w: 0.9 * c + h.mean(0)),
    "positives": (lambda x: 0, lambda c, h, w: c + (h > 1e-2).sum()),
    "flag": (lambda x: jnp.bool_(False), lambda c, h, w: c | (h > 2).any()),
    "rows": (lambda x: x[:, 0], lambda c, h, w: 0.5 * c + h[:, 1]),
    "second state": (lambda x: x, lambda c, h, w: 0.5 * c + 0.1 * h),
    "weights": (lambda x: x[0] * 0, lambda c, h, w: c + w),
    "key": (lambda x: jax.random.key(5), lambda c, h, w: jax.random.split(c)[0]),
}

STACKED: dict[str, Callable[[Any, Any], Any]] = {
    "state": lambda h, w: h,
    "sums": lambda h, w: h.sum(0),
    "scaled sums": lambda h, w: -(h.sum(0) * w) / 3,
    "mean": lambda h, w: h.mean(),
    "largest": lambda h, w: h.max(0),
    "row sums": lambda h, w: h.sum(1),
    "best": lambda h, w: jnp.round(h * 8).argmax(0),
    "a row": lambda h, w: h[-1],
    "weights": lambda h, w: 2 * w,
}


def _backwards(h: Any, ys: Any) -> Any:
    return lax.scan(lambda g, y: (jnp.tanh(0.5 * g + y), g.sum(0)), h, ys, reverse=True)


AFTER: dict[str, Callable[[Any, Any], Any]] = {
    "nothing": lambda h, ys: (),
    "backwards": _backwards,
    "folded": lambda h, ys: (ys.max(0), jnp.cumsum(ys.sum((1, 2))), jnp.round(ys * 8).argmax(0)),
    "normed": lambda h, ys: jax.nn.softmax(ys, 0).sum(1),
    "read by all": lambda h, ys: (ys - h).sum(2),
}


@dataclass(frozen=True)
class Parts:
    """What a program is made of, by name."""

    steps: list[str]
    carried: list[str]
    stacked: list[str]
    after: str
    reverse: bool
    again: bool


def program(parts: Parts, x: Any, weights: Any) -> Any:
    """Runs the program that the parts make."""
    start = jnp.sin(x) * 1.1

    def step(carry: Any, w: Any) -> Any:
        h, *others = carry
        after = h
        for name in parts.steps:
            after = STEPS[name](after, w, start)
        others = [CARRIED[name][1](c, h, w) for name, c in zip(parts.carried, others, strict=True)]
        return (after, *others), [STACKED[name](h, w) for name in parts.stacked]

    first = (start, *(CARRIED[name][0](start) for name in parts.carried))
    body = jax.checkpoint(step) if parts.again else step
    (h, *others), ys = lax.scan(body, first, weights, reverse=parts.reverse)
    if parts.after != "nothing":
        ys.append(AFTER[parts.after](h, ys[parts.stacked.index("state")]))
    return h, [jax.random.key_data(c) if c.dtype == "key<fry>" else c for c in map(jnp.asarray, others)], ys


def loss(parts: Parts, x: Any, weights: Any) -> Any:
    """A number that has a gradient: of all floating results of the program."""
    leaves = jax.tree.leaves(program(parts, x, weights))
    return sum((jnp.sin(v) * v).mean() for v in leaves if jnp.issubdtype(v.dtype, np.floating))


def _names(table: dict[str, Any], least: int, most: int, unique: bool = True) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from(sorted(table)), min_size=least, max_size=most, unique=unique)


@st.composite
def loop_programs(draw: st.DrawFn) -> Drawn:
    """Draws a scan over many steps of a few rows or few steps of many, with what comes after; or a gradient of it."""
    after = draw(st.sampled_from(sorted(AFTER)))
    stacked = draw(_names(STACKED, 0, 2))
    if after != "nothing" and "state" not in stacked:
        stacked = ["state", *stacked]
    parts = Parts(
        draw(_names(STEPS, 1, 2, unique=False)),
        draw(_names(CARRIED, 0, 2)),
        stacked,
        after,
        draw(st.booleans()),
        draw(st.booleans()),
    )
    long, short = draw(st.integers(150, 210)), draw(st.integers(2, 6))
    steps, rows = draw(st.sampled_from([(long, short), (short, long)]))
    kind = draw(st.sampled_from(["value", "gradient", "value and gradient"]))
    rng = np.random.default_rng(draw(st.integers(0, 1000)))
    x = rng.normal(size=(rows, WIDTH)).astype(np.float32)
    weights = (0.5 * rng.normal(size=(steps, WIDTH))).astype(np.float32)
    text = f"{kind} of {steps} steps of {rows} rows: {parts}"

    def value(x: Any, weights: Any) -> Any:
        return program(parts, x, weights)

    def scalar(x: Any, weights: Any) -> Any:
        return loss(parts, x, weights)

    funs = {"value": value, "gradient": jax.grad(scalar, (0, 1)), "value and gradient": jax.value_and_grad(scalar)}
    return Drawn(text, funs[kind], x, weights)
