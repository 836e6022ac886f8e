"""XLA's own switches that change speed: what may be tried for a program, what each is for, how it reaches XLA.

Only switches that keep the account of memory believable and that change results by no more than rounding are
here. Those that trade exactness for speed (fast math) are not, nor those that hand work to libraries which
allocate where no account sees it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from memline.analysis.steps import SMALL_STEP_BYTES, small_kernels
from memline.compat import EXTRA_OPTIONS
from memline.ir.graph import Graph

CompileOption: TypeAlias = bool | int | str
CompileOptions: TypeAlias = tuple[tuple[str, CompileOption], ...]

_SMALL_LOOPS = "xla_cpu_small_while_loop_byte_threshold"

# XLA's backend reads these from a list of its own, which `compiler_options` refuses to fill.
_EXTRA = frozenset({_SMALL_LOOPS, "xla_cpu_use_multi_output_fusion", "xla_cpu_disable_loop_unrolling"})


@dataclass(frozen=True)
class Strategy:
    """A way to compile a program.

    Args:
      name: what the plan's page calls it.
      options: pairs of a compile option's name and its value.
      purpose: what it does and for which programs.
      changes_rounding: whether floating-point results may differ from those without it by rounding.
      shows: whether the compiled program's text differs wherever the strategy did anything, so that a program
        it does nothing for need not be timed.

    >>> CPU_STRATEGIES[0].name
    'wide vectors'
    """

    name: str
    options: CompileOptions
    purpose: str
    changes_rounding: bool
    shows: bool = False


CPU_STRATEGIES: tuple[Strategy, ...] = (
    Strategy(
        "wide vectors",
        (("xla_cpu_prefer_vector_width", 512),),
        "vectors of 512 bits where the processor has them, for long elementwise code in cache; XLA prefers 256",
        changes_rounding=True,
    ),
    Strategy(
        "no unrolling",
        (("xla_cpu_disable_loop_unrolling", "true"),),
        "generated code keeps its inner loops as they are, for reductions over few elements",
        changes_rounding=True,
    ),
    Strategy(
        "small loops whole",
        ((_SMALL_LOOPS, SMALL_STEP_BYTES),),
        "a loop whose step touches up to 64 KiB becomes one function, without a call for each of its kernels",
        changes_rounding=True,
        shows=True,
    ),
    Strategy(
        "multi-output fusion",
        (("xla_cpu_use_multi_output_fusion", "true"),),
        "one pass over the operands for several results of the same size",
        changes_rounding=True,
        shows=True,
    ),
    Strategy(
        "larger loops whole",
        ((_SMALL_LOOPS, 1 << 20),),
        "a loop whose step touches up to 1 MiB becomes one function; its matrix products lose the library's speed",
        changes_rounding=True,
        shows=True,
    ),
)
"""In the order in which they are tried: what helps most programs first."""


def strategies_for(platform: str, given: Mapping[str, Any]) -> tuple[Strategy, ...]:
    """Returns the strategies that may be tried on a platform, leaving alone the options that the user gave.

    >>> [s.name for s in strategies_for("cpu", {"xla_cpu_prefer_vector_width": 128})][0]
    'no unrolling'
    >>> strategies_for("gpu", {})
    ()
    """
    known = CPU_STRATEGIES if platform == "cpu" else ()
    return tuple(s for s in known if not any(is_given(name, given) for name, _ in s.options))


def is_given(name: str, given: Mapping[str, Any]) -> bool:
    """Tells whether the user has set a compile option, for this program or in XLA_FLAGS for all."""
    return name in given or name in os.environ.get("XLA_FLAGS", "")


def strategy_by_rule(graph: Graph, platform: str) -> tuple[CompileOptions, str]:
    """Returns the options that a program is compiled with where nobody has measured, and why; none and "" mostly.

    Small loops are compiled whole where one has a step of several kernels: measured, such programs take from a third
    to nine tenths of the time they took, the same memory, and less to compile.
    """
    step = small_kernels(graph) if platform == "cpu" else None
    if step is None:
        return (), ""
    where = f" ({step.source})" if step.source else ""
    return ((_SMALL_LOOPS, SMALL_STEP_BYTES),), (
        f"a loop{where} calls about {step.kernels} small kernels a step: each small loop is compiled whole"
    )


def combined(strategies: Iterable[Strategy]) -> Strategy:
    """Returns several strategies as one; those that say otherwise than one before them are left out.

    >>> combined(CPU_STRATEGIES[:2]).name
    'wide vectors + no unrolling'
    """
    parts: list[Strategy] = []
    options: dict[str, CompileOption] = {}
    for strategy in strategies:
        if all(options.get(name, value) == value for name, value in strategy.options):
            options.update(strategy.options)
            parts.append(strategy)
    return Strategy(
        " + ".join(part.name for part in parts),
        tuple(options.items()),
        "together: " + "; ".join(part.purpose for part in parts),
        changes_rounding=any(part.changes_rounding for part in parts),
        shows=all(part.shows for part in parts),
    )


def as_compiler_options(options: CompileOptions) -> dict[str, Any]:
    """Returns compile options in the form that `jax.jit(..., compiler_options=...)` takes here.

    What only XLA's backend knows is joined under one name, which `memline.compat` sees to.

    >>> as_compiler_options((("xla_cpu_prefer_vector_width", 512),))
    {'xla_cpu_prefer_vector_width': 512}
    """
    plain = {name: value for name, value in options if name not in _EXTRA}
    extra = {name: str(value) for name, value in options if name in _EXTRA}
    return {**plain, EXTRA_OPTIONS: json.dumps(extra)} if extra else plain
