"""From one call's types to a planned and compiled program: runs the search with the compiler as judge."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax

from memline import compat
from memline.analysis.fusion import model_for
from memline.analysis.machine import machine_for
from memline.errors import MemoryLimitError
from memline.ir.emit import evaluate
from memline.ir.graph import Graph, Value
from memline.ir.trace import from_jaxpr
from memline.options import Options
from memline.passes.canonical import canonical_convolutions
from memline.passes.hold import hold_sums
from memline.passes.products import orient_products
from memline.plan.plan import Decision, Plan
from memline.plan.search import Outcome, replay, search
from memline.units import format_bytes
from memline.verify.compiled import CompiledPeak, compiled_peak

# XLA:CPU hands whole sub-graphs to libraries that allocate where no account sees it; see docs/accounting.md.
_HONEST_CPU = {"xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT"}
# XLA:CPU drops barriers before anything is fused, and then they hold nothing: see `passes.hold`.
_KEPT_BARRIERS = {"xla_disable_hlo_passes": "cse_barrier_expander"}


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


@dataclass(frozen=True, eq=False)
class Candidate:
    """A compiled program: as a function to call, and as JAX's stages."""

    call: Any
    lowered: Any
    compiled: Any
    peak: CompiledPeak


@dataclass(frozen=True, eq=False)
class Planned:
    """A call's program as it will run, with its plan."""

    plan: Plan
    graph: Graph
    candidate: Candidate


Build = Callable[[Graph | None, dict[str, Any]], Any]
"""Returns the jitted function that runs a graph, or the user's own function for None."""


class Compiler:
    """Compiles candidates of one call with options that make the compiled peak believable."""

    def __init__(
        self,
        build: Build,
        lower: Callable[[Any], Any],
        whole: Graph,
        platform: str,
        compiler_options: dict[str, Any] | None,
        honest: dict[str, str],
        as_written: bool = True,
    ) -> None:
        self.build = build
        self.lower = lower
        self.whole = whole
        self.options = dict(compiler_options or {})
        self.honest = _joined(honest, self.options) if platform == "cpu" else {}
        self.as_written = as_written
        self.seconds = 0.0
        self.count = 0
        self.notes: list[str] = []
        self.made: dict[int, Candidate] = {}

    def candidate(self, graph: Graph) -> Candidate:
        """Returns the compiled program of a graph; the whole one is compiled as written, unless sums in it are held."""
        if id(graph) not in self.made:
            began = time.perf_counter()
            self.made[id(graph)] = self._compile(None if graph is self.whole and self.as_written else graph)
            self.seconds += time.perf_counter() - began
            self.count += 1
        return self.made[id(graph)]

    def judge(self, graph: Graph) -> int:
        return self.candidate(graph).peak.total_bytes

    def _compile(self, graph: Graph | None) -> Candidate:
        try:
            return self._compile_with(graph, {**self.options, **self.honest})
        except Exception:
            known = compat.known_compile_options(self.honest)
            if known == self.honest:
                raise
            for name in self.honest.keys() - known.keys():
                self.notes.append(
                    f"this jaxlib does not know the compile option {name}: the compiled peak may hide memory"
                )
            self.honest = known
            return self._compile_with(graph, {**self.options, **self.honest})

    def _compile_with(self, graph: Graph | None, options: dict[str, Any]) -> Candidate:
        call = self.build(graph, options)
        lowered = self.lower(call)
        compiled = lowered.compile()
        return Candidate(call, lowered, compiled, compiled_peak(compiled, self.whole))


