"""From one call's types to a planned and compiled program: runs the search with the compiler as judge."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import jax

from memline import compat
from memline.analysis.fusion import model_for
from memline.analysis.machine import machine_for
from memline.compiling import Build, Candidate, Compiler
from memline.donation import Donations
from memline.errors import ArgumentError
from memline.ir.emit import evaluate
from memline.ir.graph import Graph
from memline.ir.inplace import Takers, written_over
from memline.ir.once import Places
from memline.ir.served import kernel_notes, served_ops
from memline.ir.sizes import all_values_bytes
from memline.ir.spread import is_sharded
from memline.ir.trace import from_jaxpr
from memline.kernels.native import NO_NATIVE, Native
from memline.options import Options
from memline.passes.canonical import canonical_convolutions
from memline.passes.counted import count_places
from memline.passes.hold import hold_sums
from memline.passes.masks import own_masks
from memline.passes.patches import patched_convolutions
from memline.passes.products import orient_products
from memline.plan.plan import Plan
from memline.plan.search import Outcome, replay, search
from memline.plancache.key import Circumstances
from memline.plancache.memory import Memory
from memline.shortfall import held_bytes, require_room, too_big
from memline.tuning import tuned
from memline.units import format_bytes


@dataclass(frozen=True)
class Spec:
    """What is asked of a program: a limit, or a plan to replay, and the options."""

    limit_bytes: int | None
    plan: Plan | None = None
    options: Options = field(default_factory=Options)

    @property
    def changes_nothing(self) -> bool:
        """Whether the program is to be compiled as plain `jax.jit` would."""
        return self.limit_bytes is None and self.plan is None

    def without_search(self, closed: Any) -> Spec | None:
        """Returns what is asked of a closed jaxpr that `Options.plain_below` leaves as it is; None for all others."""
        if self.limit_bytes is None or self.plan is not None or not self.options.plain_below:
            return None
        small_bytes = self.options.plain_below * self.limit_bytes
        return replace(self, limit_bytes=None) if all_values_bytes(closed) < small_bytes else None


@dataclass(frozen=True, eq=False)
class Written:
    """A call's program as the user wrote it.

    Attributes:
      graph: in the form that planning begins with.
      traced: JAX's own trace of it, which lowers without the call's arguments.
      platform: where it will run.
      donations: which of its arguments are donated.
      names: how the user calls each argument.
      compiler_options: the user's own compile options.
    """

    graph: Graph
    traced: Any
    platform: str
    donations: Donations
    names: tuple[str, ...]
    compiler_options: dict[str, Any]

    @classmethod
    def of(
        cls, traced: Any, platform: str, compiler_options: dict[str, Any] | None = None, keep_unused: bool = False
    ) -> Written:
        """Returns the program of a trace; arguments as those of `Planner`."""
        graph = prepared_graph(traced.jaxpr, platform)
        donated = tuple(bool(info.donated) for info in jax.tree.leaves(traced.args_info))
        names = compat.argument_names(traced.jaxpr)
        donations = Donations(graph, donated, keep_unused)
        return cls(graph, traced, platform, donations, names, dict(compiler_options or {}))


@dataclass(frozen=True, eq=False)
class Planned:
    """A call's program as it will run, with its plan."""

    plan: Plan
    graph: Graph
    candidate: Candidate
    written: Written | None = None
    """The program that was planned; None for a part of another program."""


