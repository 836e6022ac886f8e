"""Splits that pass through a loop: every region in every kind of chunk computes what plain `jit` does."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from memline.analysis.axes import Region
from memline.analysis.merges import Merge
from memline.ir.check import check
from memline.ir.graph import Graph
from memline.passes.split import split
from memline.verify.compiled import compiled_peak
from tests.comparing import assert_same
from tests.families import normal
from tests.passes.looping import (
    as_function,
    assert_regions_agree,
    cut,
    is_run,
    leaves_of,
    loops,
    opened,
    quick,
    region_at,
    regions,
)

ROWS, WIDTH, STEPS = 6, 3, 4
X, WS = normal(ROWS, WIDTH), 0.5 * normal(STEPS, WIDTH, WIDTH, seed=1)
TABLE = np.linspace(-1, 1, ROWS * WIDTH, dtype=np.float32).reshape(ROWS, WIDTH)


def layer(h: Any, w: Any) -> Any:
    return jnp.tanh(h @ w) + 0.5 * h


def layers(x: Any, ws: Any) -> Any:
    return lax.scan(lambda h, w: (layer(h, w), None), x, ws)[0]


def loss(x: Any, ws: Any) -> Any:
    return (layers(x, ws) ** 2).sum()


def stacked(x: Any, ws: Any) -> Any:
    """Rows, sums over rows, and what has nothing to do with rows, all stacked."""

    def step(h: Any, w: Any) -> tuple[Any, Any]:
        return layer(h, w), (h, h.sum(0), -(h.sum(0) @ w) / 2, h[:, 0], w + 1)

    return lax.scan(step, jnp.sin(x), ws, reverse=True)


def carried(x: Any, ws: Any) -> Any:
    """Totals, counts, flags and keys beside the rows."""

    def step(carry: Any, w: Any) -> tuple[Any, Any]:
        h, total, count, number, flag, key = carry
        h = jnp.where(flag, layer(h, w), h) + jax.random.normal(key, (WIDTH,))
        positives = number + (h > 100).astype(np.int32).sum(0)
        return (h, total - h.sum(0), count + 1, positives, ~flag, jax.random.split(key)[0]), count * 2

    return lax.scan(step, (x, x[0], 0, jnp.arange(3), jnp.bool_(True), jax.random.key(1)), ws)


def placed(x: Any, ws: Any) -> Any:
    """Masks, constants, draws and whole arrays that the body must cut for itself."""

    def step(h: Any, w: Any) -> tuple[Any, Any]:
        rows = jnp.arange(ROWS)[:, None]
        h = jnp.where(rows >= jnp.arange(WIDTH), h, 0.5 * h) + TABLE * x
        h = h + jax.random.uniform(jax.random.key(3), h.shape)
        return lax.scan(lambda g, v: (g * v + TABLE, (g * TABLE).sum(0)), h, w)

    return lax.scan(step, x, ws)


def inner_totals(x: Any, ws: Any) -> Any:
    """A total that goes on through the steps of a loop in the body."""

    def step(carry: Any, w: Any) -> tuple[Any, Any]:
        h, total = carry
        total, sums = lax.scan(lambda t, v: (t + (h * v).sum(0), h.sum()), total, w)
        part, _ = lax.scan(lambda t, v: (t + (h * v).sum(0), None), jnp.zeros(WIDTH), w, reverse=True)
        return (layer(h, w), total), (sums, part)

    return lax.scan(step, (x, x[0]), ws)


def inner_run(x: Any, ws: Any) -> Any:
    """Runs along the rows in every step: chunks of rows would begin them wrong."""

    def step(h: Any, w: Any) -> tuple[Any, Any]:
        last, rows = lax.scan(lambda g, row: (jnp.tanh(g @ w + row), g), jnp.zeros(WIDTH), h)
        return h + rows, last

    return lax.scan(step, x, ws)


def two_states(x: Any, ws: Any) -> Any:
    """States that change places, one first value for both, one result twice."""
    (a, b), ys = lax.scan(lambda c, w: ((c[1], layer(c[0], w)), (c[0], c[0])), (x, x), ws)
    return a, b, ys[0].sum(0), ys[1][0] @ a.T


def in_two_roles(x: Any, ws: Any) -> Any:
    """The loop's result in pieces and whole, and a second loop of it."""
    h = layers(x, ws)
    again, sums = lax.scan(lambda g, w: (layer(g, w), g.sum(0)), h @ h.T @ h, ws)
    return again + h, sums, h.argmax(0), jax.nn.softmax(h, 0)


def half(x: Any, ws: Any) -> Any:
    def step(c: Any, w: Any) -> tuple[Any, Any]:
        return (layer(c[0], w), c[1] + c[0].sum(0)), c[0].sum(0)

    return lax.scan(step, (x.astype(jnp.bfloat16), jnp.ones(WIDTH, jnp.bfloat16)), ws.astype(jnp.bfloat16))