def make_planned(
    traced: Any,
    spec: Spec,
    *,
    build: Build,
    lower: Callable[[Any], Any],
    platform: str,
    compiler_options: dict[str, Any] | None = None,
    spread: bool = False,
) -> Planned:
    """Plans and compiles one traced call.

    Args:
      traced: JAX's own trace of the call.
      spec: the limit or the plan, and options.
      build: makes the jitted function of a graph under given compile options.
      lower: lowers such a function for this call's arguments.
      platform: where the program will run.
      compiler_options: the user's own compile options.
      spread: whether arrays are spread over several devices. The limit is per device, and the models know one
        device only, so there the compiler is asked first whether the program fits as it is.

    Raises:
      MemoryLimitError: no plan that was tried fits.
      PlanError: the plan to replay does not apply.
    """
    began = time.perf_counter()
    honest = spec.options.honest_accounting and not spec.changes_nothing and platform == "cpu"
    written = prepared_graph(traced.jaxpr, platform)
    graph = hold_sums(written, model_for(platform)) if honest else written
    donated = tuple(bool(info.donated) for info in jax.tree.leaves(traced.args_info))
    alias_bytes = _alias_bytes(graph, donated)
    honest_options = {**_HONEST_CPU, **_KEPT_BARRIERS} if honest else {}
    compiler = Compiler(build, lower, graph, platform, compiler_options, honest_options, graph is written)
    if spec.plan is not None:
        outcome = replay(graph, spec.plan.decisions, alias_bytes=alias_bytes, platform=platform, judge=compiler.judge)
    elif spec.limit_bytes is None or (spread and compiler.judge(graph) <= spec.limit_bytes):
        # What fits as it is on each of several devices stays as it is.
        outcome = replay(graph, (), alias_bytes=alias_bytes, platform=platform, judge=compiler.judge)
    else:
        if spread:  # a device holds a part of arguments and results: the rest is as if it were donated
            each = compiler.candidate(graph).peak
            alias_bytes = sum(_held_bytes(graph)) - (each.total_bytes - each.temp_bytes - each.hidden_bytes)
        _require_room(graph, spec.limit_bytes, alias_bytes, donated)
        outcome = search(
            graph,
            limit_bytes=spec.limit_bytes,
            alias_bytes=alias_bytes,
            platform=platform,
            options=spec.options,
            judge=compiler.judge,
        )
    candidate = compiler.candidate(outcome.graph)
    if spec.limit_bytes is not None and candidate.peak.total_bytes > spec.limit_bytes:
        raise _too_big(graph, outcome, spec.limit_bytes, donated)
    return Planned(
        _plan_of(outcome, spec, compiler, candidate, graph, platform, time.perf_counter() - began),
        outcome.graph,
        candidate,
    )


def prepared_graph(closed: Any, platform: str) -> Graph:
    """Returns the graph of a closed jaxpr in the form that planning begins with on a platform."""
    graph = from_jaxpr(closed, platform=platform, open_scans=True)
    if platform == "cpu":
        graph = canonical_convolutions(graph)
    return orient_products(graph, machine_for(platform))


def plan_graph(closed: Any, spec: Spec, platform: str) -> Graph:
    """Returns the planned graph of a closed jaxpr that is to be spliced into another program.

    Raises:
      MemoryLimitError: no plan that was tried fits.
    """
    graph = prepared_graph(closed, platform)
    specs = [jax.ShapeDtypeStruct(v.shape, v.dtype) for v in graph.inputs]

    def build(candidate: Graph | None, options: dict[str, Any]) -> Any:
        return jax.jit(lambda *xs: evaluate(candidate or graph, xs), compiler_options=options)

    compiler = Compiler(build, lambda f: f.lower(*specs), graph, platform, None, _HONEST_CPU)
    if spec.plan is not None:
        return replay(graph, spec.plan.decisions, alias_bytes=0, platform=platform, judge=compiler.judge).graph
    if spec.limit_bytes is None:
        return graph
    donated = (True,) * len(graph.inputs)  # so that donating is no way out: the program around owns the arguments
    _require_room(graph, spec.limit_bytes, 0, donated)
    outcome = search(
        graph,
        limit_bytes=spec.limit_bytes,
        alias_bytes=0,
        platform=platform,
        options=spec.options,
        judge=compiler.judge,
    )
    if not outcome.fits:
        raise _too_big(graph, outcome, spec.limit_bytes, donated)
    return outcome.graph


def _joined(options: dict[str, str], given: dict[str, Any]) -> dict[str, Any]:
    """Returns memline's own compile options, joined with what the user gave for the same ones."""
    honest: dict[str, Any] = dict(options)
    for name in honest.keys() & given.keys():
        if name == "xla_disable_hlo_passes":
            honest[name] = f"{given[name]},{honest[name]}"
        else:
            honest[name] = given[name]
    return honest


