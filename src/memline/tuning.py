"""Choosing XLA's own strategies by measurement: what is compiled, run and timed within a budget, and what is kept.

Every strategy is compiled, its account of memory is read, and it runs on the call's own arguments (or made-up ones
where only shapes are known). It is out where it needs more memory than the limit, loses an update in place, or
gives other results; the rest take turns, and the fastest is kept if it is clearly faster than the program as
planned. While that goes on, donated arguments and one set of results are held a second time.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import jax

from memline.errors import MemlineError
from memline.hostmem import usable_bytes
from memline.plan.moves import Compile
from memline.plan.plan import Decision
from memline.plan.strategies import CompileOptions, Strategy, combined, strategies_for
from memline.plan.tried import Tried
from memline.units import format_bytes
from memline.verify.agreement import rounding_share
from memline.verify.trial import Trial

if TYPE_CHECKING:
    from memline.planning import Candidate, Compiler, Planned, Spec

_LEAST_ROUNDS, _HEAT_ROUNDS, _FINAL_ROUNDS = 3, 5, 9
_CLEARLY_FASTER = 0.95  # share of the planned program's time, by the median of paired runs
_WORTH_JOINING = 0.98
_HOPELESS = 1.3
_NO_BIGGER = 1.02  # without a limit
_COARSE = 10  # the model of time may be so many times too high, for loops of small steps

PLAIN = Strategy("as planned", (), "XLA's defaults", changes_rounding=False)


@dataclass(frozen=True, eq=False)
class Tuning:
    """What came of tuning a program.

    Args:
      program: the compiled program to use.
      options: its options of XLA's own.
      reason: why these, with the measured times.
      tried: a record of each strategy.
      seconds: how long it all took.
    """

    program: Any
    options: CompileOptions
    reason: str
    tried: tuple[Tried, ...]
    seconds: float


def tuned(
    planned: Planned,
    compiler: Compiler,
    spec: Spec,
    arguments: tuple[tuple[Any, ...], dict[str, Any]],
    *,
    platform: str,
    has_effects: bool,
) -> Planned:
    """Returns the planned program under the fastest strategy found within `Options.tune_seconds`.

    Args:
      planned: the program under XLA's defaults.
      compiler: compiles it again.
      spec: the limit and the options.
      arguments: positional and keyword arguments without static ones: arrays or `jax.ShapeDtypeStruct`s.
      platform: where it runs.
      has_effects: whether running it does more than return results.
    """
    why_not = _why_not(planned, spec, arguments, platform, has_effects)
    strategies = strategies_for(platform, compiler.options)
    if not why_not and not strategies:
        why_not = f"memline knows no strategies for {platform}"
    if not why_not:
        try:
            trial = Trial.of(planned.candidate.compiled, *arguments)
        except MemlineError as error:
            why_not = str(error)
    if why_not:
        return replace(planned, plan=replace(planned.plan, notes=(*planned.plan.notes, f"not tuned: {why_not}")))
    found = tune(
        planned.candidate,
        strategies,
        lambda options: compiler.compiled_with(planned.graph, options),
        trial,
        limit_bytes=spec.limit_bytes,
        budget_seconds=spec.options.tune_seconds,
        run_seconds=(planned.plan.estimated_seconds or 0.0) / _COARSE,
        compile_seconds=compiler.seconds / max(compiler.count, 1),
    )
    plan = replace(
        planned.plan,
        decisions=(*planned.plan.decisions, Decision(Compile(found.options), found.reason)),
        compiled_peak_bytes=found.program.peak.total_bytes,
        tuning_seconds=found.seconds,
        tried=found.tried,
    )
    return replace(planned, plan=plan, candidate=found.program)


def _why_not(planned: Planned, spec: Spec, arguments: Any, platform: str, has_effects: bool) -> str:
    """Returns why a program cannot be tried; empty where it can."""
    if has_effects:
        return "the program does more than return results, and trying it would do so many times"
    if jax.process_count() > 1:
        return "there are several processes, which have to run the same program"
    estimated = planned.plan.estimated_seconds or 0.0
    if estimated > _COARSE * spec.options.tune_seconds:
        return f"one run takes about {estimated:.3g} s, and tune_seconds is {spec.options.tune_seconds:g}"
    usable = usable_bytes()
    peak_bytes = planned.candidate.peak.total_bytes
    if platform == "cpu" and usable is not None and peak_bytes > usable:
        return f"it needs {format_bytes(peak_bytes)}, and this machine has {format_bytes(usable)}"
    return ""


@dataclass(eq=False)
class _Runner:
    """A program in the race, with its times by round."""

    strategy: Strategy
    program: Any
    times: dict[int, float] = field(default_factory=dict)

    @property
    def median(self) -> float:
        return statistics.median(self.times.values())

    def ratios(self, base: _Runner) -> list[float]:
        """Returns its times as shares of another's in the same rounds."""
        return [seconds / base.times[turn] for turn, seconds in self.times.items() if turn in base.times]

    def share(self, base: _Runner) -> float:
        return statistics.median(self.ratios(base))

    def is_clearly_faster(self, base: _Runner) -> bool:
        """Tells whether it is faster by more than noise: by the median, and in three rounds of four."""
        ratios = self.ratios(base)
        if len(ratios) < _LEAST_ROUNDS or self.share(base) > _CLEARLY_FASTER:
            return False
        return sum(ratio < 1 for ratio in ratios) * 4 >= len(ratios) * 3


