"""Which axes pass through a loop, what its other results come to, and what stands in the way."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from memline.analysis.links import Along, RescaleError
from memline.analysis.merges import Merge
from memline.analysis.through import may_pass, way_through
from memline.analysis.ways import Through
from memline.ir.graph import Loop
from tests.families import normal
from tests.ir.loops import scaled_sums
from tests.passes.looping import loops, opened, region_at

ROWS, WIDTH, STEPS = 6, 3, 4
X, WS = normal(ROWS, WIDTH), normal(STEPS, WIDTH, WIDTH, seed=1)
SQUARE = normal(ROWS, ROWS, seed=2)
TABLE = np.arange(ROWS * WIDTH, dtype=np.float32).reshape(ROWS, WIDTH)
SUM, CARRY, ADDED, SAME = Merge.SUM, Merge.CARRY, Merge.ADDED, Merge.SAME


def first_loop(fun: Any, *args: Any) -> Loop:
    return loops(opened(fun, *args))[0]


def way(fun: Any, *args: Any, axis: int = 0, result: int = 0) -> Through | None:
    """The way through a function's first loop, along an axis of one of its results."""
    loop = first_loop(fun, *args)
    return way_through(loop, Along(axis, 1), loop.outputs[result].shape[axis], result=result)


def scan(step: Any, *others: Any, reverse: bool = False) -> Any:
    """A scan over the weights; its carries are the rows, then others made of them."""

    def fun(x: Any, ws: Any) -> Any:
        carries = (x, *(make(x) for make in others)) if others else x
        return lax.scan(step, carries, ws, reverse=reverse)

    return fun


def layer(h: Any, w: Any) -> Any:
    return jnp.tanh(h @ w)


def zeros(x: Any) -> Any:
    return jnp.zeros(WIDTH)


def integers(x: Any) -> Any:
    return (x * 10).astype(np.int32)


def doubled(fun: Any) -> Any:
    """The function of integers instead."""
    return lambda x, ws: fun(integers(x), integers(ws))


PASSING: dict[str, tuple[Any, dict[int, Merge]]] = {
    "layers": (scan(lambda h, w: (layer(h, w), None)), {}),
    "backwards": (scan(lambda h, w: (layer(h, w), h), reverse=True), {}),
    "stacked whole": (scan(lambda h, w: (layer(h, w), (h, h.sum(1), h[:, 0]))), {}),
    "sums": (scan(lambda h, w: (layer(h, w), h.sum(0))), {1: SUM}),
    "means": (scan(lambda h, w: (layer(h, w), h.mean(0))), {1: SUM}),
    "sums through linear ops": (
        scan(lambda h, w: (layer(h, w), (-(h.sum(0) @ w)[None, ::1].T / 3 + (h * h).sum(0)[:, None]))),
        {1: SUM},
    ),
    "gradients of weights": (scan(lambda h, w: (layer(h, w), h.T @ (2 * h))), {1: SUM}),
    "a total": (scan(lambda c, w: ((layer(c[0], w), c[1] + c[0].sum(0)), None), zeros), {1: CARRY}),
    "a total of two sums": (
        scan(lambda c, w: ((layer(c[0], w), c[0].sum(0) + c[1] - c[0][:, 0] @ c[0]), None), zeros),
        {1: CARRY},
    ),
    "a total from the first row": (
        scan(lambda c, w: ((layer(c[0], w), c[1] - c[0].sum(0)), None), lambda x: x[0]),
        {1: CARRY},
    ),
    "an integer total": (
        doubled(scan(lambda c, w: ((c[0] + 1, c[1] + c[0].sum(0)), 3 * c[0].sum()), lambda x: x[0])),
        {1: CARRY, 2: SUM},
    ),
    "a count": (scan(lambda c, w: ((layer(c[0], w), c[1] + 1), c[1]), lambda x: 0), {1: SAME, 2: SAME}),
    "a count in the state": (scan(lambda c, w: ((c[0] * c[1], c[1] + 1.0), None), lambda x: 0.0), {1: SAME}),
    "a flag": (
        scan(lambda c, w: ((jnp.where(c[1], c[0], -c[0]), ~c[1]), None), lambda x: jnp.bool_(True)),
        {1: SAME},
    ),
    "a recurrence beside": (
        scan(lambda c, w: ((c[0] + c[1], jnp.tanh(w @ c[1])), c[1]), lambda x: x[0]),
        {1: SAME, 2: SAME},
    ),
    "two states that change places": (scan(lambda c, w: ((c[1], layer(c[0], w)), None), jnp.sin), {}),
    "one first value for two states": (
        lambda x, ws: lax.scan(lambda c, w: ((c[1], c[0] * w[0]), None), (x, x), ws),
        {},
    ),
    "one state given out twice": (scan(lambda c, w: ((layer(c[0], w), layer(c[0], w)), c[0]), jnp.sin), {}),
    "weights alone": (scan(lambda h, w: (h * 2, w.sum(0))), {1: SAME}),
    "steps of the rows": (scan(lambda h, w: (lax.scan(lambda g, v: (g * v, None), h, w)[0], None)), {}),
    "totals of inner steps": (
        scan(lambda h, w: (h * 2, lax.scan(lambda c, v: (c + (h * v).sum(0), h.sum()), jnp.zeros(WIDTH), w))),
        {1: SUM, 2: SUM},
    ),
    "a total through inner steps": (
        scan(
            lambda c, w: ((c[0] * 2, lax.scan(lambda t, v: (t + (c[0] * v).sum(0), None), c[1], w)[0]), None),
            zeros,
        ),
        {1: CARRY},
    ),
    "a branch": (scan(lambda h, w: (lax.cond(w[0, 0] > 0, jnp.sin, jnp.cos, h), None)), {}),
    "a while loop": (
        scan(
            lambda h, w: (lax.while_loop(lambda c: c[0] < w[0, 0], lambda c: (c[0] + 1, c[1] * 2), (0.0, h))[1], None)
        ),
        {},
    ),
    "rows that become constants": (scan(lambda c, w: ((c[0] * c[1], c[0]), None), jnp.sin), {}),
    "rows mapped": (scan(lambda h, w: (lax.map(lambda row: jnp.tanh(row @ w), h), None)), {}),
    "random keys": (
        scan(
            lambda c, w: ((c[0] + jax.random.normal(c[1], (WIDTH,)), jax.random.split(c[1])[0]), None),
            lambda x: jax.random.key(0),
        ),
        {1: SAME},
    ),
}


