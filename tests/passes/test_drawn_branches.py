"""Random `while` loops and branches, cut in random chunks wherever a split passes: plain `jit`'s results."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st
from jax import lax

from tests.comparing import assert_same
from tests.drawing_loops import CARRIED, STACKED, STEPS, WIDTH
from tests.passes.looping import cut, leaves_of, opened, quick, regions

ROWS = 7
FAST = settings(
    max_examples=20,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
Program = Callable[[Any, Any], Any]

OF_ROW: dict[str, Callable[[Any, Any], Any]] = {
    "mixed": lambda r, w: jnp.tanh(w @ r),
    "normed": lambda r, w: (r - r.mean()) / jnp.sqrt(r.var() + 0.3),
    "sorted": lambda r, w: jnp.sort(r)[::-1],
    "cumulative": lambda r, w: jnp.cumsum(r) / WIDTH,
    "a branch of each": lambda r, w: lax.cond(r[0] > w[0, 0], jnp.sin, jnp.cos, r),
    "inner turns": lambda r, w: lax.while_loop(lambda c: c[0] < 2, lambda c: (c[0] + 1, c[1] * w[0]), (0, r))[1],
}
"""What a turn does to one row, before it is mapped over."""


def _names(table: dict[str, Any], most: int, least: int = 0) -> st.SearchStrategy[list[str]]:
    return st.lists(st.sampled_from(sorted(table)), min_size=least, max_size=most)


@st.composite
def counted(draw: st.DrawFn) -> tuple[str, Program]:
    """Turns that are counted, of all rows together; none at all, now and then."""
    steps, carried = draw(_names(STEPS, 2, 1)), draw(_names(CARRIED, 2))
    turns = draw(st.integers(0, 3))

    def fun(x: Any, ws: Any) -> Any:
        def turn(c: Any) -> Any:
            at, h, *others = c
            after, w = h, ws[at % ws.shape[0]]
            for name in steps:
                after = STEPS[name](after, w, x)
            return at + 1, after, *(CARRIED[name][1](v, h, w) for name, v in zip(carried, others, strict=True))

        return lax.while_loop(lambda c: c[0] < turns, turn, (0, jnp.sin(x), *(CARRIED[name][0](x) for name in carried)))

    return f"{turns} turns of {steps}, {carried}", fun


@st.composite
def by_row(draw: st.DrawFn) -> tuple[str, Program]:
    """Rows that stop one by one, each writing into a buffer of its own; and what is folded of them after that."""
    steps = draw(_names(OF_ROW, 2, 1))
    most = draw(st.lists(st.integers(0, 5), min_size=ROWS, max_size=ROWS))

    def fun(x: Any, ws: Any) -> Any:
        def alone(row: Any, turns: Any) -> Any:
            def turn(c: Any) -> Any:
                at, r, buffer = c
                after = r
                for name in steps:
                    after = OF_ROW[name](after, ws)
                return at + 1, after, buffer.at[at].set(r[0])

            return lax.while_loop(lambda c: c[0] < turns, turn, (0, row, jnp.zeros(3)))

        at, rows, buffers = jax.vmap(alone)(jnp.sin(x), jnp.asarray(most))
        return at, rows, buffers, at.sum(), rows.sum(0), buffers.max()

    return f"{most} turns of {steps}", fun


@st.composite
def branched(draw: st.DrawFn) -> tuple[str, Program]:
    """One branch of some, with the gradient of what it gives in rows and weights; the index is the weights'."""
    steps = draw(st.lists(_names(STEPS, 2), min_size=2, max_size=3))
    folded = draw(st.lists(st.sampled_from(sorted(STACKED)), min_size=len(steps), max_size=len(steps)))
    stacked = [name if draw(st.booleans()) else "sums" for name in folded] if draw(st.booleans()) else None
    index = draw(st.integers(0, len(steps) - 1))

    def fun(x: Any, ws: Any) -> Any:
        def branch(at: int) -> Any:
            def run(h: Any, w: Any) -> Any:
                for name in steps[at]:
                    h = STEPS[name](h, w, h)
                return h, jnp.resize(STACKED[stacked[at]](h, w).astype(h.dtype), (WIDTH,)) if stacked else h

            return run

        def both(x: Any, w: Any) -> Any:
            return lax.switch((w[0] < 1e9) * index, [branch(at) for at in range(len(steps))], jnp.sin(x), w)

        results, pull = jax.vjp(both, x, ws[0])
        return results, pull(jax.tree.map(jnp.cos, results))

    return f"branch {index} of {steps}, {stacked}", fun


@FAST
@given(drawn=st.one_of(counted(), by_row(), branched()), chunk=st.integers(1, ROWS - 1), seed=st.integers(0, 99))
def test_every_chunk_of_every_region(drawn: tuple[str, Program], chunk: int, seed: int) -> None:
    text, fun = drawn
    rng = np.random.default_rng(seed)
    x, ws = rng.normal(size=(ROWS, WIDTH)).astype(np.float32), 0.5 * rng.normal(size=(WIDTH, WIDTH)).astype(np.float32)
    expected = quick(leaves_of(fun))(x, ws)
    found = [region for region in regions(opened(fun, x, ws)) if region.steps > chunk][:2]
    event(f"{len(found)} regions of {text.split(' ')[0]}")
    for region in found:
        assert_same(quick(cut(region, chunk))(x, ws), expected, 2e-4)
