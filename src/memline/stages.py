"""The stages between a function and its compiled program, as in JAX: `Traced`, `Lowered`, `Compiled`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from memline import compat
from memline.ir.graph import Graph
from memline.plan.plan import Plan
from memline.planning import Planned, prepared_graph
from memline.verify.measured import Measured, measure_compiled

if TYPE_CHECKING:
    from memline.limited import LimitedFunction


class Compiled:
    """A program compiled under its limit; wraps a `jax.stages.Compiled` and knows its plan."""

    def __init__(self, planned: Planned) -> None:
        self._planned = planned
        self._compiled = planned.candidate.compiled

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

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Runs the program; static arguments are left out, as with `jax.stages.Compiled`."""
        return self._compiled(*args, **kwargs)

    def memory_analysis(self) -> Any:
        """Returns XLA's account of the program's buffers."""
        return self._compiled.memory_analysis()

    def cost_analysis(self) -> Any:
        """Returns XLA's estimate of the program's cost."""
        return self._compiled.cost_analysis()

    def as_text(self) -> str | None:
        """Returns the compiled program's text."""
        return self._compiled.as_text()

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

    def __getattr__(self, name: str) -> Any:
        # What JAX's own stage offers beside (in_tree, input_shardings, ...) is offered here too.
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._compiled, name)


class Lowered:
    """A planned and lowered program; `compile()` costs nothing more, for the plan was checked compiled."""

    def __init__(self, planned: Planned) -> None:
        self._planned = planned
        self._lowered = planned.candidate.lowered

    @property
    def plan(self) -> Plan:
        """The plan: moves with reasons, peaks, times."""
        return self._planned.plan

    @property
    def planned(self) -> Planned:
        """The plan, the graph and JAX's stages of the program together, for those who report on it."""
        return self._planned

    def as_text(self, *args: Any, **kwargs: Any) -> str:
        """Returns the lowered program's text, as `jax.stages.Lowered.as_text`."""
        return self._lowered.as_text(*args, **kwargs)

    def compile(self) -> Compiled:
        """Returns the compiled program."""
        return Compiled(self._planned)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._lowered, name)


class Traced:
    """A traced call, not planned yet; wraps a `jax.stages.Traced`."""

    def __init__(self, function: LimitedFunction, args: tuple[Any, ...], kwargs: dict[str, Any], traced: Any) -> None:
        self._function = function
        self._args = args
        self._kwargs = kwargs
        self._traced = traced

    @property
    def graph(self) -> Graph:
        """The program as written, in the form that is planned; its text shows the names that moves use."""
        return prepared_graph(self._traced.jaxpr, self._function.platform)

    def plan(self) -> Plan:
        """Returns the plan for this call."""
        return self._function.planned(self._args, self._kwargs).plan

    def lower(self, **how: Any) -> Any:
        """Plans, lowers and checks the program.

        Args:
          **how: what `jax.stages.Traced.lower` takes, such as `lowering_platforms`; the planned program is then
            lowered once more in that way, without memline's own kernels, and is JAX's own stage.

        Raises:
          MemoryLimitError: no plan that was tried fits the limit.
        """
        planned = self._function.planned(self._args, self._kwargs)
        if how:
            return planned.candidate.portable().trace(*self._args, **self._kwargs).lower(**how)
        return Lowered(planned)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._traced, name)