@pytest.mark.parametrize("name", PASSING)
def test_what_passes(name):
    fun, merged = PASSING[name]
    through = way(fun, X, WS)
    assert through is not None
    assert through.merged == merged
    assert not through.is_sequential
    assert not through.wants_place
    # The same way is found from the operand's side.
    loop = first_loop(fun, X, WS)
    position = len(loop.inputs) - len(loop.carried)
    from_operand = way_through(loop, Along(0, 1), ROWS, operand=position)
    assert from_operand is not None
    assert from_operand.dim == through.dim
    assert from_operand.merged == merged


def inner_run(h: Any, w: Any) -> Any:
    """Steps along the rows: each needs the one before."""
    return lax.scan(lambda g, row: (jnp.tanh(g + row), g), jnp.zeros(WIDTH), h)


BLOCKED: dict[str, Any] = {
    "a norm over the axis": scan(lambda h, w: (h - h.mean(0), None)),
    "a softmax over the axis": scan(lambda h, w: (jax.nn.softmax(h, 0), None)),
    "a fold that is no sum": scan(lambda h, w: (layer(h, w), h.max(0))),
    "a function of a sum": scan(lambda h, w: (layer(h, w), jnp.tanh(h.sum(0)))),
    "a sum plus something else": scan(lambda h, w: (layer(h, w), h.sum(0) + w[0])),
    "a product of sums": scan(lambda h, w: (layer(h, w), h.sum(0) * h.sum(0))),
    "a quotient by a sum": scan(lambda h, w: (layer(h, w), w[0] / h.sum(0))),
    "an integer quotient of a sum": doubled(scan(lambda h, w: (h + 1, lax.div(h.sum(0), jnp.full(WIDTH, 3))))),
    "a total of functions": scan(lambda c, w: ((layer(c[0], w), c[1] + jnp.tanh(c[0].sum(0))), None), zeros),
    "a total that fades": scan(lambda c, w: ((layer(c[0], w), 0.9 * c[1] + c[0].sum(0)), None), zeros),
    "a total that doubles": scan(lambda c, w: ((layer(c[0], w), c[1] + c[1] + c[0].sum(0)), None), zeros),
    "a total taken from a sum": scan(lambda c, w: ((layer(c[0], w), c[0].sum(0) - c[1]), None), zeros),
    "a total that is read": scan(lambda c, w: ((layer(c[0], w) + c[1], c[1] + c[0].sum(0)), None), zeros),
    "a total that is tested": scan(
        lambda c, w: ((jnp.where(c[1].sum() > 0, c[0], -c[0]), c[1] + c[0].sum(0)), None), zeros
    ),
    "a total that is stacked": scan(lambda c, w: ((layer(c[0], w), c[1] + c[0].sum(0)), c[1]), zeros),
    "totals that change places": scan(
        lambda c, w: ((layer(c[0], w), c[2] + c[0].sum(0), c[1]), None), zeros, lambda x: x[0]
    ),
    "a carry that is a sum": scan(lambda c, w: ((layer(c[0], w), c[0].sum(0)), None), zeros),
    "a running maximum": scan(lambda c, w: ((layer(c[0], w), jnp.maximum(c[1], c[0].max(0))), None), zeros),
    "an inner total that does not begin with zeros": scan(
        lambda h, w: (h * 2, lax.scan(lambda c, v: (c + (h * v).sum(0), None), w[0], w)[0])
    ),
    "an inner run along the axis": scan(lambda h, w: (jnp.sin(inner_run(h, w)[1]), None)),
    "the end of an inner run along the axis": scan(lambda h, w: (h * 2, inner_run(h, w)[0])),
    "the axis turned": scan(lambda h, w: (h[::-1], None)),
    "a cumulative sum along the axis": scan(lambda h, w: (jnp.cumsum(h, 0), None)),
    "a branch that folds": scan(lambda h, w: (lax.cond(w[0, 0] > 0, jnp.sin, lambda h: h - h.mean(0), h), None)),
    "a branch that a piece decides": scan(lambda h, w: (lax.cond(h[0, 0] > 0, jnp.sin, jnp.cos, h), None)),
    "a while loop that a piece stops": scan(
        lambda h, w: (lax.while_loop(lambda g: g[0, 0] < 1, lambda g: g + 1, h), None)
    ),
}


