"""Compiles the candidates of one call, so that what XLA says of their memory can be believed."""

from __future__ import annotations

import contextlib
import functools
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Protocol

from memline import compat
from memline.analysis.fusion import model_for
from memline.analysis.peak import peak_of
from memline.ir.codec import digest
from memline.ir.graph import Graph
from memline.ir.inplace import NO_TAKERS, Takers, read_before, reads_first, written_over
from memline.ir.once import Places, fresh_places
from memline.ir.plain import NotPlain
from memline.kernels.native import NO_NATIVE, Native
from memline.passes.hold import release_small
from memline.passes.joins import join_notes, selected_joins
from memline.plan.moves import Compile
from memline.plan.plan import Decision
from memline.plan.strategies import CompileOptions, as_compiler_options, is_given, strategy_by_rule
from memline.verify.compiled import CompiledPeak, compiled_peak

# XLA:CPU hands whole sub-graphs to libraries that allocate where no account sees it; see docs/accounting.md.
HONEST_CPU = {"xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT"}
_DISABLED = "xla_disable_hlo_passes"
# XLA:CPU drops barriers before anything is fused, and then they hold nothing: see `passes.hold`.
KEPT_BARRIERS = {_DISABLED: "cse_barrier_expander"}
# Without it XLA:CPU copies arrays that a loop writes over where two kernels of its body read one of them.
WRITTEN_OVER = {"xla_cpu_copy_insertion_use_region_analysis": True}
# What a program in a loop of one round may take beyond its model before it is compiled without the loop as well.
_AS_MODELLED = 1.02
_FEW_BYTES = 1 << 12


@dataclass(frozen=True, eq=False)
class Candidate:
    """A compiled program: as a function to call, and as JAX's stages."""

    call: Any
    lowered: Any
    compiled: Any
    peak: CompiledPeak
    portable: Callable[[], Any]
    """Makes the function to call without memline's kernels, which other processes and platforms may not have."""
    kernels: bool
    """Whether memline's own kernels compute what they serve."""
    choice: Decision | None = None
    """The options of XLA's own that it was compiled with by rule, and why."""
    notes: tuple[str, ...] = ()
    """What else is to be told of how it was compiled."""


class Build(Protocol):
    """Makes the jitted function that runs a graph."""

    def __call__(
        self, graph: Graph | None, options: dict[str, Any], takers: Takers, native: Native, fresh: Places, /
    ) -> Any:
        """Returns that function.

        Args:
          graph: the graph, or None for the user's own function.
          options: compile options.
          takers: which result takes over which donated argument.
          native: what native code of memline's it calls.
          fresh: the results that begin in fresh pages; see `ir.once`.
        """
        ...