def integer(x: Any, ws: Any) -> Any:
    x, ws = (x * 100).astype(np.int32), (ws * 100).astype(np.int32)
    return lax.scan(lambda c, w: ((c[0] @ w, c[1] + c[0].sum(0)), lax.div(c[0], 7).sum(0)), (x, x[1]), ws)


def quotient(x: Any, ws: Any) -> Any:
    """An integer quotient of a sum is not the sum of quotients."""
    x = (x * 100).astype(np.int32)
    return lax.scan(lambda h, w: (h + 1, lax.div(h.sum(0), jnp.full(WIDTH, 7))), x, ws)


def batched(x: Any, ws: Any) -> Any:
    return jax.vmap(lambda row: lax.scan(lambda h, w: (jnp.tanh(w @ h), h.sum()), row, ws))(x)


def checkpointed(x: Any, ws: Any) -> Any:
    def total(x: Any, ws: Any) -> Any:
        return (lax.scan(jax.checkpoint(lambda h, w: (layer(h, w), h.sum(0))), x, ws)[0] ** 2).sum()

    return jax.value_and_grad(total, (0, 1))(x, ws)


def second_order(x: Any, ws: Any) -> Any:
    return jax.grad(lambda x, ws: (jax.grad(loss)(x, ws) ** 2).sum(), (0, 1))(x, ws)


def normed_loss(x: Any, ws: Any) -> Any:
    """Statistics over the rows after the loop: stages, and a backward pass that waits for them."""
    h = layers(x, ws)
    return (((h - h.mean(0)) / jnp.sqrt(h.var(0) + 0.1)) ** 3).sum()