class Planner:
    """Plans and compiles one traced call, under one limit or under several.

    Args:
      traced: JAX's own trace of the call.
      build: makes the jitted function of a graph under given compile options.
      lower: lowers such a function for this call's arguments.
      platform: where the program will run.
      honest: whether to compile with options that make the compiled peak believable.
      compiler_options: the user's own compile options.
      native: what native code of memline's the program may call.
      no_kernels: why memline's own kernels are not used; "" where they are.
      spread: whether arrays are spread over several devices. The limit is per device, and the models know one
        device only, so there the compiler is asked first whether the program fits as it is.
      several: whether to look for equal programs among those compiled already, as several limits make them.
      arguments: the call's positional and keyword arguments without static ones, arrays or shapes, for
        `Options.tune_seconds`; without them nothing is tuned.
      keep_unused: whether arguments that the program does not read are passed to it.
    """

    def __init__(
        self,
        traced: Any,
        *,
        build: Build,
        lower: Callable[[Any], Any],
        platform: str,
        honest: bool,
        compiler_options: dict[str, Any] | None = None,
        native: Native = NO_NATIVE,
        no_kernels: str = "",
        spread: bool = False,
        several: bool = False,
        arguments: tuple[tuple[Any, ...], dict[str, Any]] | None = None,
        keep_unused: bool = False,
    ) -> None:
        self._began: float | None = time.perf_counter()
        self._spread = spread
        self._arguments = arguments
        self._has_effects = bool(traced.jaxpr.effects)
        self.written = Written.of(traced, platform, compiler_options, keep_unused)
        as_written = self.written.graph
        self.graph = hold_sums(as_written, model_for(platform)) if honest and platform == "cpu" else as_written
        self.donated = self.written.donations.flags
        self.donations = replace(self.written.donations, graph=self.graph)
        self.compiler = Compiler(
            build,
            lower,
            self.graph,
            platform,
            compiler_options,
            honest,
            several,
            holds=self.graph is not as_written,
            takers=self.donations.takers,
            native=native,
        )
        self._no_kernels = no_kernels
        if spread:
            note = "arrays are spread over devices: planned peaks are of all of them, compiled peaks of one"
            self.compiler.notes.append(note)
        self.compiler.notes.extend(self.donations.unused(self.written.names))

    def planned(self, spec: Spec) -> Planned:
        """Returns the planned program. Programs found before for another limit are not compiled again.

        Raises:
          MemoryLimitError: no plan that was tried fits.
          PlanError: the plan to replay does not apply.
        """
        return replace(self._found(spec), written=self.written)

    def _found(self, spec: Spec) -> Planned:
        began = self._began or time.perf_counter()  # the first plan's seconds have those of preparing in them
        self._began = None
        self.compiler.begin()
        graph, compiler = self.graph, self.compiler
        compiler.strategy = None
        # As the user wrote it nothing is written over, so that with such loops it is the graph that is compiled.
        is_as_written = graph is self.written.graph and not written_over(graph, compiler.takers)
        has_kernels = compiler.native.kernels and any(served_ops(graph))
        compiler.changes_nothing = spec.changes_nothing
        compiler.as_written = spec.changes_nothing or (is_as_written and not has_kernels)
        if spec.plan is not None or spec.changes_nothing:
            compiler.strategy = spec.plan.compile_options if spec.plan is not None else ()
        alias_bytes = self.donations.shared_bytes
        platform, judge, takers = compiler.platform, compiler.judge, compiler.takers
        replayed = functools.partial(
            replay,
            graph,
            alias_bytes=alias_bytes,
            platform=platform,
            judge=judge,
            takers=takers,
            kernels=compiler.native.kernels,
        )
        if spec.plan is not None:
            outcome = replayed(spec.plan.decisions)
        elif spec.limit_bytes is None or (self._spread and judge(graph) <= spec.limit_bytes):
            # What fits as it is on each of several devices stays as it is.
            outcome = replayed(())
        else:
            if self._spread:  # a device holds a part of arguments and results: the rest is as if it were donated
                each = compiler.candidate(graph).peak
                alias_bytes = sum(held_bytes(graph)) - (each.total_bytes - each.temp_bytes - each.hidden_bytes)
            asked = Circumstances(
                spec.limit_bytes,
                alias_bytes,
                self.donated,
                platform,
                spec.options,
                compiler.options,
                is_spread=self._spread,
                takers=takers,
                kernels=compiler.native.kernels,
            )
            return _searched(graph, asked, compiler, began, lambda planned: self._finished(planned, spec))
        return self._finished(
            _planned(outcome, spec.limit_bytes, compiler, self.donated, began, is_spread=self._spread), spec
        )

    def _finished(self, planned: Planned, spec: Spec) -> Planned:
        """Returns the program tuned, its plan telling of donated arguments in its loops, and of own kernels."""
        told: tuple[str, ...] = ()
        if planned.graph is not self.graph or not self.compiler.as_written:
            overwritten = self.donations.written_over(planned.graph, self.written.names)
            told = (*overwritten, *kernel_notes(planned.graph, self._no_kernels), *planned.candidate.notes)
        return self._tuned(replace(planned, plan=replace(planned.plan, notes=(*planned.plan.notes, *told))), spec)

    def _tuned(self, planned: Planned, spec: Spec) -> Planned:
        """Returns the program under the strategy of XLA's own that measurement finds fastest, where that was asked."""
        is_told = spec.plan is not None and spec.plan.is_tuned
        if not spec.options.tune_seconds or is_told or self._arguments is None:
            return planned
        platform = self.compiler.platform
        return tuned(planned, self.compiler, spec, self._arguments, platform=platform, has_effects=self._has_effects)