def tune(
    base: Candidate,
    strategies: Sequence[Strategy],
    compile_with: Callable[[CompileOptions], Candidate],
    trial: Trial,
    *,
    limit_bytes: int | None,
    budget_seconds: float,
    run_seconds: float,
    compile_seconds: float,
    now: Callable[[], float] = time.perf_counter,
) -> Tuning:
    """Returns the fastest of a program's strategies, as far as a budget of time allows to tell.

    Nothing is begun that is expected to end after the budget, going by how long the like took before.

    Args:
      base: the program without any.
      strategies: what to try, in this order; then those that helped, together.
      compile_with: compiles the same program with further options.
      trial: runs a program on the call's arguments.
      limit_bytes: what a compiled peak must not exceed; for None, about the peak of `base`.
      budget_seconds: how long it may take.
      run_seconds, compile_seconds: what a run and a compile are expected to take.
      now: the clock.
    """
    race = _Race(base, compile_with, trial, limit_bytes, budget_seconds, run_seconds, compile_seconds, now)
    for strategy in strategies:
        race.enter(strategy)
    race.run(_HEAT_ROUNDS)
    helped = sorted(
        (r for r in race.runners if r.share(race.base) < _WORTH_JOINING), key=lambda r: r.share(race.base)
    )  # fmt: skip
    if len(helped) > 1:
        together = combined(r.strategy for r in helped)
        if all(together.options != r.strategy.options for r in helped):
            race.enter(together)
    race.run(_FINAL_ROUNDS)
    return race.finish()


