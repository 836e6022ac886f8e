"""Compilations of one program that take turns against the clock: who may take part, who drops out, who wins."""

from __future__ import annotations

import functools
import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from memline.plan.strategies import CompileOptions, Strategy
from memline.plan.tried import Tried
from memline.units import format_bytes
from memline.verify.agreement import rounding_share
from memline.verify.losses import loss
from memline.verify.trial import Trial

if TYPE_CHECKING:
    from memline.compiling import Candidate

LEAST_ROUNDS = 3  # fewer say nothing
_CLEARLY_FASTER = 0.95  # share of the planned program's time, by the median of paired runs
_HOPELESS = 2.0  # times the planned program's first run
_CHEAP = 0.01  # share of the budget: what takes less is run again before it is judged
_NO_BIGGER = 1.02  # without a limit


@dataclass(eq=False)
class Runner:
    """A program in the race, with its times by round, and whom it has to beat (None for the program as planned)."""

    strategy: Strategy
    program: Any
    rival: Runner | None = None
    times: dict[int, float] = field(default_factory=dict)

    @functools.cached_property
    def text(self) -> str:
        return self.program.compiled.as_text() or ""

    @property
    def seconds(self) -> float:
        """The median of its times."""
        return statistics.median(self.times.values())

    @property
    def rival_seconds(self) -> float:
        """The median of its rival's times, in the rounds that both ran."""
        assert self.rival is not None
        return statistics.median(self.rival.times[turn] for turn in self.times)

    @property
    def ratios(self) -> list[float]:
        """Its times as shares of its rival's in the same rounds."""
        return [] if self.rival is None else [s / self.rival.times[turn] for turn, s in self.times.items()]

    @property
    def share(self) -> float:
        """The median of its ratios; inf where it has not run."""
        return statistics.median(self.ratios) if self.ratios else math.inf

    @property
    def is_clearly_faster(self) -> bool:
        """Whether it is faster by more than noise: by the median, and in three rounds of four."""
        if len(self.ratios) < LEAST_ROUNDS or self.share > _CLEARLY_FASTER:
            return False
        return sum(ratio < 1 for ratio in self.ratios) * 4 >= len(self.ratios) * 3


