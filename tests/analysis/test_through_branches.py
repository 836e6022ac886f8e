"""Which axes pass through a `while` and a `cond`, what their other results come to, and what stands in the way."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from memline.analysis.links import Along
from memline.analysis.merges import Merge
from memline.analysis.through import obstacle, way_through
from memline.analysis.ways import Through
from memline.ir.graph import Op
from tests.families import normal
from tests.passes.looping import opened, region_at

ROWS, WIDTH = 6, 3
X, W = normal(ROWS, WIDTH), normal(WIDTH, WIDTH, seed=1)
TABLE = np.arange(ROWS * WIDTH, dtype=np.float32).reshape(ROWS, WIDTH)
SUM, CARRY, SAME = Merge.SUM, Merge.CARRY, Merge.SAME


def first_op(fun: Any, *args: Any) -> Op:
    return next(node for node in opened(fun, *args).nodes if isinstance(node, Op) and node.bodies)


def way(fun: Any, axis: int = 0) -> Through | None:
    """The way through a function's `while` or `cond`, along an axis of its first result with the rows."""
    op = first_op(fun, X, W)
    result = next(at for at, v in enumerate(op.outputs) if v.ndim > axis and v.shape[axis] == X.shape[axis])
    return way_through(op, Along(axis, 1), X.shape[axis], result=result)


def layer(h: Any, w: Any) -> Any:
    return jnp.tanh(h @ w)


def counted(step: Any, *others: Any, test: Any = lambda c: c[0] < 4) -> Any:
    """A loop of four turns; its carries are a count, the rows, and others made of them."""

    def fun(x: Any, w: Any) -> Any:
        first = (0, x, *(make(x) for make in others))
        return lax.while_loop(test, lambda c: (c[0] + 1, *step(w, *c[1:])), first)

    return fun


def mapped(stops: Any, step: Any = layer) -> Any:
    """Rows that stop one by one."""
    return lambda x, w: jax.vmap(lambda r: lax.while_loop(lambda c: ~stops(c), lambda c: step(c, w), r))(x)


def branch(*branches: Any) -> Any:
    return lambda x, w: lax.switch(w[0, 0].astype(int), branches, x, w)


def total(h: Any, w: Any) -> Any:
    return 2 * h, h.sum(0)


def sorted_weights(h: Any, w: Any) -> Any:
    return lax.sort(jnp.tile(w[0], (ROWS, 1)), dimension=0)


PASSING: dict[str, tuple[Any, dict[int, Merge]]] = {
    "turns that are counted": (counted(lambda w, h: (layer(h, w),)), {0: SAME}),
    "a tolerance of the weights": (
        lambda x, w: lax.while_loop(lambda c: c[1].sum() > 1, lambda c: (c[0] @ w, c[1] / 2), (x, jnp.abs(w))),
        {1: SAME},
    ),
    "a total": (counted(lambda w, h, t: (layer(h, w), t + h.sum(0)), lambda x: x[0]), {0: SAME, 2: CARRY}),
    "rows that stop one by one": (mapped(lambda r: jnp.abs(r).max() < 0.1), {}),
    "rows and a count of each": (
        lambda x, w: jax.vmap(
            lambda r: lax.while_loop(lambda c: c[1] < c[0][0], lambda c: (layer(c[0], w), c[1] + 1), (r, 0))
        )(x),
        {},
    ),
    "two states that change places": (counted(lambda w, h, g: (g, layer(h, w)), jnp.sin), {0: SAME}),
    "rows whose other state is put back": (counted(lambda w, h, g: (h + g, jnp.zeros_like(g)), jnp.sin), {0: SAME}),
    "a buffer": (
        counted(lambda w, h, b: (layer(h, w), b.at[1].set(h)), lambda x: jnp.zeros((4, ROWS, WIDTH))),
        {0: SAME},
    ),
    "branches": (branch(layer, lambda h, w: jnp.sin(h)), {}),
    "three branches": (branch(layer, lambda h, w: h, lambda h, w: jnp.ones_like(h)), {}),
    "a branch of nothing but a constant": (branch(layer, lambda h, w: jnp.asarray(TABLE)), {}),
    "a branch of what has no rows to cut": (branch(layer, sorted_weights), {}),
    "sums": (branch(total, lambda h, w: (h * 2, h[:, 1] @ h)), {1: SUM}),
    "sums or zeros": (branch(total, lambda h, w: (h * 2, jnp.zeros(WIDTH))), {1: SUM}),
    "what has no rows": (branch(lambda h, w: (h, w), lambda h, w: (h * 2, w + 1)), {1: SAME}),
    "turns in a branch": (branch(layer, lambda h, w: counted(lambda w, h: (layer(h, w),))(h, w)[1]), {}),
    "a branch in turns": (counted(lambda w, h: (lax.cond(w[0, 0] > 0, layer, lambda h, w: h, h, w),)), {0: SAME}),
}  # fmt: skip


@pytest.mark.parametrize("name", PASSING)
def test_what_passes(name):
    fun, merged = PASSING[name]
    through = way(fun)
    assert through is not None
    assert through.merged == merged
    assert obstacle(first_op(fun, X, W)) is None