@pytest.mark.parametrize("name", BLOCKED)
def test_what_stands_in_the_way(name):
    assert way(BLOCKED[name], X, WS) is None


@pytest.mark.parametrize("step", [lambda h, w: (h.T, None), lambda h, w: (jnp.sin(h @ h.T), None)])
def test_one_axis_in_the_place_of_another(step):
    """The carry comes back turned, or is wanted along two of its axes."""
    assert way(scan(step), SQUARE, WS) is None
    assert way(scan(lambda h, w: (jnp.sin(h), None)), SQUARE, WS) is not None


@pytest.mark.parametrize(("wanted", "passes"), [(np.int8, True), (np.int32, False)])
def test_a_sum_of_narrow_integers_that_a_product_widens(wanted, passes):
    """The sum wraps around; a chunk's part may not."""

    def step(h: Any, w: Any) -> tuple[Any, Any]:
        part = lax.dot(jnp.ones((1, ROWS), np.int8), h)
        return h + h, lax.dot(part, jnp.ones((WIDTH, 1), np.int8), preferred_element_type=wanted)

    assert (way(scan(step), integers(X).astype(np.int8), WS) is not None) == passes


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64", "complex64", "int8"])
def test_totals_of_half_precision_are_not_carried_through_the_chunks(dtype):
    with jax.enable_x64(dtype == "float64"):
        x = X.astype(dtype)
        ws = WS.astype(dtype)
        fun = scan(lambda c, w: ((c[0] * 2, c[1] + c[0].sum(0, dtype=c[0].dtype)), None), lambda x: x[0])
        through = way(fun, x, ws)
    assert through is not None
    assert through.merged == {1: ADDED if dtype in ("float16", "bfloat16") else CARRY}


def test_other_axes_pass_by_themselves():
    columns = scan(lambda h, w: (jnp.tanh(h * w[0]), h.sum(0)))
    through = way(columns, X, WS, axis=1)
    assert through is not None
    assert through.merged == {}
    assert [(m.position, m.axis) for m in through.dim.results] == [(0, 1), (1, 1)]
    assert [(m.position, m.axis) for m in through.dim.operands] == [(0, 2), (1, 1)]
    assert way(scan(lambda h, w: (h @ w, None)), X, WS, axis=1) is None


