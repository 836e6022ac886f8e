"""The curve of memory against time: monotone, from the floor to the program as written, its plans good for replay."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from matplotlib.figure import Figure

import memline
from memline import Curve, PlanError, Point
from memline.tradeoff.sample import curve_of, measured
from memline.verify.compiled import compiled_peak
from memline.verify.measured import Measured
from tests.comparing import assert_same, kernel_sums

SHAPE = jax.ShapeDtypeStruct((4000,), jnp.float32)
CURVE = memline.curve(kernel_sums, SHAPE, points=5)


def two_kernels(x: Any, scale: float) -> Any:
    """A program with more than one thing to split."""
    near = jnp.exp(-((x[:, None] - x[None, :]) ** 2))
    return (near @ jnp.sort(near, 1)).sum(1) * scale


def labels_of(axes: Any) -> list[str]:
    return [text.get_text() for text in axes.get_legend().get_texts()]


class TestPoints:
    def test_more_memory_never_costs_more_time(self):
        for curve in (CURVE, memline.curve(two_kernels, jax.ShapeDtypeStruct((700,), jnp.float32), 2.0, points=6)):
            assert len(curve.points) >= 2
            for less, more in pairwise(curve.points):
                assert less.limit_bytes < more.limit_bytes
                assert less.seconds > more.seconds
                assert less.plan.moves != more.plan.moves

    def test_it_goes_from_the_floor_to_the_program_as_written(self):
        assert CURVE.points[0].limit_bytes == min(p.limit_bytes for p in CURVE.tried)
        assert CURVE.points[-1].limit_bytes <= CURVE.plain.limit_bytes == CURVE.plain.compiled_peak_bytes
        assert CURVE.plain.plan.moves == ()
        plain = compiled_peak(jax.jit(kernel_sums).lower(SHAPE).compile()).total_bytes
        assert CURVE.plain.compiled_peak_bytes >= plain
        with pytest.raises(memline.MemoryLimitError):
            memline.plan(kernel_sums, CURVE.points[0].compiled_peak_bytes // 2)(SHAPE)

    def test_every_point_holds_its_limit_and_can_be_asked_for(self):
        for point in CURVE.tried:
            assert point.compiled_peak_bytes <= point.limit_bytes
        for point in CURVE.points:
            plan = memline.plan(kernel_sums, point.limit_bytes)(SHAPE)
            assert plan.compiled_peak_bytes is not None
            assert plan.compiled_peak_bytes <= point.limit_bytes

    def test_plans_can_be_replayed(self):
        x = jnp.linspace(0.0, 1.0, 4000)
        for point in CURVE.points:
            replayed = memline.jit(kernel_sums, plan=point.plan)
            found = replayed.lower(x).plan.compiled_peak_bytes
            assert found is not None
            assert found <= point.limit_bytes
            assert_same(replayed(x), jax.jit(kernel_sums)(x))

    def test_equal_plans_are_compiled_once(self, monkeypatch):
        graphs = []
        from memline.compiling import Compiler

        compile_one = Compiler._compile_with
        monkeypatch.setattr(
            Compiler,
            "_compile_with",
            lambda self, graph, *rest: graphs.append(str(graph)) or compile_one(self, graph, *rest),
        )
        curve = memline.curve(kernel_sums, SHAPE, points=8)
        assert len(graphs) == len(set(graphs))
        assert len(curve.tried) == len({point.plan.moves for point in curve.tried})

    def test_a_program_with_nothing_to_save_has_one_point(self):
        curve = memline.curve(jnp.sin, jax.ShapeDtypeStruct((1000,), jnp.float32))
        assert curve.points == curve.tried == (curve.plain,)
        assert "Ask for 7.82 KiB" in str(curve)

    def test_what_is_slower_and_larger_is_no_point(self):
        def point(limit_bytes: int, seconds: float) -> Point:
            return Point(limit_bytes, limit_bytes, seconds, CURVE.plain.plan)

        found = [point(30, 2.0), point(10, 3.0), point(20, 4.0), point(40, 2.0), point(90, 1.96)]
        curve = curve_of(found)
        assert [p.limit_bytes for p in curve.points] == [10, 30, 90]
        assert curve.plain == found[-1]
        assert curve.recommended.limit_bytes == 30, "within 5% of the fastest"

    def test_settings_and_keywords_of_the_call(self):
        curve = memline.curve(
            lambda x, n, *, shift: kernel_sums(x) * n + shift,
            SHAPE,
            3,
            kwargs={"shift": 1.0},
            points=1,
            static_argnums=1,
        )
        assert curve.points[0].plan.signature == ("float32[4000]", "float32[]")


class TestMeasured:
    def test_times_and_peaks_are_those_of_runs(self):
        curve = memline.curve(
            lambda x, n: kernel_sums(x) * n, jnp.ones(3000), 2, points=1, measure=True, repeats=1, static_argnums=1
        )
        for point in curve.tried:
            assert point.measured_seconds is not None
            assert 1e-5 < point.measured_seconds < 60
            assert point.measured_peak_bytes is not None
            assert point.seconds == point.measured_seconds
        assert curve.plain.measured_peak_bytes is not None
        assert curve.plain.measured_peak_bytes > 30 * 2**20, "the whole matrix of 34 MiB"
        for less, more in pairwise(curve.points):
            assert less.seconds > more.seconds
        assert "measured peak" in str(curve)
        assert Curve.from_json(curve.to_json()) == curve

    def test_slow_calls_are_timed_once_and_endless_ones_not_at_all(self, monkeypatch: pytest.MonkeyPatch):
        runs: list[int] = []

        def measure(*args: Any, repeats: int) -> Measured:
            runs.append(repeats)
            return Measured(1 << 20, 0, 9.0, (9.0,) * repeats, "by hand")

        monkeypatch.setattr("memline.tradeoff.sample.measure_compiled", measure)
        quick, slow, endless = (replace(CURVE.plain, estimated_seconds=s) for s in (0.1, 8.0, 5000.0))
        planned: Any = SimpleNamespace(candidate=SimpleNamespace(compiled=None))
        plans: dict[Point, Any] = dict.fromkeys((quick, slow, endless), planned)
        found = measured(plans, (), {}, 3)
        assert [p.measured_seconds for p in found] == [9.0, 9.0, None]
        assert runs == [3, 0], "the quick one turned out to be slow, and is not run in the later rounds"
        assert curve_of(found).points == (found[0],)


class TestPage:
    def test_it_is_a_table_with_a_word_of_advice(self):
        lines = str(CURVE).splitlines()
        assert lines[0] == "memline curve: what a call costs under a limit"
        assert lines[1].split() == ["limit", "compiled", "peak", "estimated", "moves"]
        assert len(lines) == len(CURVE.points) + 4
        assert sum(line.endswith("<") for line in lines) == 1
        assert "Ask for" in lines[-1]
        assert max(map(len, lines)) < 140

    def test_limits_can_be_typed_back_in(self):
        from memline.budget import parse_limit

        first = str(CURVE).splitlines()[2].split()
        limit_bytes = parse_limit(" ".join(first[:2]))
        assert limit_bytes is not None
        assert limit_bytes >= CURVE.points[0].limit_bytes


class TestJson:
    def test_round_trip(self):
        assert Curve.from_json(CURVE.to_json()) == CURVE
        assert Curve.from_json(CURVE.to_json().encode()) == CURVE

    @pytest.mark.parametrize("text", ["", "[]", "3", '{"a": 1}', CURVE.plain.plan.to_json(), None])
    def test_what_is_no_curve(self, text):
        with pytest.raises(PlanError, match="not a curve"):
            Curve.from_json(text)

    @pytest.mark.parametrize(
        "change",
        [
            {"memline_curve": 2},
            {"extra": 1},
            {"points": []},
            {"tried": 3},
            {"plain": {}},
            *(
                {"plain": json.loads(CURVE.to_json())["plain"] | wrong}
                for wrong in (
                    {"limit_bytes": -1},
                    {"limit_bytes": None},
                    {"compiled_peak_bytes": 1.5},
                    {"estimated_seconds": None},
                    {"measured_seconds": "fast"},
                    {"measured_peak_bytes": True},
                    {"plan": {}},
                )
            ),
        ],
    )
    def test_what_it_does_not_know_is_refused(self, change):
        with pytest.raises(PlanError):
            Curve.from_json(json.dumps(json.loads(CURVE.to_json()) | change))


class TestPlot:
    def test_it_writes_a_picture(self, tmp_path: Path):
        CURVE.plot(tmp_path / "curve.png")
        assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")

    def test_it_draws_into_axes_that_are_given(self):
        axes = Figure().add_subplot()
        assert CURVE.plot(axes) is axes
        assert axes.get_xlabel()
        labels = labels_of(axes)
        assert "as written" in labels
        [dots] = [line for line in axes.lines if line.get_label() == "estimated"]
        assert np.asarray(dots.get_xdata()).tolist() == [point.limit_bytes for point in CURVE.points]

    def test_measured_curves_show_both(self):
        def timed(point: Point) -> Point:
            return replace(point, measured_seconds=2 * point.estimated_seconds, measured_peak_bytes=1)

        axes = curve_of([timed(point) for point in (*CURVE.points, CURVE.plain)]).plot()
        assert {"measured", "estimated"} <= set(labels_of(axes))

    def test_a_floor_that_is_much_slower_does_not_hide_the_rest(self):
        endless = replace(CURVE.plain, limit_bytes=1, estimated_seconds=5000.0)
        assert curve_of([endless, CURVE.plain]).plot().get_yscale() == "log"
        assert curve_of([CURVE.plain, CURVE.plain]).plot().get_yscale() == "linear"

    def test_without_matplotlib_there_is_a_clear_word(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
        with pytest.raises(memline.MissingPackageError, match=r"pip install 'memline\[plot\]'"):
            CURVE.plot()


class TestErrors:
    @pytest.mark.parametrize(
        "wrong", [{"points": 0}, {"points": 2.5}, {"repeats": True}, {"memory_limit": 3}, {"plan": 3}]
    )
    def test_settings_that_make_no_sense(self, wrong):
        with pytest.raises(memline.ArgumentError, match=next(iter(wrong))):
            memline.curve(kernel_sums, SHAPE, **wrong)

    def test_arguments_that_are_no_arrays(self):
        with pytest.raises(memline.ArgumentError, match="argument 0 is not an array"):
            memline.curve(kernel_sums, "text")
        with pytest.raises(memline.ArgumentError, match="Expected a callable value"):
            memline.curve(3, SHAPE)  # type: ignore[arg-type]
