"""Moves: what they say survives JSON, and applying them finds the values they name, in loops' bodies too."""

from __future__ import annotations

import json
from typing import Any

import jax
import jax.numpy as jnp
import pytest

from memline import Keep, PlanError, Recompute, SplitAxis
from memline.ir.check import check
from memline.ir.emit import evaluate
from memline.ir.graph import Graph, Loop
from memline.ir.trace import trace
from memline.plan.apply import apply_moves
from memline.plan.moves import move_from_dict, move_to_dict
from tests.comparing import assert_same
from tests.families import FAMILIES, normal

MOVES = [SplitAxis("%7", axis=0, chunk=512), SplitAxis("%7@0", axis=2, chunk=1), Keep("%7"), Recompute("%s0.1")]


def kernel_sums(x: Any, y: Any) -> Any:
    return jnp.exp(-((x[:, None] - y[None, :]) ** 2)).sum(1)


def loops(graph: Graph) -> list[Loop]:
    return [node for node in graph.nodes if isinstance(node, Loop)]


def name_of(graph: Graph, kind: str) -> str:
    return next(node.outputs[0].name for node in graph.nodes if node.kind == kind)


def same_results(graph: Graph, fun: Any, *args: Any, rtol: float = 2e-5) -> None:
    check(graph)
    found = jax.jit(lambda *xs: evaluate(graph, xs))(*args)
    assert_same(found, jax.tree.leaves(jax.jit(fun)(*args)), rtol)


@pytest.mark.parametrize("move", MOVES, ids=str)
def test_moves_survive_json(move):
    assert move_from_dict(json.loads(json.dumps(move_to_dict(move)))) == move


@pytest.mark.parametrize("data", [None, 3, "Keep", [], {}, {"move": None}, {"move": {}}, {"move": "Keep", "value": 3}])
def test_what_is_no_move(data):
    with pytest.raises(PlanError):
        move_from_dict(data)


def test_moves_are_values():
    assert SplitAxis("%7", 0, 5) == SplitAxis("%7", axis=0, chunk=5)
    assert len({Keep("%1"), Keep("%1"), Recompute("%1")}) == 2
    with pytest.raises(AttributeError):
        Keep("%1").value = "%2"  # type: ignore[misc]


def test_no_moves_change_nothing():
    graph = trace(kernel_sums, normal(9), normal(7))
    assert apply_moves(graph, []) is graph


def test_a_split_keeps_the_names_of_what_it_does_not_touch():
    graph = trace(kernel_sums, normal(90), normal(70))
    cut = apply_moves(graph, [SplitAxis(name_of(graph, "exp"), 0, 11)])
    assert cut.inputs == graph.inputs
    assert cut.outputs == graph.outputs
    [loop] = loops(cut)
    assert name_of(graph, "exp") + "@0" in {v.name for v in loop.body.values()}


@pytest.mark.parametrize(
    ("rows", "axis", "chunk", "loops_in_tail"),
    [
        pytest.param(90, 1, 9, 1, id="its tail as well"),
        pytest.param(81, 0, 20, 0, id="but no tail too short for it"),
    ],
)
def test_a_split_inside_a_loop_reaches_its_body(rows, axis, chunk, loops_in_tail):
    x, y = normal(rows), normal(70, seed=1)
    graph = trace(kernel_sums, x, y)
    exp = name_of(graph, "exp")
    cut = apply_moves(graph, [SplitAxis(exp, 0, 40), SplitAxis(exp + "@0", axis, chunk)])
    [outer] = loops(cut)
    assert outer.tail is not None
    assert [len(loops(body)) for body in outer.bodies] == [1, loops_in_tail]
    same_results(cut, kernel_sums, x, y)


def test_three_deep():
    x, y = normal(40), normal(30, seed=1)

    def fun(x, y):
        return jnp.exp(x[:, None, None] + y[None, :, None] * x[None, None, :]).sum((1, 2))

    graph = trace(fun, x, y)
    exp = name_of(graph, "exp")
    moves = [SplitAxis(exp, 0, 7), SplitAxis(exp + "@0", 1, 8), SplitAxis(exp + "@0@0", 2, 9)]
    cut = apply_moves(graph, moves)
    assert loops(loops(loops(cut)[0].body)[0].body)
    same_results(cut, fun, x, y)


def test_kept_values_belong_to_the_next_split():
    family = FAMILIES["batch norm gradient"]
    args = family.args(103)
    graph = trace(family.fun, *args)
    seed = max(graph.producer, key=lambda v: v.size_bytes)
    split = SplitAxis(seed.name, 0, 10)
    again = apply_moves(graph, [split])
    kept = apply_moves(graph, [Keep(seed.name), split])
    assert sum(len(loop.stacked) for loop in loops(kept)) == sum(len(loop.stacked) for loop in loops(again)) + 1
    assert apply_moves(graph, [Keep(seed.name), Recompute(seed.name), split]).nodes[-1].kind == again.nodes[-1].kind
    for cut in (again, kept):
        same_results(cut, family.fun, *args, rtol=1e-4)
    with pytest.raises(PlanError, match="not followed"):
        apply_moves(graph, [split, Keep(seed.name)])


def test_the_second_split_of_an_axis_of_the_whole_is_of_the_stacked_result():
    """Rows are made by one loop and stacked; what is made of them whole is split by itself."""
    x = normal(60, 5)

    def fun(x):
        h = jnp.tanh(x)
        return jnp.exp(h @ h.T).sum(0)

    graph = trace(fun, x)
    cut = apply_moves(graph, [SplitAxis(name_of(graph, "exp"), 1, 7)])
    same_results(cut, fun, x)
    with pytest.raises(PlanError, match="no value"):
        apply_moves(cut, [SplitAxis(name_of(graph, "exp"), 1, 7)])