class Race:
    """Programs that take turns, as long as there is time."""

    def __init__(
        self,
        base: Candidate,
        plain: Strategy,
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
        self.base = Runner(plain, base)
        self.runners: list[Runner] = []
        self.out: list[Tried] = []
        self.expected: list[Any] | None = None
        if self.has(run_seconds):
            # The first run is a warm-up, and says how long the others will take.
            self.warm_seconds, self.expected = trial.run(base.compiled)
            self.run_seconds = self.warm_seconds

    @property
    def spent_seconds(self) -> float:
        return self.now() - self.began

    def has(self, seconds: float) -> bool:
        """Tells whether so many seconds are left."""
        return self.spent_seconds + seconds <= self.budget_seconds

    def enter(self, strategy: Strategy) -> None:
        """Compiles a strategy and lets it take part if it may, and if there is time for all to run often enough."""
        tried = Tried(strategy.name, "no time")
        runs = 1 + LEAST_ROUNDS * (len(self.runners) + 2)
        if self.expected is None or not self.has(self.compile_seconds + runs * self.run_seconds):
            self.out.append(tried)
            return
        began = self.now()
        try:
            program = self.compile_with(strategy.options)
        except Exception as error:  # jaxlib raises several kinds; any refusal means that there is nothing to try
            self.out.append(replace(tried, verdict="refused", detail=first_line(error)))
            return
        self.compile_seconds = self.now() - began
        tried = replace(tried, compiled_peak_bytes=program.peak.total_bytes)
        verdict, detail = self._objection(strategy, program)
        if not verdict and self.has(self.run_seconds):
            verdict, detail = self._compared(strategy, program)
            if not verdict:
                self.runners.append(Runner(strategy, program, self.base))
                return
        self.out.append(replace(tried, verdict=verdict or "no time", detail=detail))

    def _compared(self, strategy: Strategy, program: Candidate) -> tuple[str, str]:
        """Returns a verdict and its grounds where a program does not compute what the planned one does, or slowly."""
        try:
            seconds, results = self.trial.run(program.compiled)
        except Exception as error:  # a library's limit, for one; the planned program ran
            return "refused", first_line(error)
        share = rounding_share(results, self.expected or [])
        if share > (1.0 if strategy.changes_rounding else 0.0):
            return "other results", f"{share:.3g} times what rounding explains"
        if seconds > max(_HOPELESS * self.warm_seconds, _CHEAP * self.budget_seconds):
            return "slower", f"{seconds / self.warm_seconds:.2f} of the time as planned, in the first run of each"
        return "", ""

    def _objection(self, strategy: Strategy, program: Candidate) -> tuple[str, str]:
        peak, before = program.peak, self.base.program.peak
        if peak.total_bytes > self.limit_bytes:
            return "too big", f"{format_bytes(peak.total_bytes)}, before {format_bytes(before.total_bytes)}"
        if peak.alias_bytes < before.alias_bytes:
            lost = format_bytes(before.alias_bytes - peak.alias_bytes)
            return "lost", f"{lost} of donated arguments are copied"
        text = program.compiled.as_text() or ""
        for other in (self.base, *(r for r in self.runners if r.strategy.shows)):
            if strategy.shows and text == other.text:
                return "no effect", f"the same program as {other.strategy.name}"
        lost = loss(text, self.base.text) if text != self.base.text else ""
        return ("lost", lost) if lost else ("", "")

    def run(self, rounds: int) -> None:
        """Has all that are left run in turn until each has run so many times, or time is short."""
        while any(len(r.times) < rounds for r in self.runners):
            self._make_room()
            if not self.has(self._round_seconds):
                return
            running = [self.base, *self.runners]
            for runner in running if self.turn % 2 == 0 else reversed(running):
                runner.times[self.turn] = self.trial.run(runner.program.compiled)[0]
            self.turn += 1
            self.run_seconds = self.base.seconds
            for runner in [r for r in self.runners if len(r.times) >= LEAST_ROUNDS and r.share > 1]:
                self._drop(runner)

    @property
    def _round_seconds(self) -> float:
        return sum(min(r.times.values(), default=self.run_seconds) for r in (self.base, *self.runners))

    def _make_room(self) -> None:
        """Drops the least promising where there is no time for all to run often enough to tell anything."""
        while len(self.runners) > 1:
            missing = LEAST_ROUNDS - min(len(r.times) for r in self.runners)
            if missing <= 0 or self.has(missing * self._round_seconds):
                return
            self._drop(max(reversed(self.runners), key=lambda r: r.share))

    def _drop(self, runner: Runner) -> None:
        self.runners.remove(runner)
        slow = "slower" if runner.share > 1 else "not faster"
        self.out.append(self._record(runner, slow if len(runner.times) >= LEAST_ROUNDS else "no time"))

    def _record(self, runner: Runner, verdict: str) -> Tried:
        peak_bytes = runner.program.peak.total_bytes
        if not runner.times:
            return Tried(runner.strategy.name, verdict, compiled_peak_bytes=peak_bytes)
        share = "" if runner.rival is None else f"{runner.share:.2f} of the time as planned"
        return Tried(runner.strategy.name, verdict, runner.seconds, len(runner.times), peak_bytes, share)

    def finish(self) -> tuple[Runner, tuple[Tried, ...]]:
        """Returns the fastest of those clearly faster than the program as planned, or that one; and all records."""
        faster = [r for r in self.runners if r.is_clearly_faster]
        best = min(faster, key=lambda r: r.share, default=self.base)
        for runner in [r for r in self.runners if r is not best]:
            self._drop(runner)
        chosen = [self._record(best, "chosen")] if best is not self.base else []
        return best, (self._record(self.base, "base"), *chosen, *self.out)


def first_line(error: Exception) -> str:
    """Returns the first line of what an error says, not too long for a page."""
    return str(error).partition("\n")[0][:200]
