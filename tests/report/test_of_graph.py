"""What a report tells of a graph: steps, bands and values, of programs small, long and odd."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import memline
from memline.analysis.fusion import CPU
from memline.analysis.peak import peak_of
from memline.planning import prepared_graph
from memline.report import of_graph
from memline.report.of_graph import Told, told
from memline.report.record import Band

X = np.ones((60, 50), np.float32)


def line_of(text: str) -> int:
    """The first line of this file that has a text in it."""
    return next(n for n, line in enumerate(Path(__file__).read_text().splitlines(), 1) if text in line)


def of(fun: Any, *args: Any, names: tuple[str, ...] = ()) -> Told:
    graph = prepared_graph(jax.jit(fun).trace(*args).jaxpr, "cpu")
    return told(graph, peak_of(graph, CPU), names)


def assert_adds_up(found: Told, alias_bytes: int = 0) -> None:
    """What is alive at the peak explains the peak's bytes, the biggest first; no lifetime leaves the program."""
    sizes = [found.values[k].size_bytes for k in found.at_peak]
    assert sizes == sorted(sizes, reverse=True)
    assert sum(sizes) - alias_bytes == found.steps[found.peak].total_bytes
    assert found.steps[found.peak].total_bytes == max(step.total_bytes for step in found.steps)
    for held in found.values:
        assert 0 <= held.first <= held.last < len(found.steps)
        assert (held.first <= found.peak <= held.last) == (held in [found.values[k] for k in found.at_peak])


def test_a_small_program_step_by_step():
    found = of(lambda x: (x @ x.T).sum(0), X, names=("x",))
    assert [(step.op, step.covers) for step in found.steps] == [("dot_general", 1), ("reduce_sum", 1)]
    assert [step.place.line for step in found.steps if step.place] == [line_of("(x @ x.T).sum(0)")] * 2
    assert_adds_up(found)
    told_of = {held.kind: (held.name, held.label, held.type, held.size_bytes, held.op) for held in found.values}
    assert told_of == {
        "argument": ("%0", "x", "f32[60,50]", 12_000, ""),
        "temporary": ("%2", "", "f32[60,60]", 14_400, "dot_general"),
        "output": ("%3", "", "f32[60]", 240, "reduce_sum"),
    }
    assert found.bands == ()


@pytest.mark.parametrize(
    ("fun", "args"),
    [
        (lambda: (), ()),
        (lambda x: x, (X,)),
        (lambda x, y: (y, x, x), (X, X)),
        (lambda x: x + 1, (np.ones((0, 7), np.float32),)),
        (lambda: jnp.ones((3, 3)), ()),
        (lambda key: jax.random.normal(jax.random.split(key)[0], (40,)), (jax.random.key(1),)),
        (lambda x: jax.lax.top_k(x, 4), (X.astype(jnp.bfloat16),)),
        (lambda x: (jnp.asarray(X) @ x, x > 0), (X.T,)),
    ],
    ids=["nothing", "its argument", "arguments, one twice", "empty", "no argument", "keys", "scratch", "a constant"],
)
def test_odd_programs_add_up(fun: Any, args: Any):
    found = of(fun, *args)
    assert found.steps
    assert all(held.size_bytes for held in found.values)
    assert_adds_up(found)


def test_a_program_that_computes_nothing_has_one_step_that_covers_nothing():
    found = of(lambda x: x, X)
    assert [(step.op, step.total_bytes, step.covers) for step in found.steps] == [("return", 2 * X.nbytes, 0)]
    assert [(held.kind, held.op) for held in found.values] == [("argument", ""), ("output", "copy")]


def test_scratch_is_told_beside_values():
    found = of(lambda x: jnp.sort(x, 0), np.ones((2000, 3), np.float32))
    assert [held.op for held in found.values if held.type == "scratch"] == ["sort"]


def bands(found: Told, word: str) -> list[Band]:
    return [band for band in found.bands if word in band.title]