def prepared_graph(closed: Any, platform: str) -> Graph:
    """Returns the graph of a closed jaxpr in the form that planning begins with on a platform."""
    # With values for refs of its own, for nothing is known of how these are cut.
    closed = compat.without_inner_refs(closed)
    graph = own_masks(count_places(from_jaxpr(closed, platform=platform, open_bodies=True)))
    if platform == "cpu":
        graph = patched_convolutions(canonical_convolutions(graph))
    return orient_products(graph, machine_for(platform))


def plan_graph(closed: Any, spec: Spec, platform: str, *, native: Native) -> Graph:
    """Returns the planned graph of a closed jaxpr that is to be spliced into another program.

    Args:
      closed: the jaxpr.
      spec: the limit and the options.
      platform: where the program will run.
      native: what native code of memline's the program will call.

    Raises:
      MemoryLimitError: no plan that was tried fits.
      ArgumentError: its arrays are spread over devices by their types, and it cannot be compiled for one.
    """
    began = time.perf_counter()
    graph = prepared_graph(closed, platform)  # nothing is held: the program around would have to keep the barriers
    specs = [jax.ShapeDtypeStruct(v.shape, v.dtype) for v in graph.inputs]

    def build(candidate: Graph | None, options: dict[str, Any], takers: Takers, native: Native, fresh: Places) -> Any:
        del takers, fresh  # the program around owns arguments and results
        return compat.plain_jit(lambda *xs: evaluate(candidate or graph, xs, native=native), compiler_options=options)

    def lower(jitted: Any) -> Any:
        try:
            return jitted.lower(*specs)
        except Exception as error:  # JAX raises several kinds where types do not agree
            if not any(is_sharded(v.aval) for node in graph.nodes for v in (*node.inputs, *node.outputs)):
                raise
            raise ArgumentError(
                "the function's arrays are spread over explicit mesh axes in a way that one device by itself cannot "
                "do. Put memline around the program that it is in, or raise the limit until all values together fit."
            ) from error

    kernels = native.kernels
    compiler = Compiler(build, lower, graph, platform, None, True, native=native)
    if spec.plan is not None:
        judge = compiler.judge
        decisions = spec.plan.decisions
        return replay(graph, decisions, alias_bytes=0, platform=platform, judge=judge, kernels=kernels).graph
    if spec.limit_bytes is None:
        return graph
    donated = (True,) * len(graph.inputs)  # so that donating is no way out: the program around owns the arguments
    asked = Circumstances(spec.limit_bytes, 0, donated, platform, spec.options, {}, is_spliced=True, kernels=kernels)
    return _searched(graph, asked, compiler, began).graph


