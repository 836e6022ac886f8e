"""Splits that pass through a `while` or a `cond`: every region, in chunks, computes what plain `jit` does."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from memline.ir.check import check
from memline.ir.graph import Graph, Op
from memline.passes.split import split
from memline.verify.compiled import compiled_peak
from tests.comparing import assert_same
from tests.families import normal
from tests.passes.looping import assert_regions_agree, cut, leaves_of, loops, opened, quick, region_at, regions

ROWS, WIDTH, TURNS = 6, 3, 4
X, W = normal(ROWS, WIDTH), 0.5 * normal(WIDTH, WIDTH, seed=1)
TABLE = np.linspace(-1, 1, ROWS * WIDTH, dtype=np.float32).reshape(ROWS, WIDTH)


def layer(h: Any, w: Any) -> Any:
    return jnp.tanh(h @ w) + 0.5 * h


def turns(step: Any, *first: Any) -> Any:
    """The carries after four turns of a step."""
    return lax.while_loop(lambda c: c[0] < TURNS, lambda c: (c[0] + 1, *step(*c[1:])), (0, *first))[1:]


def counted(x: Any, w: Any) -> Any:
    return turns(lambda h: (layer(h, w),), jnp.sin(x))


def totals(x: Any, w: Any) -> Any:
    """Totals of rows, counts of them, and what has nothing to do with them."""
    return turns(
        lambda h, total, number, v: (layer(h, w), total - h.sum(0), number + (h > 0).astype(np.int32).sum(), v @ w),
        jnp.sin(x), x[0], 0, w,
    )  # fmt: skip


def stopping(x: Any, w: Any) -> Any:
    """Each row stops by itself: the first at once, the last never before the end."""

    def alone(row: Any, most: Any) -> Any:
        def is_on(c: Any) -> Any:
            return (c[1] < most) & (jnp.abs(c[0]).max() < 40)

        return lax.while_loop(is_on, lambda c: (2 * c[0] + jnp.tanh(c[0] @ w), c[1] + 1, c[2] + c[0]), (row, 0, row))

    return jax.vmap(alone)(jnp.sin(x), jnp.arange(x.shape[0]) * 3)


def no_turns(x: Any, w: Any) -> Any:
    """Neither loop turns at all."""
    one = lax.while_loop(lambda c: c[1] < 0, lambda c: (layer(c[0], w), c[1] + 1, c[2] + c[0].sum(0)), (x, 0, w[0]))
    each = jax.vmap(lambda row: lax.while_loop(lambda r: r.max() > 1e6, lambda r: r @ w, row))(jnp.sin(x))
    return one, each


def steps_of_numbers(x: Any, w: Any) -> Any:
    """The length of each row's run to 1 by Collatz's rule, its highest number, and a sum over rows."""
    numbers = jnp.abs(x[:, 0] * 50).astype(np.int32) + 1

    def next_of(c: Any) -> Any:
        n, count, top = c
        n = jnp.where(n % 2 == 0, n // 2, 3 * n + 1)
        return n, count + 1, jnp.maximum(top, n)

    n, count, top = jax.vmap(lambda n: lax.while_loop(lambda c: c[0] > 1, next_of, (n, 0, n)))(numbers)
    return n, count, top, (count * top).sum(), top.max(), count.argmax()


def placed(x: Any, w: Any) -> Any:
    """Masks, draws and whole arrays that the bodies cut for themselves; rows that a turn puts back."""

    def step(h: Any, g: Any) -> Any:
        rows = jnp.arange(ROWS)[:, None]
        h = jnp.where(rows >= jnp.arange(WIDTH), h, 0.5 * h) + TABLE * g
        return h + jax.random.uniform(jax.random.key(3), h.shape), jnp.asarray(TABLE)

    return turns(step, jnp.sin(x), x), lax.cond(w[0, 0] > 9, layer, lambda h, w: jnp.asarray(TABLE), jnp.cos(x), w)


def buffered(x: Any, w: Any) -> Any:
    """What each turn makes is written into a buffer, and read from it."""

    def step(h: Any, buffer: Any, at: Any) -> Any:
        buffer = buffer.at[at].set(h)
        return layer(h, w) + buffer[at // 2], buffer, at + 1

    return turns(step, jnp.sin(x), jnp.zeros((TURNS, *x.shape)), 0)[:2]


def written_by_row(x: Any, w: Any) -> Any:
    """Buffers of each row, written where the row is: places are data."""

    def alone(row: Any, most: Any) -> Any:
        first = row, jnp.zeros((9, WIDTH)), 0
        step = lambda c: (c[0] @ w + 1, c[1].at[c[2]].set(c[0]), c[2] + 1)  # noqa: E731
        return lax.while_loop(lambda c: c[2] < most, step, first)

    return jax.vmap(alone)(jnp.sin(x), jnp.arange(x.shape[0]))


def mapped_twice(x: Any, w: Any) -> Any:
    def alone(r: Any) -> Any:
        return lax.while_loop(lambda c: jnp.abs(c).max() > 0.1, lambda c: 0.7 * jnp.sin(c), r)

    return jax.vmap(jax.vmap(alone))(jnp.exp(x)[:, :, None] * w[0])


def switched(x: Any, w: Any) -> Any:
    """One branch of three, by the weights: rows, a sum over them or zeros, and what has no rows."""
    h = jnp.sin(x)
    return [
        lax.switch(
            index,
            [
                lambda h, w: (layer(h, w), h.sum(0), w + 1),
                lambda h, w: (h * 2, jnp.zeros(WIDTH), w),
                lambda h, w: (h[:, ::-1], -(h * h).sum(0) / 2, w @ w),
            ],
            h, w,
        )
        for index in ((w[0, 0] > 9) + 0, (w[0, 0] < 9) + 0, (w[0, 0] < 9) * 2)
    ]  # fmt: skip


def in_each_other(x: Any, w: Any) -> Any:
    """A branch in turns in a scan, with a total through all of them."""

    def step(c: Any, v: Any) -> tuple[Any, Any]:
        h, total = turns(lambda h, t: (lax.cond(v[0] > 0, layer, lambda h, w: 0.5 * h, h, w), t + h.sum(0)), *c)
        return (h, total), lax.cond(v[1] > 0, lambda h: (h, h.sum(0)), lambda h: (2 * h, jnp.zeros(WIDTH)), h)

    return lax.scan(step, (jnp.sin(x), x[0]), w)


def never_meeting(x: Any, w: Any) -> Any:
    """Two states that meet after the loop only."""
    h, g = turns(lambda h, g: (layer(h, w), jnp.cos(g)), jnp.exp(x), jnp.sin(x))
    return h * g


def stages(x: Any, w: Any) -> Any:
    """What stopped by itself is read by a second stage."""
    h = stopping(x, w)[0]
    return h - h.mean(0), counted(h, w)[0].sum()


def branch_loss(x: Any, w: Any) -> Any:
    h = jnp.sin(x)
    for _ in range(2):
        h = lax.cond(w[0, 0] > 9, layer, lambda h, w: jnp.sin(h * w[0]), h, w)
    return (h**2).sum()


def read_in_the_chunk(x: Any, w: Any) -> Any:
    """What every chunk makes alike is read in the chunk, but for what totals and buffers begin with."""
    h, count, v = turns(lambda h, n, v: (layer(h, v), n + 1, v @ w), jnp.sin(x), 0, w)
    h, total, first = turns(lambda g, t, a: (g @ v + count, t + g.sum(0), a * 0.5), h, v[0], v)
    gathered = first.at[jnp.arange(x.shape[0]) % WIDTH].add(h)
    return h, total, gathered, lax.cond(v[0, 0] > 9, layer, lambda h, w: h - w[0], h, first)


def forward_derivative(x: Any, w: Any) -> Any:
    return jax.jvp(lambda x: stopping(x, w)[0], (x,), (jnp.cos(x),))


# With the number of regions that pass through a loop or a branch.
PROGRAMS: dict[str, tuple[Any, int]] = {
    "counted": (counted, 1),
    "totals": (totals, 2),
    "stopping": (stopping, 1),
    "no turns": (no_turns, 2),
    "steps of numbers": (steps_of_numbers, 1),
    "placed": (placed, 3),
    "buffered": (buffered, 1),
    "written by row": (written_by_row, 1),
    "mapped twice": (mapped_twice, 2),
    "switched": (switched, 1),
    "in each other": (in_each_other, 2),
    "never meeting": (never_meeting, 2),
    "stages": (stages, 1),
    "read in the chunk": (read_in_the_chunk, 3),
    "gradient of branches": (jax.value_and_grad(branch_loss, (0, 1)), 1),
    "forward derivative": (forward_derivative, 1),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_every_region_through_a_branch(name):
    fun, count = PROGRAMS[name]
    assert_regions_agree(fun, (X, W), count, runs=False)


def branches(graph: Graph) -> list[Op]:
    return [node for node in graph.nodes if isinstance(node, Op) and node.bodies]


def of_rows(fun: Any, *args: Any) -> Any:
    """The region along the rows of a function's first `while` or `cond`."""
    graph = opened(fun, *args)
    result = next(v for v in branches(graph)[0].outputs if v.shape[:1] == args[0].shape[:1])
    return region_at(graph, result, 0)