# With the number of regions that pass through a loop.
PROGRAMS: dict[str, tuple[Any, int]] = {
    "layers": (layers, 1),
    "stacked": (stacked, 1),
    "carried": (carried, 1),
    "placed": (placed, 3),
    "inner totals": (inner_totals, 2),
    "inner run": (inner_run, 1),
    "two states": (two_states, 2),
    "in two roles": (in_two_roles, 3),
    "integer": (integer, 1),
    "quotient": (quotient, 1),
    "batched": (batched, 1),
    "gradient": (jax.value_and_grad(loss, (0, 1)), 2),
    "gradient of inner totals": (jax.grad(lambda x, ws: inner_totals(x, ws)[1][1].sum(), (0, 1)), 1),
    "checkpointed": (checkpointed, 1),
    "gradient after a norm": (jax.grad(normed_loss, (0, 1)), 2),
    "second order": (second_order, 3),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_every_region_through_a_loop(name):
    fun, count = PROGRAMS[name]
    assert_regions_agree(fun, (X, WS), count, runs=False)


def of_rows(fun: Any, *args: Any) -> Region:
    """The region of a function's first loop, along the rows of its first result."""
    graph = opened(fun, *args)
    return region_at(graph, loops(graph)[0].outputs[0], 0)


def test_a_chunk_of_rows_goes_through_all_the_layers():
    region = of_rows(stacked, X, WS)
    (outer,) = loops(split(region, 4))
    (inner,) = loops(outer.body)
    assert (outer.length, outer.chunk, outer.reverse) == (ROWS, 4, False)
    assert (inner.length, inner.chunk, inner.reverse) == (STEPS, 1, True)
    assert outer.tail is not None
    assert [v.shape for v in inner.outputs[:3]] == [(4, WIDTH), (STEPS, 4, WIDTH), (STEPS, WIDTH)]
    assert [v.shape for v in loops(outer.tail)[0].outputs[:2]] == [(2, WIDTH), (STEPS, 2, WIDTH)]
    # Three sums become accumulators, and what is the same for every chunk with them.
    assert [v.shape for v in outer.carried] == [(STEPS, WIDTH), (STEPS, WIDTH), (STEPS, WIDTH, WIDTH)]
    assert [(s.axis, s.unit) for s in outer.stacked] == [(0, 1), (1, 1), (1, 1)]


def test_totals_go_on_from_chunk_to_chunk():
    region = of_rows(carried, X, WS)
    (outer,) = loops(split(region, 2))
    (inner,) = loops(outer.body)
    (whole,) = loops(region.graph)
    assert region.merged(whole) == {
        1: Merge.CARRY,
        2: Merge.SAME,
        3: Merge.CARRY,
        4: Merge.SAME,
        5: Merge.SAME,
        6: Merge.SAME,
    }
    # The totals begin where the user's do, and inside where the chunk before ended; the others begin anew.
    accumulators = outer.body.inputs[-len(outer.carried) :]
    assert [outer.carried[0], outer.carried[2]] == [whole.carried[1], whole.carried[3]]
    assert [inner.carried[1], inner.carried[3]] == [accumulators[0], accumulators[2]]
    assert not {inner.carried[2], inner.carried[4], inner.carried[5]} & set(accumulators)


def test_many_small_chunks_do_not_lose_half_precision_totals():
    """Eight bits would lose every addition of 1 to 256."""

    def fun(x: Any, ws: Any) -> Any:
        return lax.scan(lambda c, w: ((c[0] * w, c[1] + c[0].sum(0)), c[0].sum(0)), (x, x[0] + 1), ws)

    args = jnp.ones((3000, 1), jnp.bfloat16), jnp.ones((2, 1), jnp.bfloat16)
    region = of_rows(fun, *args)
    expected = quick(leaves_of(fun))(*args)
    for chunk in (1, 70):
        assert_same(quick(cut(region, chunk))(*args), expected, rtol=1e-2)


def test_half_precision_agrees():
    assert_regions_agree(half, (X, WS), 1, runs=False, rtol=3e-2)


def test_double_precision_and_wide_counts():
    with jax.enable_x64(True):
        x, ws = np.asarray(X, np.float64), np.asarray(WS, np.float64)
        assert_regions_agree(carried, (x, ws), 1, runs=False, rtol=1e-12)


class TestUnderTransformations:
    def test_grad(self):
        def total(fun: Any) -> Any:
            return lambda *args: sum((jnp.sin(v) * v).sum() for v in fun(*args))

        region = of_rows(inner_totals, X, WS)
        found, expected = (quick(jax.grad(total(f), (0, 1)))(X, WS) for f in (cut(region, 4), leaves_of(inner_totals)))
        assert_same(found, expected, rtol=1e-4)

    def test_vmap(self):
        batch = jnp.stack([X, X[::-1]]), jnp.stack([WS, -WS])
        fun = jax.value_and_grad(loss, (0, 1))
        graph = opened(fun, X, WS)
        region = max((r for r in regions(graph) if not is_run(r)), key=lambda r: len(r.through))
        assert len(region.through) == 2
        found, expected = (quick(jax.vmap(f))(*batch) for f in (cut(region, 4), leaves_of(fun)))
        assert_same(found, expected, rtol=1e-4)


class TestSplitsAfterSplits:
    def test_two_loops_one_after_the_other(self):
        """The first split takes a loop away and brings one: the second has names of its own all the same."""

        def fun(x: Any, ws: Any) -> Any:
            return [lax.scan(lambda h, w: (layer(h, w), h.sum(0)), rows, ws) for rows in (x, jnp.sin(x[:4]))]

        graph = opened(fun, X, WS)
        first, second = loops(graph)
        graph = split(region_at(graph, first.outputs[0], 0), 4)
        graph = split(region_at(graph, second.outputs[0], 0), 3)
        check(graph)
        assert_same(quick(as_function(graph))(X, WS), quick(leaves_of(fun))(X, WS))

    def test_two_axes_of_one_loop(self):
        """Both splits tell the body its place."""

        def fun(x: Any, ws: Any) -> Any:
            def step(h: Any, w: Any) -> tuple[Any, Any]:
                rows, columns = (lax.broadcasted_iota(jnp.int32, h.shape, axis) for axis in (0, 1))
                return jnp.where(rows < 2 * columns, h + w[0, 0], 0.5 * h) + jnp.outer(
                    x[:, 0], jnp.asarray(TABLE[:, 1])
                ), h.sum()

            return lax.scan(step, x @ x.T, ws)

        graph = opened(fun, X, WS)
        graph = split(region_at(graph, loops(graph)[0].outputs[0], 0), 4)
        (outer,) = loops(graph)
        bodies = [split(region_at(b, loops(b)[0].outputs[0], 1), 4) for b in (outer.body, outer.tail) if b is not None]
        nodes = tuple(replace(n, body=bodies[0], tail=bodies[1]) if n is outer else n for n in graph.nodes)
        graph = Graph(graph.inputs, nodes, graph.outputs)
        check(graph)
        assert_same(quick(as_function(graph))(X, WS), quick(leaves_of(fun))(X, WS))

    def test_a_value_computed_again_and_read_as_it_was_stored(self):
        """The loop runs again for its first result, and its second is read in slices of the whole."""

        def fun(x: Any, ws: Any) -> Any:
            (h, s), _ = lax.scan(lambda c, w: ((layer(c[0], w), jnp.sort(c[1] @ w, 0)), None), (x, jnp.cos(x)), ws)
            return (h * s).sum(0)

        region = of_rows(fun, X, WS)
        assert [v.name for v in region.crossing] == [loops(region.graph)[0].outputs[0].name]
        assert_regions_agree(fun, (X, WS), 1, runs=False)


def test_temporaries_shrink():
    x, ws = normal(4000, 8), 0.4 * normal(6, 8, 8, seed=1)
    fun = jax.grad(loss, (0, 1))
    graph = opened(fun, x, ws)
    region = max((r for r in regions(graph) if not is_run(r)), key=lambda r: len(r.through))
    pieces, whole = (
        compiled_peak(jax.jit(f).lower(x, ws).compile()).temp_bytes for f in (cut(region, 100), leaves_of(fun))
    )
    assert pieces < 0.2 * whole