def _searched(
    graph: Graph,
    asked: Circumstances,
    compiler: Compiler,
    began: float,
    finish: Callable[[Planned], Planned] = lambda planned: planned,
) -> Planned:
    """Returns the program of the best plan found, and finished, by this process or by an earlier one."""
    require_room(graph, asked.limit_bytes, asked.alias_bytes, asked.donated)
    memory = Memory(graph, asked)
    recalled = memory.recall()
    if recalled is not None:
        compiler.strategy = recalled.plan.compile_options if recalled.plan.is_tuned else None
        try:
            candidate = compiler.candidate(recalled.graph, recalled.peak)
        except Exception as error:  # whatever it is, the search goes without
            memory.notes.append(f"the plan in the cache does not compile: {error}")
        else:
            if candidate.peak.total_bytes <= asked.limit_bytes:
                plan = replace(
                    recalled.plan,
                    compiled_peak_bytes=candidate.peak.total_bytes,
                    planning_seconds=max(0.0, time.perf_counter() - began - compiler.seconds),
                    compile_seconds=compiler.seconds,
                    compiles=compiler.count,
                    notes=tuple(dict.fromkeys((*recalled.plan.notes, *compiler.notes, *memory.notes))),
                )
                return Planned(plan, recalled.graph, candidate)
            peak = format_bytes(candidate.peak.total_bytes)
            memory.notes.append(f"the plan in the cache compiles to {peak} now: searched again")
        compiler.strategy = None
    outcome = search(
        graph,
        limit_bytes=asked.limit_bytes,
        alias_bytes=asked.alias_bytes,
        platform=asked.platform,
        options=asked.options,
        judge=compiler.judge,
        takers=asked.takers,
        kernels=asked.kernels,
    )
    planned = finish(_planned(outcome, asked.limit_bytes, compiler, asked.donated, began, is_spread=asked.is_spread))
    memory.keep(planned.plan, planned.graph, planned.candidate.peak)
    return replace(planned, plan=replace(planned.plan, notes=(*planned.plan.notes, *memory.notes)))


def _planned(
    outcome: Outcome,
    limit_bytes: int | None,
    compiler: Compiler,
    donated: Sequence[bool],
    began: float,
    *,
    is_spread: bool,
) -> Planned:
    """Returns the compiled program of an outcome.

    Raises:
      MemoryLimitError: it does not fit.
    """
    candidate = compiler.candidate(outcome.graph)
    if limit_bytes is not None and candidate.peak.total_bytes > limit_bytes:
        each_bytes = compiler.judge(compiler.whole) if is_spread else None
        raise too_big(compiler.whole, outcome, limit_bytes, donated, each_bytes)
    plan = _plan_of(outcome, limit_bytes, compiler, candidate, time.perf_counter() - began)
    return Planned(plan, outcome.graph, candidate)


def _plan_of(
    outcome: Outcome,
    limit_bytes: int | None,
    compiler: Compiler,
    candidate: Candidate,
    seconds: float,
) -> Plan:
    return Plan(
        decisions=(*outcome.decisions, candidate.choice) if candidate.choice else outcome.decisions,
        limit_bytes=limit_bytes,
        argument_bytes=candidate.peak.argument_bytes,
        output_bytes=candidate.peak.output_bytes,
        alias_bytes=candidate.peak.alias_bytes,
        whole_peak_bytes=outcome.whole_peak.total_bytes,
        planned_peak_bytes=outcome.peak.total_bytes,
        compiled_peak_bytes=candidate.peak.total_bytes,
        floor_bytes=outcome.floor_bytes,
        whole_seconds=outcome.whole_seconds,
        estimated_seconds=outcome.seconds,
        planning_seconds=max(0.0, seconds - compiler.seconds),
        compile_seconds=compiler.seconds,
        compiles=compiler.count,
        platform=compiler.platform,
        signature=tuple(v.aval.str_short() for v in compiler.whole.inputs),
        left_whole=outcome.left_whole,
        notes=(*outcome.notes, *compiler.notes),
    )


@functools.cache
def platform_of(device: Any) -> str:
    """Returns the platform that a program runs on: that of a device, or the default one."""
    return jax.default_backend() if device is None else device.platform
