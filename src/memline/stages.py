"""The stages between a function and its compiled program, as in JAX: `Traced`, `Lowered`, `Compiled`.

Each is JAX's own stage of the planned program, and knows the plan besides.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import jax

from memline import compat
from memline.errors import MemoryLimitError
from memline.ir.graph import Graph
from memline.ir.spread import lack_devices
from memline.plan.plan import Plan
from memline.planning import Planned, prepared_graph
from memline.verify.compiled import compiled_peak
from memline.verify.measured import Measured, measure_compiled

if TYPE_CHECKING:
    from memline.limited import LimitedFunction


class Compiled(jax.stages.Compiled):
    """A program compiled under its limit: a `jax.stages.Compiled` that knows its plan."""

    def __init__(self, planned: Planned) -> None:
        compat.become(self, planned.candidate.compiled)
        self._planned = planned

    @property
    def plan(self) -> Plan:
        """The plan: moves with reasons, peaks, times."""
        return self._planned.plan

    @property
    def graph(self) -> Graph:
        """The program as it runs."""
        return self._planned.graph

    @property
    def planned(self) -> Planned:
        """The plan, the graph and JAX's stages of the program together, for those who report on it."""
        return self._planned

    def measure(self, *args: Any, repeats: int = 3, **kwargs: Any) -> Measured:
        """Runs the program in a fresh process and returns the peak and times measured there.

        Args:
          *args: arrays, or `jax.ShapeDtypeStruct`s to run on made-up values; without static arguments.
          repeats: timed runs after the one whose peak is measured.
          **kwargs: keyword arguments of the program.

        Raises:
          MeasureError: the fresh process failed.
        """
        compiled = compat.compiled_afresh(self._planned.candidate.lowered)
        return measure_compiled(compiled, args, kwargs, repeats=repeats)


class Lowered(jax.stages.Lowered):
    """A planned and lowered program; `compile()` costs nothing more, for the plan was checked compiled."""

    def __init__(self, planned: Planned) -> None:
        compat.become(self, planned.candidate.lowered)
        self._planned = planned

    @property
    def plan(self) -> Plan:
        """The plan: moves with reasons, peaks, times."""
        return self._planned.plan

    @property
    def planned(self) -> Planned:
        """The plan, the graph and JAX's stages of the program together, for those who report on it."""
        return self._planned

    def compile(self, compiler_options: dict[str, Any] | None = None, **how: Any) -> Compiled:
        """Returns the compiled program.

        Args:
          compiler_options: options to compile with beside those that were planned with; so is all in `how`, which is
            what `jax.stages.Lowered.compile` takes.

        Raises:
          MemoryLimitError: compiled with such options the program takes more than its limit.
        """
        if compiler_options is None and not how:
            return Compiled(self._planned)
        compiled = super().compile(compiler_options, **how)
        planned, plan = self._planned, self._planned.plan
        peak = compiled_peak(compiled, planned.written.graph if planned.written else planned.graph)
        if plan.limit_bytes is not None and peak.total_bytes > plan.limit_bytes:
            raise MemoryLimitError(
                needed_bytes=peak.total_bytes,
                limit_bytes=plan.limit_bytes,
                floor_bytes=plan.compiled_peak_bytes,
                options=("compile without these options", "give them to memline.jit, which plans with them"),
            )
        return Compiled(replace(planned, candidate=replace(planned.candidate, compiled=compiled, peak=peak)))


class Traced(jax.stages.Traced):
    """A traced call, not planned yet: a `jax.stages.Traced`."""

    def __init__(self, function: LimitedFunction, args: tuple[Any, ...], kwargs: dict[str, Any], traced: Any) -> None:
        compat.become(self, traced)
        self._function = function
        self._args = args
        self._kwargs = kwargs

    @property
    def graph(self) -> Graph:
        """The program as written, in the form that is planned; its text shows the names that moves use."""
        return prepared_graph(self.jaxpr, self._function.platform)

    def plan(self) -> Plan:
        """Returns the plan for this call."""
        return self._function.planned(self._args, self._kwargs).plan

    def lower(self, **how: Any) -> Any:
        """Plans, lowers and checks the program.

        Args:
          **how: what `jax.stages.Traced.lower` takes, such as `lowering_platforms`; the planned program is then
            lowered once more in that way, without memline's own kernels, and is JAX's own stage. So is a program
            whose sizes are symbols, for `jax.export`, or whose devices are not known yet (arguments on an abstract
            mesh): it is lowered as written, for there are no bytes to plan with, or nowhere to compile it.

        Raises:
          MemoryLimitError: no plan that was tried fits the limit.
        """
        if not compat.has_known_sizes(self.jaxpr) or lack_devices((self._args, self._kwargs)):
            return super().lower(**how)
        planned = self._function.planned_in_place(self._args, self._kwargs)
        if how:
            return planned.candidate.portable().trace(*self._args, **self._kwargs).lower(**how)
        return Lowered(planned)
