"""Splits along a loop's own steps: chunks hand on their carries, and later passes run them again from saved ones."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from memline.analysis.axes import Direction, Region
from memline.ir.check import check
from memline.ir.graph import Graph, Loop
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
    regions,
)

WIDTH, STEPS = 3, 12
H, XS, W = normal(WIDTH), normal(STEPS, WIDTH, seed=1), 0.5 * normal(WIDTH, WIDTH, seed=2)


def step(w: Any) -> Any:
    def next_state(h: Any, x: Any) -> tuple[Any, Any]:
        h = jnp.tanh(w @ h + x)
        return h, h

    return next_state


def forward(h: Any, xs: Any, w: Any) -> Any:
    return lax.scan(step(w), h, jnp.sin(xs) * 2)


def backward(h: Any, xs: Any, w: Any) -> Any:
    h, hs = lax.scan(step(w), h, jnp.sin(xs) * 2, reverse=True)
    return h, hs @ w


def there_and_back(h: Any, xs: Any, w: Any) -> Any:
    """The second run begins with the end of the first, and needs all of it."""
    h, hs = lax.scan(step(w), h, xs)
    g, gs = lax.scan(step(w), h, hs * 2, reverse=True)
    return g, (gs * hs).sum(0)


def there_and_back_and_there(h: Any, xs: Any, w: Any) -> Any:
    h, hs = lax.scan(step(w), h, xs)
    g, gs = lax.scan(step(w), h, hs, reverse=True)
    return lax.scan(step(w), g, gs + hs)[0]


def side_by_side(h: Any, xs: Any, w: Any) -> Any:
    """Two directions that do not wait for each other."""
    a = lax.scan(step(w), h, jnp.cos(xs))[1]
    b = lax.scan(step(w.T), h, jnp.cos(xs), reverse=True)[1]
    return (a * b).sum(0), jnp.concatenate([a, b], 1).max(1)


def folded_in_order(h: Any, xs: Any, w: Any) -> Any:
    """Folds that count on the order of the axis, beside runs in both directions."""
    _, hs = lax.scan(step(w), h, xs, reverse=True)
    again, _ = lax.scan(step(w), h, hs)
    rounded = jnp.round(hs * 4)
    places = (jnp.arange(STEPS) * 3) % 5
    return (
        again,
        rounded.argmax(0),
        rounded.argmin(0),
        lax.top_k(rounded.T, 3),
        jnp.cumsum(hs, 0)[-1],
        jnp.zeros((5, WIDTH)).at[places].set(hs),
        jnp.zeros((5, WIDTH)).at[places].add(hs),
    )


def folded_before(h: Any, xs: Any, w: Any) -> Any:
    """Folds in order of what a reversed run reads."""
    ys = jnp.tanh(xs @ w)
    _, hs = lax.scan(step(w), h, ys, reverse=True)
    return jnp.round(ys * 4).argmax(0), lax.top_k(jnp.round(ys.T * 4), 2), hs.sum(0), jnp.round(hs * 4).argmax(0)


def escaping(h: Any, xs: Any, w: Any) -> Any:
    """The stacked states are wanted in pieces, whole and turned."""
    last, hs = lax.scan(step(w), h, xs)
    return hs, hs[::-1] * hs, hs.T @ hs, last * hs, jnp.sort(hs, 0)


def ends_read(h: Any, xs: Any, w: Any) -> Any:
    """What a run ends with is read by all the steps of another, and by what comes after."""
    first, hs = lax.scan(step(w), h, xs * 2)
    second, gs = lax.scan(step(w), first, hs + first)
    return (gs * second + hs).sum(0), jax.nn.softmax(gs + first, 0)


def mapped(h: Any, xs: Any, w: Any) -> Any:
    """Steps without a carry have no direction."""
    ys = lax.map(lambda x: jnp.tanh(w @ x), xs * 2)
    _, hs = lax.scan(step(w), h, ys, reverse=True)
    return lax.map(lambda y: (y * y).sum(), hs + ys), ys.argmax(0)


def many_carries(h: Any, xs: Any, w: Any) -> Any:
    """Integers, flags, keys and one first value for two carries."""

    def next_state(carry: Any, x: Any) -> tuple[Any, Any]:
        h, g, count, flag, key = carry
        key, now = jax.random.split(key)
        h, g = jnp.where(flag, g, h) + 0.1 * jax.random.normal(now, (WIDTH,)), jnp.tanh(w @ h + x)
        return (h, g, count + flag, ~flag, key), (h, count, flag)

    first = (h, h, 0, jnp.bool_(False), jax.random.key(4))
    end, (hs, counts, flags) = lax.scan(next_state, first, jnp.sin(xs))
    again, _ = lax.scan(step(w), h, hs, reverse=True)
    return end[:4], jax.random.key_data(end[4]), counts, flags.sum(), again


def running(h: Any, xs: Any, w: Any) -> Any:
    """Any fold that a step can make is carried on: a maximum, a count, a product."""

    def next_state(carry: Any, x: Any) -> tuple[Any, Any]:
        most, product, number = carry
        return (jnp.maximum(most, x), product * jnp.cos(x), number + (x > 0)), most

    return lax.scan(next_state, (h, h, jnp.zeros(WIDTH, np.int32)), jnp.sin(xs))


def no_weights(h: Any, xs: Any, w: Any) -> Any:
    """Steps that read nothing but what they carry."""
    return lax.scan(lambda h, _: (jnp.tanh(w @ h), h), h, None, length=STEPS)[1].sum(0) + xs[0]


def steps_in_steps(h: Any, xs: Any, w: Any) -> Any:
    """The outer steps are cut; the body has steps of its own, in both directions."""

    def outer(h: Any, x: Any) -> tuple[Any, Any]:
        end, hs = lax.scan(step(w), h, jnp.stack([x, h, x]))
        back, _ = lax.scan(step(w), end, hs, reverse=True)
        return back, hs.sum(0)

    return lax.scan(outer, h, jnp.sin(xs))


def steps_of_rows(h: Any, xs: Any, w: Any) -> Any:
    """Every step runs along the axis that the outer loop carries."""

    def outer(rows: Any, w: Any) -> tuple[Any, Any]:
        end, hs = lax.scan(lambda h, x: (jnp.tanh(w * h + x), h), h, rows)
        return hs, end

    return lax.scan(outer, xs, w)


def half(h: Any, xs: Any, w: Any) -> Any:
    h, hs = forward(*(v.astype(jnp.bfloat16) for v in (h, xs, w)))
    return h, hs.astype(np.float32).sum(0)


def largest(h: Any, xs: Any, w: Any) -> Any:
    """The gradient of a maximum looks for the very number among the states of the run."""

    def normed(h: Any, x: Any) -> tuple[Any, Any]:
        h = jnp.tanh(w @ h + x)
        h = (h - h.mean()) / jnp.sqrt(h.var() + 0.3)
        return h, h

    return lax.scan(normed, h, jnp.sin(xs))[1].max(0)


def carried_whole(h: Any, xs: Any, w: Any) -> Any:
    """All states of one run are carried through another along them."""
    _, hs = lax.scan(step(w), h, xs)
    return lax.scan(lambda c, x: (jnp.tanh(c + x), c.sum()), hs, hs * 2)


def sliced_and_whole(h: Any, xs: Any, w: Any) -> Any:
    _, hs = lax.scan(step(w), h, xs)
    return lax.scan(lambda c, x: (jnp.tanh(c + x + (hs @ x).sum()), c), h, hs)


def longer_steps(h: Any, xs: Any, w: Any) -> Any:
    """Two numbers of one axis make one step of the run, and three steps of another run one number after it."""
    pairs = jnp.sin(xs).reshape(STEPS // 2, 2, WIDTH)
    h, hs = lax.scan(lambda c, x: (jnp.tanh(c + x[0] * x[1]), x + c), h, pairs, reverse=True)
    _, gs = lax.scan(step(w), h, hs.reshape(STEPS, WIDTH) * 2)
    return lax.scan(step(w), h, gs.reshape(STEPS // 6, 6, WIDTH).sum(1))


def gradient_of(fun: Any) -> Any:
    def total(*args: Any) -> Any:
        leaves = jax.tree.leaves(fun(*args))
        return sum((jnp.sin(v) * v).sum() for v in leaves if jnp.issubdtype(v.dtype, np.floating))

    return jax.value_and_grad(total, (0, 1, 2))


def second_order(h: Any, xs: Any, w: Any) -> Any:
    def size(*args: Any) -> Any:
        return sum((g**2).sum() for g in jax.tree.leaves(gradient_of(forward)(*args)[1]))

    return jax.grad(size, (0, 2))(h, xs, w)


PROGRAMS: dict[str, Any] = {
    "forward": forward,
    "backward": backward,
    "there and back": there_and_back,
    "there and back and there": there_and_back_and_there,
    "side by side": side_by_side,
    "folded in order": folded_in_order,
    "folded before": folded_before,
    "escaping": escaping,
    "ends read": ends_read,
    "mapped": mapped,
    "many carries": many_carries,
    "running": running,
    "no weights": no_weights,
    "steps in steps": steps_in_steps,
    "steps of rows": steps_of_rows,
    "half": half,
    "largest": largest,
    "sliced and whole": sliced_and_whole,
    "longer steps": longer_steps,
    "gradient": gradient_of(forward),
    "gradient backward": gradient_of(backward),
    "gradient there and back": gradient_of(there_and_back),
    "gradient side by side": gradient_of(side_by_side),
    "gradient of the largest": gradient_of(largest),
    "gradient of longer steps": gradient_of(longer_steps),
    "gradient of a map": gradient_of(mapped),
    "gradient of steps in steps": gradient_of(steps_in_steps),
    "gradient of steps of rows": gradient_of(steps_of_rows),
    "second order": second_order,
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_runs_along_the_steps(name):
    assert_regions_agree(PROGRAMS[name], (H, XS, W), 1, runs=True, rtol=3e-2 if name == "half" else 1e-4)


def test_two_runs_that_have_no_steps_in_common():
    assert_regions_agree(carried_whole, (H, XS, W), 2, runs=True)


def run_of(fun: Any, *args: Any) -> Region:
    (region,) = filter(is_run, regions(opened(fun, *args)))
    return region


def inner_loops(graph: Graph) -> list[list[tuple[int, bool]]]:
    """The lengths and directions of the loops in the body of each loop of a graph."""
    return [[(loop.length, loop.reverse) for loop in loops(outer.body)] for outer in loops(graph)]


class TestStructure:
    def test_a_run_is_a_loop_of_shorter_runs(self):
        graph = split(run_of(forward, H, XS, W), 5)
        (outer,) = loops(graph)
        assert (outer.length, outer.chunk, outer.reverse) == (STEPS, 5, False)
        assert inner_loops(graph) == [[(5, False)]]
        assert outer.tail is not None
        assert loops(outer.tail)[0].length == 2
        # Nothing runs again, so nothing is saved.
        assert [v.shape for v in outer.carried] == [(WIDTH,)]

    def test_a_run_backward_takes_the_last_chunk_first(self):
        graph = split(run_of(backward, H, XS, W), 5)
        assert [loop.reverse for loop in loops(graph)] == [True]
        assert inner_loops(graph) == [[(5, True)]]

    @pytest.mark.parametrize(("chunk", "rows"), [(4, 3), (5, 3), (12, 1), (1, 12)])
    def test_a_gradient_saves_the_carry_of_every_chunk_and_runs_again(self, chunk, rows):
        graph = split(run_of(PROGRAMS["gradient"], H, XS, W), chunk)
        first, second = loops(graph)
        assert [first.reverse, second.reverse] == [False, True]
        assert inner_loops(graph) == [[(chunk, False)], [(chunk, False), (chunk, True)]]
        assert [v.shape for v in first.outputs] == [(WIDTH,), (), (rows, WIDTH)]
        assert first.outputs[2] in second.whole
        assert not first.stacked

    def test_what_is_kept_need_not_run_again(self):
        region = run_of(PROGRAMS["gradient"], H, XS, W)
        graph = split(region, 4, frozenset(region.crossing))
        assert inner_loops(graph) == [[(4, False)], [(4, True)]]
        assert [v.shape for v in loops(graph)[0].outputs][:1] == [(WIDTH,)]
        assert len(loops(graph)[0].stacked) == len(region.crossing)

    def test_folds_that_count_on_the_order_run_in_a_forward_stage(self):
        region = run_of(folded_before, H, XS, W)
        assert sorted(region.runs_backward(stage) for stage in range(region.stages)) == [False, True]
        for node, stage in region.stage.items():
            if region.direction(node) is not None:
                assert (region.direction(node) is Direction.BACKWARD) == region.runs_backward(stage)

    def test_steps_without_carries_have_no_direction(self):
        region = run_of(mapped, H, XS, W)
        assert [region.direction(loop) for loop in loops(region.graph)] == [None, Direction.BACKWARD, None]


class TestUnderTransformations:
    def test_grad(self):
        def total(fun: Any) -> Any:
            return lambda *args: sum((jnp.sin(v) * v).sum() for v in fun(*args))

        region = run_of(there_and_back, H, XS, W)
        found, expected = (
            quick(jax.grad(total(f), (0, 1, 2)))(H, XS, W) for f in (cut(region, 5), leaves_of(there_and_back))
        )
        assert_same(found, expected, rtol=1e-4)

    def test_vmap(self):
        fun = PROGRAMS["gradient"]
        batch = jnp.stack([H, -H]), jnp.stack([XS, XS[::-1]]), jnp.stack([W, W.T])
        found, expected = (quick(jax.vmap(f))(*batch) for f in (cut(run_of(fun, H, XS, W), 5), leaves_of(fun)))
        assert_same(found, expected, rtol=1e-4)


def test_double_precision():
    with jax.enable_x64(True):
        args = [np.asarray(v, np.float64) for v in (H, XS, W)]
        assert_regions_agree(PROGRAMS["gradient"], args, 1, runs=True, rtol=1e-12)
        assert_regions_agree(many_carries, args, 1, runs=True, rtol=1e-12)


def test_runs_of_runs():
    """The shorter runs of a gradient are split again, along their own steps."""
    fun = PROGRAMS["gradient"]
    graph = split(run_of(fun, H, XS, W), 6)
    nodes = []
    for node in graph.nodes:
        if isinstance(node, Loop):
            (region,) = filter(is_run, regions(node.body))
            node = replace(node, body=split(region, 4))
        nodes.append(node)
    graph = Graph(graph.inputs, tuple(nodes), graph.outputs)
    check(graph)
    assert [len(loops(loop.body)) for loop in loops(graph)] == [1, 2]
    assert_same(quick(as_function(graph))(H, XS, W), quick(leaves_of(fun))(H, XS, W), rtol=1e-4)


def test_temporaries_shrink_to_about_the_root_of_the_steps():
    args = normal(16), normal(2500, 16, seed=1), 0.2 * normal(16, 16, seed=2)
    fun = gradient_of(lambda h, xs, w: lax.scan(lambda h, x: (step(w)(h, x)[0], None), h, xs)[0])
    region = run_of(fun, *args)
    pieces, whole = (
        compiled_peak(jax.jit(f).lower(*args).compile()).temp_bytes for f in (cut(region, 50), leaves_of(fun))
    )
    assert pieces < 0.1 * whole