class TestBands:
    def test_loops_that_a_plan_makes(self):
        def kernel_sums(x: Any) -> Any:
            return jnp.exp(-((x[:, None] - x[None, :]) ** 2)).sum(1)

        x = jax.ShapeDtypeStruct((500,), jnp.float32)
        compiled = memline.jit(kernel_sums, plan=memline.Plan.of(memline.SplitAxis("%5", 0, 64))).lower(x).compile()
        found = told(compiled.graph, peak_of(compiled.graph, CPU))
        (band,) = found.bands
        assert band.title == "loop over axis 0 of %1, 7 runs of 64 and one of 52"
        assert (band.depth, band.runs) == (0, 8)
        assert band.first <= found.peak <= band.last
        assert band.place is not None
        assert band.place.function.endswith("kernel_sums")
        assert_adds_up(found)

    def test_scans_whiles_and_branches_one_in_the_other(self):
        def program(x: Any) -> Any:
            def step(c: Any, row: Any) -> tuple[Any, Any]:
                c = jax.lax.while_loop(lambda c: c.sum() < 9, lambda c: jnp.cos(c @ c), c)
                return c, jax.lax.cond(row.sum() > 0, lambda c: (c @ c).sum(), lambda c: jnp.sort(c, 0).sum(), c)

            return jax.lax.scan(step, jnp.eye(50), x)

        found = of(program, X)
        (scan,) = bands(found, "60 runs of 1")
        (turns,) = bands(found, "while")
        branches = bands(found, "branch")
        assert (scan.runs, turns.runs, turns.title) == (60, None, "while, as often as it takes")
        assert [band.title for band in branches] == ["branch 1 of 2", "branch 2 of 2"]
        assert [scan.depth, turns.depth, *(band.depth for band in branches)] == [0, 1, 1, 1]
        for band in (turns, *branches):
            assert scan.first <= band.first <= band.last <= scan.last
        assert branches[0].last < branches[1].first
        assert_adds_up(found)


class TestLongPrograms:
    @staticmethod
    def chain(length: int) -> Told:
        def program(x: Any) -> Any:
            kept = []
            for number in range(length):
                x = jnp.sin(x @ x)
                if number % 7 == 0:
                    kept.append(x)
            return x.sum() + sum(each.sum() for each in kept)

        return of(program, np.ones((8, 8), np.float32))

    def test_a_long_program_is_told_in_fewer_steps_but_for_its_peak(self, monkeypatch: pytest.MonkeyPatch):
        whole = self.chain(300)
        monkeypatch.setattr(of_graph, "MOST_STEPS", 100)
        found = self.chain(300)
        assert len(whole.steps) > 600
        assert all(step.covers == 1 for step in whole.steps)
        assert 50 < len(found.steps) <= 100
        assert sum(step.covers for step in found.steps) == len(whole.steps)
        peak = found.steps[found.peak]
        assert peak == whole.steps[whole.peak]
        assert [found.values[k].name for k in found.at_peak] == [whole.values[k].name for k in whole.at_peak]
        assert_adds_up(found)

    def test_of_many_values_those_at_the_peak_stay(self, monkeypatch: pytest.MonkeyPatch):
        whole = self.chain(300)
        monkeypatch.setattr(of_graph, "MOST_VALUES", 60)
        found = self.chain(300)
        assert len(found.values) == 60
        assert found.omitted == len(whole.values) - 60
        told_bytes = sum(held.size_bytes for held in found.values)
        assert found.omitted_bytes == sum(held.size_bytes for held in whole.values) - told_bytes
        assert len(found.at_peak) == len(whole.at_peak)
        assert_adds_up(found)

    def test_of_many_bands_the_longest_stay(self, monkeypatch: pytest.MonkeyPatch):
        def program(x: Any) -> Any:
            for length in range(1, 9):
                x = jax.lax.fori_loop(0, 3, lambda _, x, n=length: [x := jnp.sin(x @ x) for _ in range(n)][-1], x)
            return x

        monkeypatch.setattr(of_graph, "MOST_BANDS", 3)
        found = of(program, np.ones((8, 8), np.float32))
        assert found.omitted_bands == 5
        lengths = [band.last - band.first for band in found.bands]
        assert lengths == sorted(lengths)
        assert len(lengths) == 3