def _plan_of(
    outcome: Outcome,
    spec: Spec,
    compiler: Compiler,
    candidate: Candidate,
    graph: Graph,
    platform: str,
    seconds: float,
) -> Plan:
    return Plan(
        decisions=tuple(Decision(d.move, d.reason, d.saved_bytes) for d in outcome.decisions),
        limit_bytes=spec.limit_bytes,
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
        platform=platform,
        signature=tuple(v.aval.str_short() for v in graph.inputs),
        left_whole=outcome.left_whole,
        notes=(*outcome.notes, *compiler.notes),
    )


def _alias_bytes(graph: Graph, donated: Sequence[bool]) -> int:
    """Returns the bytes of results that donated arguments can hold: same shape and type, each once."""
    offers: dict[Any, int] = {}
    for v, is_donated in zip(graph.inputs, donated, strict=False):
        if is_donated:
            offers[v.shape, v.dtype] = offers.get((v.shape, v.dtype), 0) + 1
    alias_bytes = 0
    for v in graph.outputs:
        if offers.get((v.shape, v.dtype), 0):
            offers[v.shape, v.dtype] -= 1
            alias_bytes += v.size_bytes
    return alias_bytes


def _held_bytes(graph: Graph) -> tuple[int, int]:
    """Returns the bytes of arguments and of results, each once."""
    arguments = sum(v.size_bytes for v in (*graph.inputs, *graph.consts))
    return arguments, sum(v.size_bytes for v in set(graph.outputs))


def _require_room(graph: Graph, limit_bytes: int, alias_bytes: int, donated: Sequence[bool]) -> None:
    """Raises where arguments and results alone are over the limit: no plan can help then."""
    fixed = sum(_held_bytes(graph)) - alias_bytes
    if fixed <= limit_bytes:
        return
    largest = max((*graph.inputs, *graph.consts, *graph.outputs), key=lambda v: v.size_bytes)
    # How much more than this the program needs is not known before a plan is tried.
    more = f"raise the limit well over the {format_bytes(fixed, up=True)} that arguments and results take by themselves"
    raise MemoryLimitError(
        fixed, limit_bytes, largest=_value_text(graph, largest), options=(more, *_ways_out(graph, donated))
    )


def _too_big(graph: Graph, outcome: Outcome, limit_bytes: int, donated: Sequence[bool]) -> MemoryLimitError:
    worst = outcome.whole_peak.worst
    held = [v for v in worst.live if v in graph.producer] if worst else []
    largest = max((*held, *graph.outputs, *graph.inputs), key=lambda v: v.size_bytes)
    needed = max(outcome.whole_peak.total_bytes, outcome.floor_bytes or 0)
    bound = outcome.peak.worst
    return MemoryLimitError(
        needed,
        limit_bytes,
        outcome.floor_bytes,
        largest=_value_text(graph, largest),
        options=_ways_out(graph, donated),
        floor_bound_by=f"{bound.node.kind} ({bound.node.source})" if bound and bound.node.source else "",
    )


def _value_text(graph: Graph, v: Value) -> str:
    text = f"{v.aval.str_short()} ({format_bytes(v.size_bytes)})"
    maker = graph.producer.get(v)
    if maker is not None and maker.source is not None:
        return f"{text} from {maker.source}"
    if v in graph.inputs:
        return f"{text}, argument leaf {graph.inputs.index(v)}"
    return text


def _ways_out(graph: Graph, donated: Sequence[bool]) -> list[str]:
    """Returns what the user can do beside raising the limit."""
    wanted = {(v.shape, v.dtype) for v in graph.outputs}
    least_bytes = max(1, sum(v.size_bytes for v in graph.inputs) // 64)  # less would not help
    ways = []
    for index, v in enumerate(graph.inputs):
        is_donated = index < len(donated) and donated[index]
        if not is_donated and v.size_bytes >= least_bytes and (v.shape, v.dtype) in wanted:
            ways.append(f"donate argument leaf {index} ({format_bytes(v.size_bytes)})")
    return [*ways[:2], "return less"]


@functools.cache
def platform_of(device: Any) -> str:
    """Returns the platform that a program runs on: that of a device, or the default one."""
    return jax.default_backend() if device is None else device.platform
