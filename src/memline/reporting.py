"""How a report is made: a call is traced, planned, compiled and perhaps measured, and what came of it is noted."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import jax

from memline import __version__, compat
from memline.analysis import cost
from memline.analysis.fusion import model_for
from memline.analysis.machine import machine_for
from memline.analysis.peak import Peak, peak_of
from memline.compiling import honest_options, known_compile_options
from memline.errors import MeasureError, PackingError
from memline.ir.graph import Graph, Source
from memline.ir.inplace import Takers
from memline.ir.scopes import loop_bodies
from memline.packing.programs import Dump, dump_of_lowered
from memline.planning import Planned, Written
from memline.report.layout import layout_of
from memline.report.of_graph import place_of, told
from memline.report.of_plan import AS_WRITTEN, PLANNED, moves_told, planning_seconds
from memline.report.record import Layout, Origin, Place, Program, Record
from memline.verify.compiled import CompiledPeak, compiled_peak
from memline.verify.measured import measure_compiled


@dataclass(frozen=True)
class Asked:
    """What a report shall have beside the model's figures.

    Attributes:
      layout: the address map of each compiled program.
      measure: the peak and the time of each, measured in a fresh process.
      args, kwargs: what to measure on, without static arguments; values are made up where these do not suit.
    """

    layout: bool = True
    measure: bool = False
    args: tuple[Any, ...] = ()
    kwargs: Mapping[str, Any] | None = None


def record_of_written(written: Written, asked: Asked) -> Record:
    """Returns the record of a program that nobody planned."""
    program, notes = _as_written(written, asked)
    return _record(written, (program,), notes=(*written.donations.unused(written.names), *notes))


def record_of_planned(planned: Planned, asked: Asked) -> Record:
    """Returns the record of a planned program: as it was written, and as it is planned where that is not the same."""
    plan, written = planned.plan, planned.written
    if written is None:
        raise ValueError("a part of another program has no report of its own")
    notes: tuple[str, ...] = ()
    if plan.decisions:
        before, notes = _as_written(written, asked)
        after, more = _as_planned(planned, written, asked, PLANNED)
        programs, notes = (before, after), (*notes, *more)
    else:
        program, notes = _as_planned(planned, written, asked, AS_WRITTEN)
        programs = (program,)
    record = _record(written, programs, notes=(*plan.notes, *notes))
    return replace(
        record,
        limit_bytes=plan.limit_bytes,
        floor_bytes=plan.floor_bytes,
        planning_seconds=planning_seconds(plan),
        moves=moves_told(plan, _places(written.graph, planned.graph)),
        left_whole=plan.left_whole,
    )


@functools.cache
def origin(platform: str) -> Origin:
    """Returns the versions and the machine that a report made here is of."""
    import jaxlib.version

    device = jax.devices(platform)[0].device_kind if platform else ""
    return Origin(__version__, jax.__version__, jaxlib.version.__version__, platform, device)


def _record(written: Written, programs: tuple[Program, ...], notes: tuple[str, ...]) -> Record:
    name, file, line = _defined_at(written.traced.jaxpr)
    return Record(
        title=name or "function",
        place=None if line is None else Place(file, line, name),
        origin=origin(written.platform),
        limit_bytes=None,
        floor_bytes=None,
        planning_seconds=None,
        moves=(),
        left_whole=(),
        notes=tuple(dict.fromkeys(notes)),
        programs=programs,
    )


def _as_written(written: Written, asked: Asked) -> tuple[Program, tuple[str, ...]]:
    """Returns the program as plain `jax.jit` compiles it, but for library calls whose memory no account shows."""
    fusion, machine = model_for(written.platform), machine_for(written.platform)
    takers = written.donations.takers
    peak = peak_of(written.graph, fusion, written.donations.shared_bytes, takers)
    lowered = written.traced.lower()
    compiled, dump, notes = _compiled(lowered, written, asked)
    seconds = cost.seconds(written.graph, peak, fusion, machine)
    account = compiled_peak(compiled, written.graph)
    return _program(AS_WRITTEN, written.graph, peak, written, account, seconds, compiled, dump, asked, notes)


def _as_planned(planned: Planned, written: Written, asked: Asked, name: str) -> tuple[Program, tuple[str, ...]]:
    candidate, notes = planned.candidate, ()
    fusion = model_for(written.platform, kernels=candidate.kernels)
    peak = peak_of(planned.graph, fusion, written.donations.shared_bytes, _takers(planned, written))
    dump = None
    if asked.layout:
        dump, notes = _dumped(candidate.lowered, {}, name)
    compiled = compat.compiled_afresh(candidate.lowered) if asked.measure else candidate.compiled
    seconds = planned.plan.estimated_seconds
    return _program(name, planned.graph, peak, written, candidate.peak, seconds, compiled, dump, asked, notes)


def _takers(planned: Planned, written: Written) -> Takers:
    """Returns which result takes over which donated argument; planning changes neither inputs nor outputs."""
    return replace(written.donations, graph=planned.graph).takers


def _compiled(lowered: Any, written: Written, asked: Asked) -> tuple[Any, Dump | None, tuple[str, ...]]:
    """Returns the compiled program as written, what XLA dumped of it where that was asked, and notes."""
    options = honest_options(written.compiler_options, written.platform)
    try:
        return _compiled_with(lowered, options, asked)
    except Exception:
        known = known_compile_options(options)
        unknown = options.keys() - known.keys() - written.compiler_options.keys()
        if not unknown:
            raise
        options = {name: value for name, value in options.items() if name not in unknown}
        compiled, dump, notes = _compiled_with(lowered, options, asked)
        note = f"this jaxlib does not know {', '.join(sorted(unknown))}: compiled peaks may hide memory"
        return compiled, dump, (note, *notes)


def _compiled_with(lowered: Any, options: dict[str, Any], asked: Asked) -> tuple[Any, Dump | None, tuple[str, ...]]:
    notes: tuple[str, ...] = ()
    if asked.layout:
        dump, notes = _dumped(lowered, options, AS_WRITTEN)
        if dump is not None:
            return dump.compiled, dump, notes
    return compat.compiled_afresh(lowered, options), None, notes


def _dumped(lowered: Any, options: dict[str, Any], name: str) -> tuple[Dump | None, tuple[str, ...]]:
    try:
        return dump_of_lowered(lowered, options), ()
    except PackingError as error:
        return None, (f"no address map of the program {name}: {error}",)


def _program(
    name: str,
    graph: Graph,
    peak: Peak,
    written: Written,
    account: CompiledPeak,
    seconds: float | None,
    compiled: Any,
    dump: Dump | None,
    asked: Asked,
    notes: tuple[str, ...],
) -> tuple[Program, tuple[str, ...]]:
    what = told(graph, peak, written.names)
    layout: Layout | None = None
    if dump is not None:
        layout, more = layout_of(dump)
        notes = (*notes, *more)
    if what.omitted_bands:
        notes = (*notes, f"{name}: {what.omitted_bands} of the shortest loops and branches are not told")
    measured_bytes = measured_seconds = None
    if asked.measure:
        try:
            measured = measure_compiled(compiled, *_run_arguments(compiled, asked))
        except MeasureError as error:
            notes = (*notes, f"{name} could not be measured: {error}")
        else:
            measured_bytes = account.argument_bytes + measured.peak_bytes
            measured_seconds = measured.median_s
    program = Program(
        name=name,
        nodes=graph.size,
        argument_bytes=peak.argument_bytes,
        output_bytes=peak.output_bytes,
        alias_bytes=peak.alias_bytes,
        planned_peak_bytes=peak.total_bytes,
        compiled_peak_bytes=account.total_bytes,
        measured_peak_bytes=measured_bytes,
        estimated_seconds=seconds,
        measured_seconds=measured_seconds,
        steps=what.steps,
        bands=what.bands,
        values=what.values,
        peak=what.peak,
        at_peak=what.at_peak,
        layout=layout,
        omitted=what.omitted,
        omitted_bytes=what.omitted_bytes,
    )
    return program, notes


def _run_arguments(compiled: Any, asked: Asked) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Returns the arguments to measure on: those given, or shapes where they are not what was compiled for."""
    given = asked.args, dict(asked.kwargs or {})
    if jax.tree.structure(given) == compiled.in_tree:
        return given
    return jax.tree.map(lambda info: jax.ShapeDtypeStruct(info.shape, info.dtype), compiled.args_info)


def _places(*graphs: Graph) -> Callable[[str], Place | None]:
    """Returns the function from a value's name to the user's line that makes it, in any of the graphs."""
    sources: dict[str, Source] = {}
    for graph in graphs:
        for scope in (graph, *loop_bodies(graph)):
            for node in scope.nodes:
                if node.source is not None:
                    for v in node.outputs:
                        sources.setdefault(v.name, node.source)
    return lambda name: place_of(sources.get(name))


def _defined_at(closed: Any) -> tuple[str, str, int | None]:
    """Returns the name of the function behind a closed jaxpr, its file and first line; "" and None where unknown."""
    told = str(closed.jaxpr.debug_info.func_src_info or "")
    name, _, place = told.partition(" at ")
    file, _, line = place.rpartition(":")
    return (name, file, int(line)) if line.isdigit() else (name, "", None)