def test_each_chunk_of_rows_stops_by_itself():
    region = of_rows(stopping, X, W)
    (loop,) = loops(split(region, 4))
    (op,) = branches(loop.body)
    assert loop.tail is not None
    (last,) = branches(loop.tail)
    assert not loop.carried
    assert [v.shape for v in op.outputs] == [(4, WIDTH), (4,), (4, WIDTH)]
    assert [v.shape for v in op.bodies[0].outputs] == [(4,)]
    assert [v.shape for v in last.bodies[0].outputs] == [(2,)]


def test_totals_of_turns_go_on_from_chunk_to_chunk():
    region = of_rows(totals, X, W)
    (whole,) = branches(region.graph)
    (loop,) = loops(split(region, 3))
    (op,) = branches(loop.body)
    accumulators = loop.body.inputs[-len(loop.carried) :]
    # The total and the number begin where the user's do, and in a chunk where the one before ended.
    assert [loop.carried[0], loop.carried[1]] == [whole.carried[2], whole.carried[3]]
    assert [op.carried[2], op.carried[3]] == [accumulators[0], accumulators[1]]


def test_the_place_is_a_constant_of_test_and_body():
    region = of_rows(placed, X, W)
    (loop,) = (node for node in loops(split(region, 4)) if branches(node.body)[0].kind == "while")
    op, whole = branches(loop.body)[0], branches(region.graph)[0]
    for name in ("cond_nconsts", "body_nconsts"):
        assert op.params[name] == whole.params[name] + 1
    assert loop.body.inputs[0] in op.inputs