class _Race:
    """Programs that take turns, as long as there is time."""

    def __init__(
        self,
        base: Candidate,
        compile_with: Callable[[CompileOptions], Candidate],
        trial: Trial,
        limit_bytes: int | None,
        budget_seconds: float,
        run_seconds: float,
        compile_seconds: float,
        now: Callable[[], float],
    ) -> None:
        self.compile_with = compile_with
        self.trial = trial
        self.limit_bytes = int(base.peak.total_bytes * _NO_BIGGER) if limit_bytes is None else limit_bytes
        self.budget_seconds = budget_seconds
        self.compile_seconds = compile_seconds
        self.now = now
        self.began = now()
        self.turn = 0
        self.base = _Runner(PLAIN, base)
        self.runners: list[_Runner] = []
        self.out: list[Tried] = []
        self.expected: list[Any] | None = None
        if self.has(run_seconds):
            # The first run is a warm-up, and says how long the others will take.
            self.run_seconds, self.expected = trial.run(base.compiled)

    def has(self, seconds: float) -> bool:
        """Tells whether so many seconds are left."""
        return self.now() - self.began + seconds <= self.budget_seconds

    def enter(self, strategy: Strategy) -> None:
        """Compiles a strategy and lets it take part if it may."""
        tried = Tried(strategy.name, "no time")
        if self.expected is None or not self.has(self.compile_seconds + 2 * self.run_seconds):
            self.out.append(tried)
            return
        began = self.now()
        try:
            program = self.compile_with(strategy.options)
        except Exception as error:  # jaxlib raises several kinds; any refusal means that there is nothing to try
            self.out.append(replace(tried, verdict="refused", detail=str(error).partition("\n")[0][:200]))
            return
        self.compile_seconds = self.now() - began
        tried = replace(tried, compiled_peak_bytes=program.peak.total_bytes)
        verdict, detail = self._objection(strategy, program)
        if verdict:
            self.out.append(replace(tried, verdict=verdict, detail=detail))
            return
        if not self.has(2 * self.run_seconds):
            self.out.append(tried)
            return
        _, results = self.trial.run(program.compiled)
        share = rounding_share(results, self.expected)
        if share > (1.0 if strategy.changes_rounding else 0.0):
            self.out.append(replace(tried, verdict="other results", detail=f"{share:.3g} times what rounding explains"))
            return
        del results
        seconds, _ = self.trial.run(program.compiled)
        if seconds > _HOPELESS * self.run_seconds and self.has(seconds + self.run_seconds):
            # Once more, both: the machine may have been busy with something else.
            self.run_seconds = min(self.run_seconds, self.trial.run(self.base.program.compiled)[0])
            seconds = min(seconds, self.trial.run(program.compiled)[0])
        if seconds > _HOPELESS * self.run_seconds:
            self.out.append(replace(tried, verdict="slower", seconds=seconds, rounds=1))
            return
        self.runners.append(_Runner(strategy, program))

    def _objection(self, strategy: Strategy, program: Candidate) -> tuple[str, str]:
        peak, before = program.peak, self.base.program.peak
        if peak.total_bytes > self.limit_bytes:
            return "too big", f"{format_bytes(peak.total_bytes)} compiled peak, {format_bytes(before.total_bytes)} before"
        if peak.alias_bytes < before.alias_bytes:
            lost = format_bytes(before.alias_bytes - peak.alias_bytes)
            return "in-place lost", f"{lost} of donated arguments are copied"
        if strategy.shows and program.compiled.as_text() == self.base.program.compiled.as_text():
            return "no effect", ""
        return "", ""

    def run(self, rounds: int) -> None:
        """Runs all in turn until each has run so many times, or time is short; the hopeless drop out."""
        while self.runners and any(len(r.times) < rounds for r in self.runners):
            running = [self.base, *self.runners]
            if not self.has(sum(min(r.times.values(), default=self.run_seconds) for r in running)):
                return
            for runner in running if self.turn % 2 == 0 else reversed(running):
                runner.times[self.turn] = self.trial.run(runner.program.compiled)[0]
            self.turn += 1
            for runner in [r for r in self.runners if len(r.times) >= _LEAST_ROUNDS]:
                if runner.share(self.base) > 1.0:
                    self._drop(runner)

    def _drop(self, runner: _Runner) -> None:
        self.runners.remove(runner)
        self.out.append(self._record(runner, "slower" if runner.share(self.base) > 1.0 else "not faster"))

    def _record(self, runner: _Runner, verdict: str) -> Tried:
        timed = bool(runner.times)
        return Tried(
            runner.strategy.name,
            verdict,
            runner.median if timed else None,
            len(runner.times),
            runner.program.peak.total_bytes,
            f"{runner.share(self.base):.2f} of the time as planned" if timed and runner is not self.base else "",
        )

    def finish(self) -> Tuning:
        """Returns the outcome: the fastest of those that are clearly faster than the program as planned."""
        faster = [r for r in self.runners if r.is_clearly_faster(self.base)]
        best = min(faster, key=lambda r: r.share(self.base), default=self.base)
        for runner in list(self.runners):
            if runner is not best and runner.times:
                self._drop(runner)
            elif runner is not best:
                self.out.append(Tried(runner.strategy.name, "no time", None, 0, runner.program.peak.total_bytes))
        records = [self._record(self.base, "base"), *self.out]
        if best is not self.base:
            records.insert(1, self._record(best, "chosen"))
        return Tuning(
            best.program,
            best.strategy.options,
            self._reason(best, records),
            tuple(records),
            self.now() - self.began,
        )

    def _reason(self, best: _Runner, records: list[Tried]) -> str:
        timed = [r for r in records[1:] if r.seconds is not None]
        if best is not self.base:
            times = f"{self.base.median * 1e3:.3g} ms -> {best.median * 1e3:.3g} ms"
            return f"{best.strategy.name}: {best.strategy.purpose}; measured {times} in {len(best.times)} runs in turn"
        if not timed:
            return "XLA's defaults: there was no time to measure another strategy, or none did anything here"
        return f"XLA's defaults: of {len(timed)} strategies that were measured none is clearly faster"