PLACED: dict[str, Any] = {
    "a mask": scan(lambda h, w: (jnp.where(jnp.arange(ROWS)[:, None] > 2, h, 0.5 * h), None)),
    "a constant": scan(lambda h, w: (h + TABLE, None)),
    "a constant in inner steps": scan(lambda h, w: (lax.scan(lambda g, v: (g + TABLE, None), h, w)[0], None)),
    "random bits": scan(lambda h, w: (h + jax.random.normal(jax.random.key(1), h.shape), None)),
    "what the weights make": scan(lambda h, w: (h + lax.sort(jnp.tile(w.sum(0), (ROWS, 1)), dimension=0), None)),
}


@pytest.mark.parametrize("name", PLACED)
def test_some_bodies_must_know_their_place(name):
    through = way(PLACED[name], X, WS)
    assert through is not None
    assert through.wants_place


def test_a_whole_array_beside_the_carry_is_cut_outside():
    through = way(lambda x, ws: lax.scan(lambda h, w: (h * w[0] + x, (x @ w).sum(0)), x + 1, ws), X, WS)
    assert through is not None
    assert not through.wants_place
    assert [m.position for m in through.dim.operands] == [1, 2]
    assert through.merged == {1: SUM}


RUNS: dict[str, tuple[Any, dict[int, Merge]]] = {
    "a recurrence": (lambda x, ws: lax.scan(lambda h, w: (jnp.tanh(w @ h), h), x[0], ws), {0: CARRY}),
    "backwards": (lambda x, ws: lax.scan(lambda h, w: (w @ h, h), x[0], ws, reverse=True), {0: CARRY}),
    "a map": (lambda x, ws: lax.map(lambda w: jnp.tanh(x @ w), ws), {}),
    "steps without weights": (lambda x, ws: lax.scan(lambda h, _: (h * 2, h), x, None, length=4), {0: CARRY}),
}


@pytest.mark.parametrize("name", RUNS)
def test_the_axis_of_the_steps(name):
    fun, merged = RUNS[name]
    loop = first_loop(fun, X, WS)
    where: dict[str, Any] = {"operand": 0} if loop.sliced else {"result": len(loop.carried)}
    through = way_through(loop, Along(0, 1), STEPS, **where)
    assert through is not None
    assert through.is_sequential
    assert not through.wants_place
    assert through.merged == merged
    assert {m.position for m in through.dim.operands} == set(range(len(loop.sliced)))
    assert {m.position for m in through.dim.results} == set(range(len(loop.carried), len(loop.outputs)))


def test_the_steps_of_a_body_that_reads_its_step_number_stay():
    graph = scaled_sums(12, 1)
    (loop,) = loops(graph)
    assert may_pass(loop)
    assert way_through(loop, Along(0, 1), 12, operand=0) is None
    # The other axis does not meet the number.
    assert way_through(loop, Along(1, 1), 3, operand=0) is not None


def test_loops_of_longer_chunks_let_nothing_through():
    (loop,) = loops(scaled_sums(12, 4))
    assert not may_pass(loop)
    assert way_through(loop, Along(1, 1), 3, operand=0) is None


def test_a_result_without_the_axis_does_not_bring_the_loop_along():
    """What is the same for every chunk is computed once, and sliced."""

    def fun(x: Any, ws: Any) -> Any:
        table = lax.scan(lambda h, w: (jnp.sort(h @ w, 0), None), jnp.ones_like(x), ws)[0]
        return jnp.tanh(x + table)

    assert way(fun, X, WS) is None
    graph = opened(fun, X, WS)
    tanh = next(node.outputs[0] for node in graph.nodes if node.kind == "tanh")
    assert not region_at(graph, tanh, 0).through


def test_longer_steps_where_the_body_takes_the_axis_apart():
    fun = scan(lambda h, w: (jnp.tanh(h.reshape(ROWS // 2, 2, WIDTH)).reshape(ROWS, WIDTH), None))
    with pytest.raises(RescaleError) as found:
        way(fun, X, WS)
    assert found.value.factor == 2
    graph = opened(fun, X, WS)
    region = region_at(graph, loops(graph)[0].outputs[0], 0)
    assert region.steps == ROWS // 2
    assert region.through


def test_scans_of_one_step_and_of_none():
    fun = scan(lambda h, w: (layer(h, w), h.sum(0)))
    through = way(fun, X, WS[:1])
    assert through is not None
    assert through.merged == {1: SUM}
    assert not loops(opened(fun, X, WS[:0]))


def test_bodies_of_many_ops():
    """More of them than calls may be in each other."""

    def step(h: Any, w: Any) -> tuple[Any, Any]:
        for _ in range(600):
            h = jnp.sin(h)
        return h, None

    assert way(scan(step), X, WS) is not None
