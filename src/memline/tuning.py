"""Choosing XLA's own strategies by measurement: what is compiled, run and timed within a budget, and what is kept.

Every strategy is compiled, its account of memory is read, and it runs on the call's own arguments (or made-up ones
where only shapes are known). It is out where it needs more memory than the limit, loses an update in place, or
gives other results; the rest take turns, and the fastest is kept if it is clearly faster than the program as
planned. While that goes on, donated arguments and one set of results are held a second time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import jax

from memline.analysis.fusion import model_for
from memline.analysis.machine import machine_for
from memline.hostmem import usable_bytes
from memline.ir.graph import Graph
from memline.plan.candidates import Target
from memline.plan.moves import Compile
from memline.plan.plan import Decision
from memline.plan.strategies import CompileOptions, Strategy, combined, strategies_for
from memline.plan.tried import Tried
from memline.race import LEAST_ROUNDS, Race, Runner, first_line
from memline.units import format_bytes
from memline.verify.trial import Trial

if TYPE_CHECKING:
    from memline.compiling import Candidate, Compiler
    from memline.planning import Planned, Spec

_ROUNDS = 15
_WORTH_JOINING = 0.98

_XLA_ALONE = Strategy("XLA's defaults", (), "what the rule chose is left out", changes_rounding=True, shows=True)


@dataclass(frozen=True, eq=False)
class Tuning:
    """What came of tuning a program.

    Args:
      program: the compiled program to use.
      options: its options of XLA's own.
      reason: why these, with the measured times; "" where there was no time to measure any other.
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
    base_options = planned.plan.compile_options
    strategies = _strategies(platform, compiler.options, base_options)
    run_seconds = _least_seconds(planned.graph, platform, compiler.native.kernels)
    why_not = _why_not(planned, run_seconds, spec, platform, has_effects)
    if not why_not and not strategies:
        why_not = f"memline knows no strategies for {platform}"
    if why_not:
        return _left(planned, why_not)
    try:
        found = tune(
            planned.candidate,
            base_options,
            strategies,
            lambda options: compiler.compiled_with(planned.graph, options),
            Trial.of(planned.candidate.compiled, *arguments),
            limit_bytes=spec.limit_bytes,
            budget_seconds=spec.options.tune_seconds,
            run_seconds=run_seconds,
            compile_seconds=compiler.seconds / max(compiler.count, 1),
        )
    except Exception as error:  # of the planned program itself: the call will meet it again, on its own arguments
        return _left(planned, f"running it failed: {first_line(error)}")
    tuned_plan = replace(planned.plan, tuning_seconds=found.seconds, tried=found.tried)
    if not found.reason:
        why_not = f"tune_seconds is {spec.options.tune_seconds:g}, too short to measure this program"
        return _left(replace(planned, plan=tuned_plan), why_not)
    others = (d for d in planned.plan.decisions if not isinstance(d.move, Compile))
    plan = replace(
        tuned_plan,
        decisions=(*others, Decision(Compile(found.options), found.reason)),
        compiled_peak_bytes=found.program.peak.total_bytes,
    )
    return replace(planned, plan=plan, candidate=found.program)


def _strategies(platform: str, given: dict[str, Any], base_options: CompileOptions) -> list[Strategy]:
    """Returns what may be tried instead of a program's options: each strategy on top of them, and none at all."""
    strategies = [
        replace(s, options=tuple({**dict(base_options), **dict(s.options)}.items()))
        for s in strategies_for(platform, given)
        if not set(s.options) <= set(base_options)
    ]
    return [*strategies, _XLA_ALONE] if base_options else strategies


def _least_seconds(graph: Graph, platform: str, kernels: bool) -> float:
    """Returns the least a run is expected to take: small kernels may cost far less to launch than is planned with."""
    machine = replace(machine_for(platform), kernel_s=0.0, loop_s=0.0)
    target = Target(0, 0, model_for(platform, kernels=kernels), machine)
    return target.seconds(graph, target.peak(graph))


def _left(planned: Planned, why_not: str) -> Planned:
    return replace(planned, plan=replace(planned.plan, notes=(*planned.plan.notes, f"not tuned: {why_not}")))


def _why_not(planned: Planned, run_seconds: float, spec: Spec, platform: str, has_effects: bool) -> str:
    """Returns why a program cannot be tried; empty where it can."""
    if has_effects:
        return "the program does more than return results, and trying it would do so many times"
    if jax.process_count() > 1:
        return "there are several processes, which have to run the same program"
    if run_seconds > spec.options.tune_seconds:
        return f"one run takes about {run_seconds:.3g} s, and tune_seconds is {spec.options.tune_seconds:g}"
    usable = usable_bytes()
    peak_bytes = planned.candidate.peak.total_bytes
    if platform == "cpu" and usable is not None and peak_bytes > usable:
        return f"it needs {format_bytes(peak_bytes)}, and this machine has {format_bytes(usable)}"
    return ""


def tune(
    base: Candidate,
    base_options: CompileOptions,
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

    Nothing is begun that is expected to end after the budget, going by how long the like took before. What has
    begun is not cut short.

    Args:
      base: the program as planned.
      base_options: the options of XLA's own that it has already.
      strategies: what to try instead of them, in this order; then those that helped, together.
      compile_with: compiles the same program with other options.
      trial: runs a program on the call's arguments.
      limit_bytes: what a compiled peak must not exceed; for None, about the peak of `base`.
      budget_seconds: how long it may take.
      run_seconds, compile_seconds: what a run and a compile are expected to take.
      now: the clock.
    """
    plain = Strategy("as planned", base_options, "", changes_rounding=False)
    race = Race(base, plain, compile_with, trial, limit_bytes, budget_seconds, run_seconds, compile_seconds, now)
    for strategy in strategies:
        race.enter(strategy)
    race.run(LEAST_ROUNDS)
    helped = sorted((r for r in race.runners if r.share < _WORTH_JOINING), key=lambda r: r.share)
    together = combined(r.strategy for r in helped if r.strategy.options)
    if len(helped) > 1 and all(set(together.options) != set(r.strategy.options) for r in helped):
        race.enter(together)
    race.run(_ROUNDS)
    best, records = race.finish()
    return Tuning(best.program, best.strategy.options, _reason(best, records), records, race.spent_seconds)


def _reason(best: Runner, records: tuple[Tried, ...]) -> str:
    timed = [r for r in records[1:] if r.seconds is not None and r.verdict != "no time"]
    if best.rival is not None:
        times = f"{best.rival_seconds * 1e3:.3g} ms -> {best.seconds * 1e3:.3g} ms"
        return f"{best.strategy.name}: {best.strategy.purpose}; measured {times} in {len(best.times)} runs in turn"
    if timed:
        return f"as planned: of {len(timed)} strategies that were measured none is clearly faster"
    if any(r.verdict == "no time" for r in records[1:]):
        return ""
    return "as planned: no other strategy does anything here that it may"
