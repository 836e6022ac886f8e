"""Strategies by measurement: who may run and who wins, against a made-up clock; and whole programs, end to end."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import memline
from memline import Compile, Options, Plan
from memline.plan.strategies import CPU_STRATEGIES, Strategy
from memline.tuning import Tuning, tune
from memline.verify.compiled import CompiledPeak
from tests.comparing import TIGHT, N, assert_same, kernel_sums, points

BASE = CompiledPeak(argument_bytes=1000, output_bytes=1000, temp_bytes=8000, alias_bytes=1000)
RESULTS = [jnp.arange(4.0)]
TUNED = Options(tune_seconds=20)


@dataclass
class Program:
    """A stand-in for a compiled program: what it costs, computes and holds."""

    cost: float = 1.0
    peak: CompiledPeak = BASE
    results: list[Any] = field(default_factory=lambda: RESULTS)
    text: str = "HloModule base"
    moods: tuple[float, ...] = (1.0,)
    runs: int = 0

    @property
    def compiled(self) -> Program:
        return self

    def as_text(self) -> str:
        return self.text


@dataclass
class Bench:
    """A stand-in for a machine: it compiles what it was given, and its clock goes by what things cost."""

    programs: dict[Any, Program]
    compile_cost: float = 2.0
    clock: float = 0.0
    compiles: int = 0

    def compile(self, options: Any) -> Any:
        self.clock += self.compile_cost
        self.compiles += 1
        found = self.programs[options]
        if isinstance(found, Exception):
            raise found
        return found

    def run(self, program: Program) -> tuple[float, list[Any]]:
        seconds = program.cost * program.moods[program.runs % len(program.moods)]
        self.clock += seconds
        program.runs += 1
        return seconds, program.results


def strategy(name: str, **settings: Any) -> Strategy:
    return Strategy(name, ((name, True),), f"purpose of {name}", **{"changes_rounding": True, **settings})


def tuned(
    programs: dict[str, Any], budget: float = 1000.0, limit: int | None = 10_000, strategies: Any = None, **machine: Any
) -> tuple[Tuning, Bench, Program]:
    base = Program()
    bench = Bench({((name, True),): program for name, program in programs.items()}, **machine)
    outcome = tune(
        base,  # type: ignore[arg-type]
        (),
        strategies or [strategy(name) for name in programs],
        bench.compile,
        bench,  # type: ignore[arg-type]
        limit_bytes=limit,
        budget_seconds=budget,
        run_seconds=0.1,
        compile_seconds=bench.compile_cost,
        now=lambda: bench.clock,
    )
    return outcome, bench, base


def verdicts(outcome: Tuning) -> dict[str, str]:
    return {tried.strategy: tried.verdict for tried in outcome.tried}


class TestRace:
    def test_the_fastest_is_kept_with_its_figures(self):
        fast = Program(cost=0.5, text="fast")
        outcome, _, _ = tuned({"slow": Program(cost=1.1, text="slow"), "fast": fast})
        assert outcome.program is fast
        assert outcome.options == (("fast", True),)
        assert "purpose of fast; measured 1e+03 ms -> 500 ms in 15 runs" in outcome.reason
        assert verdicts(outcome) == {"as planned": "base", "fast": "chosen", "slow": "slower"}
        [_, chosen, _] = outcome.tried
        assert (chosen.seconds, chosen.rounds, chosen.detail) == (0.5, 15, "0.50 of the time as planned")

    def test_what_is_hardly_faster_is_not_worth_it(self):
        outcome, _, base = tuned({"hardly": Program(cost=0.97, text="hardly")})
        assert outcome.program is base
        assert outcome.options == ()
        assert verdicts(outcome)["hardly"] == "not faster"
        assert "none is clearly faster" in outcome.reason

    def test_what_is_faster_now_and_then_is_noise(self):
        moody = Program(text="moody", moods=(1.1, 0.9, 0.9, 0.9, 1.1))
        outcome, _, base = tuned({"moody": moody})
        assert outcome.program is base
        assert verdicts(outcome)["moody"] == "not faster"

    def test_those_that_help_are_tried_together(self):
        programs = {"a": Program(cost=0.8, text="a"), "b": Program(cost=0.6, text="b")}
        both = Program(cost=0.4, text="both")
        bench_programs: dict[Any, Program] = {**programs}
        outcome = tune(
            Program(),  # type: ignore[arg-type]
            (),
            [strategy("a"), strategy("b")],
            lambda options: (
                both if len(options) == 2 else bench_programs[options[0][0]]  # type: ignore[arg-type,return-value]
            ),
            Bench({}),  # type: ignore[arg-type]
            limit_bytes=None,
            budget_seconds=1000,
            run_seconds=0.1,
            compile_seconds=1,
        )
        assert outcome.program is both
        assert outcome.options == (("b", True), ("a", True))
        assert "b + a" in outcome.reason

    def test_more_memory_than_the_limit_is_out_before_it_runs(self):
        big = Program(cost=0.1, text="big", peak=replace(BASE, temp_bytes=9001))
        for limit, expected in ((10_000, "too big"), (10_001, "chosen"), (None, "too big")):
            big.runs = 0
            outcome, _, _ = tuned({"big": big}, limit=limit)
            assert verdicts(outcome)["big"] == expected
            assert (big.runs == 0) == (expected == "too big")

    def test_updates_in_place_that_are_lost(self):
        copies = Program(cost=0.1, text="copies", peak=replace(BASE, alias_bytes=400, temp_bytes=100))
        outcome, _, base = tuned({"copies": copies})
        assert outcome.program is base
        assert copies.runs == 0
        assert outcome.tried[1].verdict == "lost"
        assert "600 B of donated arguments are copied" in outcome.tried[1].detail

    @pytest.mark.parametrize(
        "results", [[jnp.arange(4.0) + 1e-3], [jnp.arange(4)], [], [jnp.array([0.0, 1.0, 2.0, jnp.nan])]], ids=str
    )
    def test_other_results_are_out(self, results):
        wrong = Program(cost=0.1, text="wrong", results=results)
        outcome, _, base = tuned({"wrong": wrong})
        assert outcome.program is base
        assert verdicts(outcome)["wrong"] == "other results"

    def test_rounding_is_allowed_only_to_those_that_say_so(self):
        rounded = [jnp.nextafter(jnp.arange(4.0), 9.0)]
        for says_so, expected in ((True, "chosen"), (False, "other results")):
            program = Program(cost=0.1, text="rounds", results=rounded)
            outcome, _, _ = tuned({"s": program}, strategies=[strategy("s", changes_rounding=says_so)])
            assert verdicts(outcome)["s"] == expected

    def test_the_same_program_is_not_timed_again(self):
        same = Program(cost=0.1)
        outcome, _, _ = tuned({"s": same}, strategies=[strategy("s", shows=True)])
        assert verdicts(outcome)["s"] == "no effect"
        assert same.runs == 0
        assert "no other strategy does anything" in outcome.reason

    def test_what_jaxlib_refuses_is_passed_over(self):
        refusal: Any = RuntimeError("No such compile option: 'x'\nand more")
        outcome, _, _ = tuned({"x": refusal, "fast": Program(cost=0.5, text="fast")})
        assert verdicts(outcome) == {"as planned": "base", "fast": "chosen", "x": "refused"}
        assert next(t for t in outcome.tried if t.strategy == "x").detail == "No such compile option: 'x'"


class TestBudget:
    @pytest.mark.parametrize("budget", [0.5, 1.0, 3.0, 6.0, 7.5, 20.0, 50.0, 200.0])
    @pytest.mark.parametrize("costs", [(0.9, 0.8, 0.7, 0.5), (3.0, 2.5, 0.9, 4.0)])
    def test_it_is_kept_but_for_what_has_begun(self, budget, costs):
        programs = {f"s{n}": Program(cost=cost, text=f"s{n}") for n, cost in enumerate(costs)}
        outcome, bench, base = tuned(programs, budget=budget)
        assert bench.clock <= 1.2 * budget + bench.compile_cost + max(*costs, base.cost)
        assert outcome.seconds == bench.clock
        assert set(verdicts(outcome)) >= {"as planned", *programs}

    def test_without_time_for_one_compile_nothing_is_decided(self):
        outcome, bench, base = tuned({"fast": Program(cost=0.1, text="fast")}, budget=2.0)
        assert bench.compiles == 0
        assert outcome.program is base
        assert outcome.reason == ""
        assert verdicts(outcome)["fast"] == "no time"

    def test_where_time_is_short_fewer_run_but_often_enough(self):
        class Slowing(Bench):
            """A machine that gets busy once the race has begun."""

            def run(self, program: Program) -> tuple[float, list[Any]]:
                seconds, results = super().run(program)
                slower = 2.0 * seconds if self.clock > 9.5 else 0.0
                self.clock += slower
                return seconds + slower, results

        programs = {"a": Program(cost=0.9, text="a"), "b": Program(cost=0.4, text="b"), "c": Program(text="c")}
        bench = Slowing({((name, True),): program for name, program in programs.items()})
        outcome = tune(
            Program(),  # type: ignore[arg-type]
            (),
            [strategy(name) for name in programs],
            bench.compile,
            bench,  # type: ignore[arg-type]
            limit_bytes=None,
            budget_seconds=36,
            run_seconds=1,
            compile_seconds=2,
            now=lambda: bench.clock,
        )
        found = {"as planned": "base", "b": "chosen", "a": "not faster", "c": "no time", "b + a": "no time"}
        assert verdicts(outcome) == found
        assert [t.rounds for t in outcome.tried if t.strategy in programs] == [3, 1, 3]

    def test_a_compile_that_takes_longer_is_expected_to_do_so_again(self):
        programs = {f"s{n}": Program(cost=0.01, text=f"s{n}") for n in range(9)}
        bench = Bench({((name, True),): program for name, program in programs.items()}, compile_cost=4.0)
        tune(
            Program(cost=0.01),  # type: ignore[arg-type]
            (),
            [strategy(name) for name in programs],
            bench.compile,
            bench,  # type: ignore[arg-type]
            limit_bytes=None,
            budget_seconds=10,
            run_seconds=0.01,
            compile_seconds=0.1,
            now=lambda: bench.clock,
        )
        assert bench.compiles == 2


def recurrence(w: Any, h: Any, xs: Any) -> Any:
    """A loop of small steps, whose tape is what takes memory."""
    return (lax.scan(lambda h, x: (jnp.tanh(w @ h + x), None), h, xs)[0] ** 2).sum()


def recurrence_args(length: int = 500, width: int = 16) -> tuple[Any, ...]:
    rng = np.random.default_rng(0)
    return tuple(
        jnp.asarray(rng.standard_normal(s, np.float32) * 0.2) for s in ((width, width), width, (length, width))
    )


class TestPrograms:
    def test_bad_budgets_are_refused(self):
        for wrong in (-1, float("nan"), float("inf"), "10", None, True):
            with pytest.raises(memline.ArgumentError, match="tune_seconds"):
                Options(tune_seconds=wrong)  # type: ignore[arg-type]
        assert Options(tune_seconds=3).tune_seconds == 3

    def test_by_default_nothing_is_tried(self):
        plan = memline.plan(kernel_sums, TIGHT)(points())
        assert plan.tried == ()
        assert plan.tuning_seconds == 0
        assert not plan.is_tuned

    def test_a_tuned_program_computes_the_same_inside_its_limit(self):
        bounded = memline.jit(kernel_sums, memory_limit=TIGHT, options=TUNED)
        assert_same(bounded(points()), jax.jit(kernel_sums)(points()))
        plan = bounded.lower(points()).plan
        assert isinstance(plan.moves[-1], Compile)
        assert plan.decisions[-1].reason
        assert plan.compiled_peak_bytes <= TIGHT
        names = [tried.strategy for tried in plan.tried]
        assert names[0] == "as planned"
        assert {s.name for s in CPU_STRATEGIES} <= set(names)
        assert plan.tuning_seconds > 0
        assert all(str(tried) in str(plan) for tried in plan.tried)

    def test_the_choice_is_replayed_without_measuring(self):
        args = recurrence_args()
        gradient = jax.grad(recurrence, (0, 1))
        tuned_plan = memline.plan(gradient, "1GiB", options=TUNED)(*args)
        saved = Plan.from_json(tuned_plan.to_json())
        assert saved == tuned_plan
        again = memline.jit(gradient, plan=saved, options=TUNED).lower(*args)
        assert again.plan.compile_options == tuned_plan.compile_options
        assert again.plan.tried == ()
        assert again.plan.tuning_seconds == 0
        assert_same(again.compile()(*args), jax.jit(gradient)(*args), rtol=1e-4)

    def test_a_plan_written_by_hand_is_compiled_as_it_says(self):
        args = recurrence_args()
        for threshold, whole in ((0, False), (1 << 16, True)):
            plan = Plan.of(Compile({"xla_cpu_small_while_loop_byte_threshold": threshold}))
            compiled = memline.jit(recurrence, plan=plan).lower(*args).compile()
            assert ("xla_cpu_small_call" in compiled.as_text()) == whole
            assert_same(compiled(*args), jax.jit(recurrence)(*args))

    def test_an_option_that_jaxlib_does_not_know_is_told(self):
        plan = memline.plan(kernel_sums, plan=Plan.of(Compile({"xla_cpu_of_tomorrow": 1})))(points())
        assert any("xla_cpu_of_tomorrow" in note and "goes without" in note for note in plan.notes)

    def test_the_users_own_options_are_left_alone(self):
        given = {"xla_cpu_prefer_vector_width": 128}
        plan = memline.plan(kernel_sums, TIGHT, options=TUNED, compiler_options=given)(points())
        assert "wide vectors" not in {tried.strategy for tried in plan.tried}

    def test_shapes_are_enough(self):
        shape = jax.ShapeDtypeStruct((N,), jnp.float32)
        plan = memline.plan(kernel_sums, TIGHT, options=TUNED)(shape)
        assert plan.tried[0].seconds is not None

    def test_donated_arguments_are_not_used_up(self):
        def step(state, keys, x):
            return {"a": state["a"] + x.sum(), "b": jnp.sin(state["b"])}, jax.random.normal(keys, (3,))

        def args():
            return {"a": jnp.ones(N), "b": points()}, jax.random.key(3), points()

        stepped = memline.jit(step, memory_limit="1MiB", donate_argnums=0, options=TUNED)
        given = args()
        expected = jax.jit(step)(*args())
        plan = stepped.lower(*given).plan
        assert plan.tried[0].seconds is not None
        assert not given[0]["a"].is_deleted()
        assert plan.alias_bytes == 8 * N
        assert_same(stepped(*given), expected)
        assert given[0]["a"].is_deleted()

    def test_static_and_keyword_arguments(self):
        def fun(x, n, *, shift):
            return kernel_sums(x) * n + shift

        bounded = memline.jit(fun, memory_limit=TIGHT, static_argnums=1, options=TUNED)
        assert_same(bounded(points(), 3, shift=2.0), jax.jit(lambda x: fun(x, 3, shift=2.0))(points()))
        assert bounded.lower(points(), 3, shift=2.0).plan.tried[0].seconds is not None

    def test_effects_are_not_repeated(self):
        seen = []

        def fun(x):
            jax.debug.callback(lambda v: seen.append(float(v)), x[0])
            return jnp.sin(x)

        tuned_fun = memline.jit(fun, options=TUNED)
        jax.block_until_ready(tuned_fun(points()))
        jax.effects_barrier()
        assert len(seen) == 1
        assert any("more than return results" in note for note in tuned_fun.lower(points()).plan.notes)

    def test_what_is_too_big_or_too_slow_is_left_alone(self):
        huge = jax.ShapeDtypeStruct((2**30, 1024), jnp.float32)
        plan = memline.plan(lambda x: jnp.tanh(x).sum(), "5TiB", options=TUNED)(huge)
        assert plan.tried == ()
        assert any("not tuned: one run takes about" in note for note in plan.notes)
        plan = memline.plan(lambda x: jnp.tanh(x).sum(), "5TiB", options=Options(tune_seconds=1e9))(huge)
        assert any("not tuned: it needs" in note for note in plan.notes)

    def test_too_short_a_budget_is_told_and_decides_nothing(self):
        began = time.perf_counter()
        plan = memline.plan(kernel_sums, TIGHT, options=Options(tune_seconds=0.001))(points())
        assert time.perf_counter() - began < 60
        assert not any(isinstance(move, Compile) for move in plan.moves)
        assert any("too short to measure" in note or "one run takes" in note for note in plan.notes)
