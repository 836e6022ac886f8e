"""Rewriting as a move: weighed under the limit, told in the plan, written by hand, refused with reasons."""

from __future__ import annotations

import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import memline
from memline import ArgumentError, Options, PlanError, Rewrite
from memline.ir.check import check
from memline.ir.emit import evaluate
from memline.ir.graph import Graph
from memline.ir.trace import from_jaxpr, trace
from memline.plan.apply import apply_moves
from memline.plan.moves import move_from_dict, move_to_dict
from memline.plan.rewriting import pays
from tests.comparing import assert_same
from tests.families import normal

X = jax.ShapeDtypeStruct((60, 50, 40), "float32")


def twice_transposed(x: Any) -> Any:
    return lax.transpose(lax.transpose(x, (1, 0, 2)), (1, 2, 0)) * 2


def kinds(graph: Graph) -> list[str]:
    return [node.kind for node in graph.nodes]


def test_a_move_is_written_and_read():
    move = Rewrite("%7@0", "transposes")
    assert move_from_dict(json.loads(json.dumps(move_to_dict(move)))) == move


@pytest.mark.parametrize(("value", "rule"), [("7", "transposes"), ("%7", "no rule"), ("%7", 3), (None, "transposes")])
def test_a_move_that_names_nothing_is_refused(value, rule):
    with pytest.raises(PlanError, match="Rewrite"):
        Rewrite(value, rule)


def test_by_hand_it_is_applied_to_the_value_it_names():
    graph = trace(twice_transposed, X)
    assert kinds(graph) == ["transpose", "transpose", "mul"]
    after = apply_moves(graph, [Rewrite(graph.nodes[1].outputs[0].name, "transposes")])
    check(after)
    assert kinds(after) == ["transpose", "mul"]
    assert after.nodes[0].source == graph.nodes[1].source
    assert kinds(graph) == ["transpose", "transpose", "mul"], "the graph given is as it was"
    x = normal(60, 50, 40)
    assert_same(evaluate(after, [x]), [twice_transposed(x)], rtol=0)


@pytest.mark.parametrize(
    ("value", "rule", "why"),
    [
        ("%999", "transposes", "no value %999"),
        ("%1", "transposes", "does not apply to %1. It rests on: Transposing"),
        ("%1", "alchemy", "no rule alchemy. Its rules: "),
    ],
)
def test_a_move_that_does_not_apply_says_why(value, rule, why):
    with pytest.raises(PlanError, match=why):
        apply_moves(trace(twice_transposed, X), [Rewrite(value, rule)])


def test_what_two_rewritings_both_make_is_made_once():
    a, b, c = (normal(60, 60, seed=seed) for seed in range(3))
    v = normal(60, seed=3)
    compiled = memline.jit(lambda a, b, c, v: a @ b @ v + c @ b @ v, memory_limit="8MiB").lower(a, b, c, v).compile()
    assert [move.rule for move in compiled.plan.moves if isinstance(move, Rewrite)] == ["contract"] * 2
    assert kinds(compiled.graph) == ["dot_general"] * 3 + ["add"]
    assert_same(compiled(a, b, c, v), a @ b @ v + c @ b @ v, rtol=1e-4)


@pytest.mark.parametrize("body", ["scan", "while", "cond"])
def test_it_reaches_into_bodies(body):
    def fun(x):
        if body == "scan":
            return lax.scan(lambda c, _: (twice_transposed(c), None), x, None, length=2)[0]
        if body == "while":
            return lax.while_loop(lambda c: c.sum() < 100, twice_transposed, x)
        return lax.cond(x[0, 0, 0] > 0, twice_transposed, lambda c: c, x)

    x = jnp.asarray(normal(5, 5, 5)) ** 2 + 1
    graph = from_jaxpr(jax.make_jaxpr(fun)(x), open_bodies=True)
    (scope,) = [b for node in graph.nodes for b in node.inner if kinds(b).count("transpose") == 2]
    name = [node for node in scope.nodes if node.kind == "transpose"][1].outputs[0].name
    after = apply_moves(graph, [Rewrite(name, "transposes")])
    check(after)
    assert str(after).count(" = transpose") == str(graph).count(" = transpose") - 1
    assert_same(jax.jit(lambda x: evaluate(after, [x]))(x), [fun(x)], rtol=0)


@pytest.mark.parametrize(
    "options", [{"rewrites": "exact"}, {"rewrites": ("magic",)}, {"rewrites": 3}, {"rtol": -1.0}, {"rtol": "small"}]
)
def test_options_out_of_range_are_refused(options):
    with pytest.raises(ArgumentError, match=next(iter(options))):
        Options(**options)


def test_options_are_in_one_order():
    assert Options(rewrites=["approximate", "exact"]).rewrites == ("exact", "approximate")  # type: ignore[arg-type]


def test_what_fits_may_grow_to_the_limit_and_no_further():
    assert pays((40, 2.0), (50, 1.0), 50)
    assert not pays((40, 2.0), (51, 1.0), 50)
    assert not pays((40, 2.0), (39, 4.0), 50)
    assert not pays((40, 2.0), (40, 2.0), 50)


def test_what_does_not_fit_may_become_faster_or_smaller_but_not_much_worse():
    assert pays((100, 2.0), (100, 1.0), 50)
    assert pays((100, 2.0), (90, 2.0), 50)
    assert not pays((100, 2.0), (200, 1.0), 50)
    assert not pays((100, 2.0), (90, 3.0), 50)
    assert pays((100, 2.0), (40, 3.0), 50), "it fits then"
    assert not pays((100, 2.0), (40, 9.0), 50)


def test_a_program_without_a_match_is_planned_as_without_rules():
    def plain(x):
        return jnp.exp(x[:, None] - x[None, :]).max(1)

    x = normal(1500)
    with_rules = memline.jit(plain, memory_limit="1MiB").lower(x).compile().plan
    without = memline.jit(plain, memory_limit="1MiB", options=Options(rewrites=())).lower(x).compile().plan
    assert with_rules.decisions == without.decisions
    assert with_rules.notes == without.notes
    assert np.isclose(with_rules.estimated_seconds or 0, without.estimated_seconds or 1)