def test_a_sum_of_every_branch_is_summed():
    region = of_rows(switched, X, W)
    (loop,) = loops(split(region, 3))
    assert [v.shape for v in loop.carried].count((WIDTH,)) == 3
    assert [(len(op.bodies), op.outputs[0].shape) for op in branches(loop.body)] == [(3, (3, WIDTH))] * 3


class TestUnderTransformations:
    def test_grad(self):
        region = of_rows(branch_loss, X, W)
        found, expected = (
            quick(jax.grad(lambda *a, f=f: f(*a)[0], (0, 1)))(X, W) for f in (cut(region, 4), leaves_of(branch_loss))
        )
        assert_same(found, expected, rtol=1e-4)

    def test_vmap(self):
        batch = jnp.stack([X, 3 * X[::-1]]), jnp.stack([W, -W])
        region = of_rows(stopping, X, W)
        found, expected = (quick(jax.vmap(f))(*batch) for f in (cut(region, 4), leaves_of(stopping)))
        assert_same(found, expected)


def test_double_precision():
    with jax.enable_x64(True):
        assert_regions_agree(totals, (np.asarray(X, np.float64), np.asarray(W, np.float64)), 2, runs=False, rtol=1e-12)


def test_half_precision_totals():
    x, w = X.astype(jnp.bfloat16), W.astype(jnp.bfloat16)
    assert_regions_agree(totals, (x, w), 2, runs=False, rtol=3e-2)


@pytest.mark.parametrize("fun", [stopping, jax.grad(branch_loss, (0, 1))])
def test_temporaries_shrink(fun):
    def wide(x: Any, w: Any) -> Any:
        return fun(jnp.tile(x, (1, 8)), w)

    x, w = normal(4000, 2), 0.4 * normal(16, 16, seed=1)
    graph = opened(wide, x, w)
    region = max(regions(graph), key=lambda r: (len(r.through), r.steps))
    check(region.graph)
    account = {
        f: compiled_peak(jax.jit(f).lower(x, w).compile()).temp_bytes for f in (cut(region, 100), leaves_of(wide))
    }
    pieces, whole = account.values()
    assert pieces < 0.25 * whole