BLOCKED: dict[str, Any] = {
    "a test that folds the rows": counted(lambda w, h: (h * 0.5,), test=lambda c: jnp.abs(c[1]).max() > 1),
    "a test of any row": counted(lambda w, h: (h * 0.5,), test=lambda c: jnp.any(c[1] > 1)),
    "a test of a sum": counted(lambda w, h: (h * 0.5,), test=lambda c: c[1].sum() > 1),
    "a test of one row": counted(lambda w, h: (h * 0.5,), test=lambda c: c[1][0, 0] > 1),
    "a test of a total": counted(
        lambda w, h, t: (h * 0.5, t + h.sum()), lambda x: x[0, 0], test=lambda c: (c[0] < 5) & (c[2] < 9)
    ),
    "a total that is read": counted(lambda w, h, t: (h + t, t + h.sum(0)), lambda x: x[0]),
    "a norm over the rows": counted(lambda w, h: (h - h.mean(0),)),
    "a carry that is a sum": counted(lambda w, h, t: (h * 2, h.sum(0)), lambda x: x[0]),
    "a running maximum": counted(lambda w, h, t: (h * 2, jnp.maximum(t, h.max(0))), lambda x: x[0]),
    "a norm in one branch": branch(layer, lambda h, w: h - h.mean(0)),
    "a maximum in a branch": branch(total, lambda h, w: (h, h.max(0))),
    "a sum or something else": branch(total, lambda h, w: (h, w[0])),
    "a sum or one": branch(total, lambda h, w: (h, jnp.ones(WIDTH))),
    "the rows turned": branch(layer, lambda h, w: h[::-1]),
}


@pytest.mark.parametrize("name", BLOCKED)
def test_what_stands_in_the_way(name):
    assert way(BLOCKED[name]) is None


OBSTACLES: dict[str, Any] = {
    "reduce_max (test_through_branches.py": counted(lambda w, h: (h * 0.5,), test=lambda c: c[1].max() > 1),
    "gt (test_through_branches.py": counted(lambda w, h: (h * 0.5,), test=lambda c: c[1].sum() > 1),
    "a carry is not only added to": counted(lambda w, h, t: (h * 2, h.sum()), lambda x: x[0, 0]),
    "neither the sum": branch(lambda h, w: (2 * h, h.sum()), lambda h, w: (h, w[0, 0])),
    "rev (test_through_branches.py": branch(lambda h, w: jnp.sin(h), lambda h, w: h[::-1, ::-1]),
}


@pytest.mark.parametrize("why", OBSTACLES)
def test_the_obstacle_is_told(why):
    told = obstacle(first_op(OBSTACLES[why], X, W))
    assert told is not None
    assert why in told


def test_a_test_with_axes_brings_every_carry_along():
    """The count of each row stops with the row, and runs along the rows with it."""

    def fun(x: Any, w: Any) -> Any:
        def alone(row: Any) -> Any:
            return lax.while_loop(lambda c: jnp.abs(c[1]).max() > 0.1, lambda c: (c[0] + 1, layer(c[1], w)), (0, row))

        return jax.vmap(alone)(x)

    op = first_op(fun, X, W)
    assert op.bodies[0].outputs[0].shape == (ROWS,)
    through = way_through(op, Along(0, 1), ROWS, result=0)
    assert through is not None
    assert [m.position for m in through.dim.results] == [0, 1]
    assert way_through(op, Along(1, 1), WIDTH, result=1) is None


def test_rows_mapped_twice():
    """A test of two axes: a split takes either."""

    def fun(x: Any, w: Any) -> Any:
        alone = lambda r: lax.while_loop(lambda c: c.max() > 0.1, lambda c: 0.5 * c, r)  # noqa: E731
        return jax.vmap(jax.vmap(alone))(x[:, :, None] * w[0])

    op = first_op(fun, X, W)
    assert op.bodies[0].outputs[0].shape == (ROWS, WIDTH)
    for axis in (0, 1):
        assert way_through(op, Along(axis, 1), op.outputs[0].shape[axis], result=0) is not None
    assert way_through(op, Along(2, 1), WIDTH, result=0) is None


def test_states_that_never_meet_are_cut_together():
    """One way takes one state; a region that has both of them in pieces takes both."""
    fun = lambda x, w: sum(counted(lambda w, h, g: (layer(h, w), jnp.sin(g)), jnp.cos)(jnp.exp(x), w)[1:])  # noqa: E731
    graph = opened(fun, X, W)
    op = next(node for node in graph.nodes if node.bodies)
    alone = way_through(op, Along(0, 1), ROWS, result=1)
    assert alone is not None
    assert [m.position for m in alone.dim.results] == [1]
    region = region_at(graph, op.outputs[1], 0)
    assert [m.position for m in region.dims[op].results] == [1, 2]


def test_what_stops_by_itself_is_not_run_again():
    """Computed again, a row might stop a turn earlier: what it ended with is stored for later stages."""

    def fun(x: Any, w: Any) -> Any:
        h = mapped(lambda r: jnp.abs(r).max() < 0.1)(jnp.sin(x), w)
        return h - h.mean(0)

    graph = opened(fun, X, W)
    op = next(node for node in graph.nodes if node.bodies)
    region = region_at(graph, op.outputs[0], 0)
    assert region.stages == 2
    assert op.outputs[0] in region.escapes
