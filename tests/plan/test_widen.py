"""Splits of a plan that fits are made coarser, or left out, where that is faster and fits too."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import memline
from memline.analysis.fusion import CPU
from memline.analysis.machine import machine_for
from memline.analysis.peak import peak_of
from memline.ir.check import check
from memline.ir.emit import evaluate
from memline.ir.graph import Graph
from memline.ir.trace import trace
from memline.options import Options
from memline.plan.candidates import Target
from memline.plan.moves import Keep, SplitAxis
from memline.plan.plan import Decision
from memline.plan.search import Outcome, search
from memline.plan.widen import widened
from memline.planning import prepared_graph
from tests.comparing import assert_same

MIB = 1 << 20


def kernel(x: Any) -> Any:
    return jnp.exp(-((x[:, None] - x[None, :]) ** 2)).sum(1)


def rotated_scores(x: Any) -> Any:
    """Rows and columns of scores are both made from one array that is big beside the limit."""
    n, d = x.shape
    angles = jnp.arange(n)[:, None] * 1e4 ** (-jnp.arange(d // 2) / (d // 2))
    c, s = jnp.cos(angles), jnp.sin(angles)
    left, right = x[:, : d // 2], x[:, d // 2 :]
    turned = jnp.concatenate([left * c - right * s, left * s + right * c], -1)
    return jax.nn.logsumexp(turned @ turned.T / np.float32(np.sqrt(d)), -1)


def target(limit_bytes: int) -> Target:
    return Target(limit_bytes, 0, CPU, machine_for("cpu"))


def by_hand(*moves: SplitAxis | Keep) -> tuple[Decision, ...]:
    return tuple(Decision(move, "by hand") for move in moves)


def biggest(graph: Graph) -> str:
    return max(graph.producer, key=lambda v: v.size_bytes).name


class TestWidened:
    graph = trace(kernel, np.zeros(3001, np.float32))
    name = biggest(graph)

    def test_a_chunk_grows_as_far_as_the_limit_allows(self) -> None:
        chunks: list[int] = []
        for limit_bytes in (MIB // 4, 2 * MIB):
            found = widened(self.graph, by_hand(SplitAxis(self.name, 0, 1)), target(limit_bytes))
            assert found is not None
            assert found.peak.total_bytes <= limit_bytes
            [decision] = found.decisions
            assert isinstance(decision.move, SplitAxis)
            assert "its chunk was 1 until" in decision.reason
            assert not found.notes
            chunks.append(decision.move.chunk)
            check(found.graph)
            x = np.random.default_rng(0).normal(size=3001).astype(np.float32)
            np.testing.assert_allclose(evaluate(found.graph, (x,))[0], jax.jit(kernel)(x), rtol=1e-5)
        assert 1 < chunks[0] < chunks[1]

    def test_a_split_that_is_not_needed_any_more_is_left_out(self) -> None:
        first = SplitAxis(self.name, 0, 50)
        inner = SplitAxis(f"{self.name}@0", 1, 7)
        found = widened(self.graph, by_hand(first, inner), target(2 * MIB))
        assert found is not None
        assert [d.move.value for d in found.decisions if isinstance(d.move, SplitAxis)] == [first.value]
        assert found.notes == (f"not needed once the other splits are there: {inner}",)

    def test_a_value_may_be_split_twice(self) -> None:
        """The second time it is what the loop of the first stacks."""
        twice = by_hand(SplitAxis("%21", 0, 1), SplitAxis("%21", 0, 50))
        graph = prepared_graph(jax.make_jaxpr(rotated_scores)(np.zeros((900, 64), np.float32)), "cpu")
        found = widened(graph, twice, target(8 * MIB))
        assert found is not None
        assert all("its chunk was" in d.reason or d in twice for d in found.decisions)
        assert len(found.decisions) + len(found.notes) == 2

    def test_figures_are_those_of_the_moves(self) -> None:
        found = widened(self.graph, by_hand(SplitAxis(self.name, 0, 1)), target(MIB))
        assert found is not None
        again = memline.jit(kernel, plan=memline.Plan.of(*(d.move for d in found.decisions)))
        assert again.lower(np.zeros(3001, np.float32)).compile().plan.planned_peak_bytes == found.peak.total_bytes

    def test_a_plan_that_is_as_good_as_it_gets_is_left_alone(self) -> None:
        good = search_for(kernel, 3001, MIB).decisions
        assert good
        assert widened(self.graph, good, target(MIB)) is None

    def test_moves_of_another_program_are_refused(self) -> None:
        with pytest.raises(memline.PlanError):
            widened(self.graph, by_hand(SplitAxis("%nothing", 0, 1)), target(MIB))


def search_for(fun: Any, n: int, limit_bytes: int, judge: Any = None, **options: Any) -> Outcome:
    shape = (n, 64) if fun is rotated_scores else (n,)
    return search(
        prepared_graph(jax.make_jaxpr(fun)(np.zeros(shape, np.float32)), "cpu"),
        limit_bytes=limit_bytes,
        alias_bytes=0,
        platform="cpu",
        options=Options(**options),
        judge=judge or (lambda graph: peak_of(graph, CPU).total_bytes),
    )


class OffAtFirst:
    """A compiler that needs a MiB more than the model says for the first plan it is given."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, graph: Graph) -> int:
        self.calls += 1
        return peak_of(graph, CPU).total_bytes + MIB * (self.calls == 1)


class TestSearch:
    """Where the first plan compiles to more than the model says, the search aims lower, and may aim too low."""

    def test_it_takes_back_what_was_too_much(self) -> None:
        low = search_for(rotated_scores, 5000, 4 * MIB, OffAtFirst(), max_compiles=2)
        best = search_for(rotated_scores, 5000, 4 * MIB, OffAtFirst())
        assert low.fits
        assert best.fits
        assert (low.compiles, best.compiles) == (2, 3)
        assert best.seconds < 0.7 * low.seconds

    def test_a_coarser_plan_that_compiles_to_too_much_is_not_taken(self) -> None:
        low = search_for(rotated_scores, 5000, 4 * MIB, OffAtFirst(), max_compiles=2)
        off = OffAtFirst()
        outcome = search_for(rotated_scores, 5000, 4 * MIB, lambda graph: off(graph) if off.calls < 2 else 5 * MIB)
        assert outcome.fits
        assert outcome.compiles == 3
        assert outcome.decisions == low.decisions

    def test_results_are_those_of_plain_jit_and_the_limit_holds(self) -> None:
        x = np.random.default_rng(1).normal(size=(1200, 64)).astype(np.float32)
        limit_bytes = int(x.nbytes * 3.3)
        limited = memline.jit(rotated_scores, memory_limit=limit_bytes)
        compiled = limited.lower(x).compile()
        assert compiled.plan.compiled_peak_bytes is not None
        assert compiled.plan.compiled_peak_bytes <= limit_bytes
        assert_same(limited(x), jax.jit(rotated_scores)(x))

        def loss(fun: Any) -> Any:
            return jax.grad(lambda x: (fun(x) ** 2).mean())

        limited = memline.jit(rotated_scores, memory_limit=7 * x.nbytes)
        assert_same(jax.jit(loss(limited))(x), jax.jit(loss(rotated_scores))(x))
        batch = np.stack([x, 2 * x])
        assert_same(jax.vmap(limited)(batch), jax.vmap(rotated_scores)(batch))