class Compiler:
    """Compiles candidates of one call with options that make the compiled peak believable."""

    def __init__(
        self,
        build: Build,
        lower: Callable[[Any], Any],
        whole: Graph,
        platform: str,
        compiler_options: dict[str, Any] | None,
        honest: bool,
        several: bool = False,
        holds: bool = False,
        takers: Takers = NO_TAKERS,
        native: Native = NO_NATIVE,
    ) -> None:
        self.build = build
        self.several = several
        self.lower = lower
        self.whole = whole
        self.takers = takers
        self.native = native
        self.platform = platform
        self.options = dict(compiler_options or {})
        self.honest = _honest_options(self.options, holds) if honest and platform == "cpu" else {}
        self.unknown: set[str] = set()
        """The options that this jaxlib refused."""
        self.as_written = True
        """Whether the whole program is the user's function; else it is its graph, in which sums are held."""
        self.changes_nothing = False
        """Whether the program is compiled as plain `jax.jit` does it."""
        self.strategy: CompileOptions | None = None
        """The options of XLA's own to compile with; None for those that go by rule."""
        self.seconds = 0.0
        self.count = 0
        self.notes: list[str] = []
        self.made: dict[tuple[str | int, CompileOptions | None, bool, bool], Candidate] = {}
        self.told: dict[int, tuple[str | int, Graph]] = {}

    def candidate(self, graph: Graph, known: CompiledPeak | None = None) -> Candidate:
        """Returns the compiled program of a graph; the program as written is compiled as written.

        Args:
          graph: the graph.
          known: its compiled peak, where it has been compiled before by another process.
        """
        name = self._name(graph), self.strategy, self.as_written, self.changes_nothing
        if name not in self.made:
            began = time.perf_counter()
            self.made[name] = self._compile(graph, known)
            self.seconds += time.perf_counter() - began
            self.count += 1
        return self.made[name]

    def begin(self) -> None:
        """Starts the count of seconds and compiles anew; what is compiled stays."""
        self.seconds, self.count = 0.0, 0

    def _name(self, graph: Graph) -> str | int:
        """Returns what tells programs apart: searches for several limits often find the same one."""
        if id(graph) not in self.told:
            name: str | int = id(graph)
            if self.several:
                with contextlib.suppress(NotPlain):
                    name = digest(graph)
            self.told[id(graph)] = name, graph  # held, so that its id stays its own
        return self.told[id(graph)][0]

    def judge(self, graph: Graph) -> int:
        return self.candidate(graph).peak.total_bytes

    def compiled_with(self, graph: Graph, strategy: CompileOptions) -> Candidate:
        """Returns the program of a graph compiled with other options of XLA's own; it is not kept here.

        Raises:
          Exception: whatever jaxlib raises where it refuses an option.
        """
        return self._compile_with(graph, as_compiler_options(strategy))

    def _compile(self, graph: Graph, known_peak: CompiledPeak | None) -> Candidate:
        strategy, reason = (self.strategy, "") if self.strategy is not None else self._by_rule(graph)
        chosen = as_compiler_options(strategy)
        try:
            made = self._compile_with(graph, chosen, known_peak)
        except Exception:
            added = {**chosen, **self._for_loops(graph), **self.honest}
            known = known_compile_options(added)
            if known == added:
                raise
            for name in added.keys() - known.keys():
                hides = "the compiled peak may hide memory" if name in self.honest else "the plan goes without it"
                self.notes.append(f"this jaxlib does not know the compile option {name}: {hides}")
            self.unknown |= added.keys() - known.keys()
            self.honest = {name: value for name, value in self.honest.items() if name in known}
            chosen = {name: value for name, value in chosen.items() if name in known}
            made = self._compile_with(graph, chosen, known_peak)
        return replace(made, choice=Decision(Compile(strategy), reason)) if reason else made

    def _by_rule(self, graph: Graph) -> tuple[CompileOptions, str]:
        if any(reads_first(loop, old) for loop, old in written_over(graph, self.takers).items()):
            return (), ""  # by a barrier, which XLA does not know in a loop that it is told to compile whole
        strategy, reason = strategy_by_rule(graph, self.platform)
        return ((), "") if any(is_given(name, self.options) for name, _ in strategy) else (strategy, reason)

    def _for_loops(self, graph: Graph) -> dict[str, Any]:
        """Returns the options that loops need which write over donated arguments."""
        over = written_over(graph, self.takers) if self.platform == "cpu" else {}
        waits = any(reads_first(loop, old) or read_before(graph, loop, old.values()) for loop, old in over.items())
        options = {**(WRITTEN_OVER if over else {}), **(KEPT_BARRIERS if waits else {})}
        return {name: value for name, value in options.items() if name not in self.unknown}

    def _fresh(self, graph: Graph, *, as_written: bool) -> Places:
        """Returns which results begin in fresh pages."""
        if not self.native.fresh or self.changes_nothing:
            return ()
        return fresh_places(graph, self.takers, as_written=as_written)

    def _modelled_bytes(self, graph: Graph) -> int:
        return peak_of(graph, model_for(self.platform, kernels=self.native.kernels), 0, self.takers).total_bytes

    def _compile_with(self, graph: Graph, chosen: dict[str, Any], known_peak: CompiledPeak | None = None) -> Candidate:
        options = _joined(self._for_loops(graph), chosen, self.options, self.honest)
        if compat.EXTRA_OPTIONS in options:
            compat.pass_extra_options()
        keeps = KEPT_BARRIERS[_DISABLED] in str(options.get(_DISABLED, ""))
        shown = None if graph is self.whole and self.as_written else release_small(graph) if keeps else graph
        fresh = self._fresh(graph, as_written=shown is None)
        selected = selected_joins(shown) if shown is not None and self.platform == "cpu" else shown
        call = self.build(selected, options, self.takers, self.native, fresh)
        lowered = self.lower(call)
        compiled = lowered.compile()
        peak = compiled_peak(compiled, self.whole, known_peak)
        is_changed = fresh or selected is not shown
        if is_changed and peak.total_bytes > self._modelled_bytes(graph) * _AS_MODELLED:
            # XLA computes before a loop what does not depend on it, such as masks, and then holds it.
            plain = self.build(shown, options, self.takers, self.native, ())
            other = self.lower(plain)
            other_compiled = other.compile()
            other_peak = compiled_peak(other_compiled, self.whole, known_peak)
            if other_peak.total_bytes < peak.total_bytes - _FEW_BYTES:
                call, lowered, compiled, peak = plain, other, other_compiled, other_peak
                selected = shown
        is_portable = self.native == NO_NATIVE
        again = functools.partial(self.build, selected, options, self.takers, NO_NATIVE, ())
        portable = (lambda: call) if is_portable else again
        notes = join_notes(shown) if selected is not shown and shown is not None else ()
        return Candidate(call, lowered, compiled, peak, portable, self.native.kernels, notes=notes)


def known_compile_options(options: dict[str, Any]) -> dict[str, Any]:
    """Returns those of the compile options that this jaxlib accepts, each tried on a trivial program."""
    known = {}
    for name, value in options.items():
        try:
            compat.plain_jit(lambda: 0, compiler_options={name: value}).lower().compile()
        except Exception:  # jaxlib raises several kinds; any refusal means "not known here"
            continue
        known[name] = value
    return known


def honest_options(given: dict[str, Any], platform: str) -> dict[str, Any]:
    """Returns compile options under which XLA's account can be believed, with those given on top."""
    return _joined(HONEST_CPU, given) if platform == "cpu" else dict(given)


def _honest_options(given: dict[str, Any], holds: bool) -> dict[str, Any]:
    """Returns the options for honest accounting, and for barriers where they hold something, joined with the user's."""
    honest: dict[str, Any] = {**HONEST_CPU, **(KEPT_BARRIERS if holds else {})}
    return _joined(honest, {name: value for name, value in given.items() if name in honest})


def _joined(*options: dict[str, Any]) -> dict[str, Any]:
    """Returns options of several origins as one; the last one's value counts, but all say which passes not to run."""
    found: dict[str, Any] = {}
    for name, value in (item for each in options for item in each.items()):
        passes = [*str(found.get(name, "")).split(","), *str(value).split(",")] if name == _DISABLED else []
        found[name] = ",".join(dict.fromkeys(filter(None, passes))) if passes else value
    return found
