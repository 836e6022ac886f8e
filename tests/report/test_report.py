"""`memline.report`: from whatever it is made, its figures are those of the plan and of the compiler."""

import functools
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import memline
from memline import packing
from memline.compiling import HONEST_CPU
from memline.errors import ArgumentError, LimitError, MemoryLimitError
from memline.report import layout as layouts
from memline.report.record import Program
from memline.report.report import Report
from tests.comparing import TIGHT, N, kernel_sums
from tests.packing.native import needs_solver

SHAPE = jax.ShapeDtypeStruct((N,), jnp.float32)
BOUNDED = memline.jit(kernel_sums, memory_limit=TIGHT)


@functools.cache
def planned() -> Report:
    return memline.report(BOUNDED, SHAPE)


def assert_whole(report: Report) -> None:
    """The record keeps to its own rules, and its figures to each other."""
    assert Report.from_json(report.to_json()) == report
    for program in report.programs:
        assert program.planned_peak_bytes == program.steps[program.peak].total_bytes
        alive = sum(program.values[k].size_bytes for k in program.at_peak)
        assert alive - program.alias_bytes == program.planned_peak_bytes


class TestWhatItIsMadeFrom:
    def test_a_function_with_a_limit_of_its_own(self):
        plan = memline.plan(kernel_sums, TIGHT)(SHAPE)
        record = planned().record
        before, after = record.programs
        assert (before.name, after.name) == ("as written", "planned")
        assert record.limit_bytes == plan.limit_bytes
        assert record.floor_bytes == plan.floor_bytes
        assert after.compiled_peak_bytes == plan.compiled_peak_bytes
        assert after.planned_peak_bytes == plan.planned_peak_bytes
        assert before.planned_peak_bytes == plan.whole_peak_bytes
        assert (before.estimated_seconds, after.estimated_seconds) == (plan.whole_seconds, plan.estimated_seconds)
        assert [move.text for move in record.moves] == [str(move) for move in plan.moves]
        assert [move.reason for move in record.moves] == [d.reason for d in plan.decisions]
        assert record.moves[0].place is not None
        assert record.moves[0].place.file.endswith("comparing.py")
        assert record.title == "kernel_sums"
        assert record.place is not None
        assert record.place.line == kernel_sums.__code__.co_firstlineno
        assert record.origin.platform == "cpu"
        assert_whole(planned())

    def test_a_plain_function_is_compiled_as_it_is_written(self):
        # Without these options XLA hands all of it to a library, and accounts for nothing.
        account = (
            jax.jit(kernel_sums).lower(SHAPE).compile(compiler_options=dict[str, Any](HONEST_CPU)).memory_analysis()
        )
        assert account is not None
        held = account.argument_size_in_bytes + account.output_size_in_bytes + account.temp_size_in_bytes
        for fun in (kernel_sums, jax.jit(kernel_sums), memline.jit(kernel_sums)):
            report = memline.report(fun, SHAPE, layout=False)
            (program,) = report.programs
            assert (program.name, program.compiled_peak_bytes, program.layout) == ("as written", held, None)
            assert report.record.limit_bytes is report.record.floor_bytes is None
            assert report.record.moves == ()
            assert program == replace(planned().programs[0], layout=None)
            assert_whole(report)

    def test_a_plain_function_and_a_limit(self):
        report = memline.report(kernel_sums, SHAPE, memory_limit=TIGHT, layout=False)
        assert [p.compiled_peak_bytes for p in report.programs] == [p.compiled_peak_bytes for p in planned().programs]
        with pytest.raises(MemoryLimitError):
            memline.report(kernel_sums, SHAPE, memory_limit=4 * N)
        with pytest.raises(LimitError):
            memline.report(kernel_sums, SHAPE, memory_limit="much")

    def test_a_program_that_fits_as_it_is_is_told_once(self):
        report = memline.report(kernel_sums, SHAPE, memory_limit="1GiB", layout=False)
        (program,) = report.programs
        assert (program.name, report.record.moves) == ("as written", ())
        assert "fits as it is written: " in str(report)

    def test_stages(self):
        lowered = BOUNDED.lower(SHAPE)
        for stage in (lowered, lowered.compile()):
            report = memline.report(stage, layout=False)
            assert report.programs[1].steps == planned().programs[1].steps
            assert report.programs[1].compiled_peak_bytes == lowered.plan.compiled_peak_bytes

    def test_a_plan_alone_has_figures_and_moves(self):
        plan = memline.plan(kernel_sums, TIGHT)(SHAPE)
        report = memline.report(plan)
        before, after = report.programs
        assert (before.steps, before.values, after.steps) == ((), (), ())
        assert before.planned_peak_bytes == plan.whole_peak_bytes
        assert after.compiled_peak_bytes == plan.compiled_peak_bytes
        assert len(report.record.moves) == len(plan.moves)
        assert Report.from_json(report.to_json()) == report
        assert "SplitAxis" in str(report)

    def test_a_plan_written_by_hand_has_moves_only(self):
        by_hand = memline.Plan.of(memline.SplitAxis("%5", 0, 64))
        assert memline.report(by_hand).programs == ()
        assert "written by hand" in str(memline.report(by_hand))
        report = memline.report(memline.jit(kernel_sums, plan=by_hand), SHAPE, layout=False)
        assert report.record.limit_bytes is None
        assert len(report.programs) == 2
        assert_whole(report)

    def test_static_and_keyword_arguments(self):
        def powers(x: Any, *, scale: Any, times: int) -> Any:
            for _ in range(times):
                x = jnp.sin(x @ x) * scale
            return x

        x = jnp.ones((30, 30))
        given: Any = {"scale": 2.0, "times": 3}
        ways: Any = ((jax.jit(powers, static_argnames="times"), {}), (powers, {"static_argnames": "times"}))
        for fun, settings in ways:
            (program,) = memline.report(fun, x, kwargs=given, layout=False, **settings).programs
            assert [step.op for step in program.steps].count("dot_general") == 3
            assert [held.label for held in program.values if held.kind == "argument"] == ["x", "scale"]

    def test_donated_arguments_are_counted_once(self):
        report = memline.report(lambda x: x * 2.0, jnp.ones(1000), donate_argnums=0, layout=False)
        (program,) = report.programs
        assert program.alias_bytes == 4000
        assert program.planned_peak_bytes == program.compiled_peak_bytes == 4000 + 4, "and the 2.0"
        assert_whole(report)

    def test_rewrites_scans_and_loops(self):
        def program(a: Any, xs: Any) -> Any:
            def step(c: Any, x: Any) -> Any:
                return jnp.tanh(c * 0.5 + x), c.sum()

            c, sums = jax.lax.scan(step, a @ a.T @ jnp.ones((300, 2)), xs)
            return c, sums

        report = memline.report(program, jnp.ones((300, 20)), jnp.ones((5, 300, 2)), memory_limit="80KiB")
        assert "Rewrite" in [move.kind for move in report.record.moves]
        assert any("5 runs" in band.title for band in report.programs[0].bands)
        assert_whole(report)

    def test_a_jaxlib_without_the_honest_options_is_a_note(self, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setitem(HONEST_CPU, "xla_no_such_option", "on")
        report = memline.report(kernel_sums, SHAPE, layout=False)
        assert report.programs[0].compiled_peak_bytes == planned().programs[0].compiled_peak_bytes
        (note,) = report.record.notes
        assert note == "this jaxlib does not know xla_no_such_option: compiled peaks may hide memory"
        with pytest.raises(Exception, match="xla_of_the_users"):
            memline.report(kernel_sums, SHAPE, compiler_options={"xla_of_the_users": "on"})

    def test_nothing_at_all(self):
        report = memline.report(lambda: ())
        assert [step.op for step in report.programs[0].steps] == ["return"]
        assert "needs 0 B" in str(report)
        assert_whole(report)


class TestWhatIsRefused:
    @pytest.mark.parametrize(
        ("make", "message"),
        [
            (lambda: memline.report(3), "Expected a callable value"),
            (lambda: memline.report(memline.Plan(), SHAPE), "a plan alone takes no arguments"),
            (lambda: memline.report(memline.Plan(), memory_limit=1), "a plan alone takes no memory_limit"),
            (lambda: memline.report(BOUNDED, SHAPE, memory_limit=TIGHT), "memline.jit returned takes no memory_limit"),
            (lambda: memline.report(BOUNDED, SHAPE, donate_argnums=0), "takes no donate_argnums"),
            (lambda: memline.report(BOUNDED.lower(SHAPE), keep_unused=True), "compiled program takes no keep_unused"),
            (lambda: memline.report(kernel_sums, "a word"), "argument"),
        ],
    )
    def test_it_says_what_does_not_go_together(self, make: Any, message: str):
        with pytest.raises(ArgumentError, match=message):
            make()


class TestMeasuring:
    def test_peaks_and_times_of_a_fresh_process(self):
        size = 1500
        bounded = memline.jit(kernel_sums, memory_limit="1MiB")
        report = memline.report(bounded, jnp.linspace(0.0, 1.0, size), layout=False, measure=True)
        before, after = report.programs
        for program in (before, after):
            assert program.measured_seconds is not None
            assert program.measured_seconds > 0
            assert program.measured_peak_bytes is not None
        assert before.measured_peak_bytes is not None
        assert before.measured_peak_bytes > 4 * size * size, "the kernel matrix is really there"
        assert after.measured_peak_bytes is not None
        assert after.measured_peak_bytes < before.measured_peak_bytes
        assert "measured" in str(report)

    def test_what_cannot_be_measured_is_a_note(self):
        def calls_back(x: Any) -> Any:
            return jax.pure_callback(lambda x: np.asarray(x), jax.ShapeDtypeStruct(x.shape, x.dtype), x)

        report = memline.report(calls_back, jnp.ones(3), measure=True, layout=False)
        assert report.programs[0].measured_peak_bytes is None
        assert any(note.startswith("as written could not be measured") for note in report.record.notes)


class TestLayout:
    @staticmethod
    def layout(program: Program) -> Any:
        assert program.layout is not None
        return program.layout

    def test_it_is_xlas_own_of_this_program(self):
        lowered = BOUNDED.lower(SHAPE)
        stats = lowered.compile().memory_analysis()
        before, after = (self.layout(program) for program in planned().programs)
        assert after.temp_bytes == stats.temp_size_in_bytes
        assert before.temp_bytes > 4 * N * N
        assert max(buffer.size_bytes for buffer in before.buffers) == 4 * N * N

    def test_big_buffers_name_the_users_line_also_where_the_program_was_planned(self):
        for program in planned().programs:
            biggest = max(self.layout(program).buffers, key=lambda buffer: buffer.size_bytes)
            assert biggest.place is not None, biggest
            assert biggest.place.file.endswith("comparing.py")

    @pytest.mark.parametrize("name", ["as written", "planned"])
    def test_no_two_buffers_share_bytes_while_both_live(self, name: str):
        (program,) = (program for program in planned().programs if program.name == name)
        layout = self.layout(program)
        for which in ("offset", "packed_offset"):
            placed = [buffer for buffer in layout.buffers if getattr(buffer, which) is not None]
            for k, a in enumerate(placed):
                for b in placed[:k]:
                    in_time = a.first <= b.last and b.first <= a.last
                    at_a, at_b = getattr(a, which), getattr(b, which)
                    in_space = at_a < at_b + b.size_bytes and at_b < at_a + a.size_bytes
                    assert not (in_time and in_space), (which, a, b)

    @needs_solver
    def test_the_packing_is_between_the_load_and_xlas(self):
        for program in planned().programs:
            layout = self.layout(program)
            assert layout.is_proved
            assert layout.load_bytes <= layout.packed_bytes <= layout.temp_bytes
            alive = [0] * layout.moments
            for buffer in layout.buffers:
                for moment in range(buffer.first, buffer.last + 1):
                    alive[moment] += buffer.size_bytes
            assert max(alive) == layout.load_bytes

    def test_without_the_native_solver_a_note_says_so(self, monkeypatch: pytest.MonkeyPatch):
        def missing(*_: Any, **__: Any) -> Any:
            raise memline.MissingPackageError("not built")

        monkeypatch.setattr(packing, "minimize", missing)
        report = memline.report(kernel_sums, SHAPE)
        layout = self.layout(report.programs[0])
        assert layout.packed_bytes is None
        assert {buffer.packed_offset for buffer in layout.buffers} == {None}
        assert any("native solver is not built" in note for note in report.record.notes)
        assert "at most" in str(report)

    def test_of_many_buffers_the_biggest_are_told(self, monkeypatch: pytest.MonkeyPatch):
        whole = self.layout(memline.report(jax.grad(lambda x: kernel_sums(x).sum()), SHAPE).programs[0])
        monkeypatch.setattr(layouts, "MOST_BUFFERS", 2)
        cut = self.layout(memline.report(jax.grad(lambda x: kernel_sums(x).sum()), SHAPE).programs[0])
        assert len(cut.buffers) == 2
        assert cut.omitted == len(whole.buffers) - 2 > 0
        assert cut.omitted_bytes == sum(b.size_bytes for b in whole.buffers) - sum(b.size_bytes for b in cut.buffers)
