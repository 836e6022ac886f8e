"""One program under a limit below what plain `jit` needs: are the results the same, are the errors ours?"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import memline
from memline.verify.compiled import compiled_peak
from tests.sweep.compare import coarsest, differences, finite_share, turns_open
from tests.sweep.programs import Program
from tests.sweep.reordered import reordered

_QUICK: dict[str, Any] = {"xla_backend_optimization_level": 0}
"""Compiles in half the time, but rounds one value differently in two places of a program; then nothing is quick."""
_NO_LIBRARY: dict[str, Any] = {"xla_cpu_experimental_ynn_fusion_type": ""} if jax.default_backend() == "cpu" else {}
_LEAST_TEMPORARIES = 2048
"""Bytes: a program with less has no big intermediate."""
_OPTIONS = memline.Options(max_compiles=2)


@dataclass(frozen=True)
class Outcome:
    """What became of one program."""

    case: str
    verdict: str
    """``split``, ``rewritten``, ``whole`` (no plan helps), ``plain fails``, or bad: ``wrong``, ``error``, ``floor``."""
    why: str = ""
    finite: float = 1.0
    """The share of plain `jit`'s results that are finite numbers."""
    memory: float = 1.0
    """The temporaries under the limit, as a share of those of plain `jit`; 1 where that has none."""

    @property
    def bad(self) -> bool:
        return self.verdict in ("wrong", "error", "floor")


def judge(case: str, program: Program) -> Outcome:
    """Runs a program plainly and under a limit, and compares."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of plain JAX, on odd types and on what a gradient throws away
        quick = _judge(case, program, _QUICK)
        return _judge(case, program, {}) if quick.verdict == "wrong" else quick


def _judge(case: str, program: Program, how: dict[str, Any]) -> Outcome:
    try:
        traced = jax.jit(program.fun, compiler_options=how).trace(*program.args)
        plain = traced.lower().compile()
        expected = plain(*program.args)
        jax.block_until_ready(expected)
    except Exception as error:  # then memline has nothing to be like
        return Outcome(case, "plain fails", _text(error))
    peak = compiled_peak(plain)
    fixed_bytes = peak.argument_bytes + peak.output_bytes
    share = finite_share(expected)
    try:
        plan, found = _forced(program, fixed_bytes, peak.total_bytes, how)
    except memline.MemoryLimitError as error:
        return Outcome(case, "floor", f"asked again for its floor: {_text(error)}", share)
    except Exception as error:
        return Outcome(case, "error", _text(error), share)
    jaxpr = traced.jaxpr.jaxpr
    why = differences(found, expected, lambda: referees(program, widened=not turns_open(jaxpr)), coarsest(jaxpr))
    if why is not None:
        return Outcome(case, "wrong", f"{why}; {[str(m) for m in plan.moves]}", share)
    assert plan.compiled_peak_bytes is not None
    temp_bytes = peak.total_bytes - fixed_bytes
    memory = (plan.compiled_peak_bytes - fixed_bytes) / temp_bytes if temp_bytes else 1.0
    return Outcome(case, _kind(plan), finite=share, memory=memory)


def _kind(plan: memline.Plan) -> str:
    if any(isinstance(move, memline.SplitAxis) for move in plan.moves):
        return "split"
    return "rewritten" if any(isinstance(move, memline.Rewrite) for move in plan.moves) else "whole"


def _forced(program: Program, fixed_bytes: int, plain_bytes: int, how: dict[str, Any]) -> tuple[memline.Plan, Any]:
    """Runs under a third of the temporaries of plain `jit`, and where the program fits that as written, of its own.

    memline compiles without XLA's library fusions, and what takes the most in plain `jit` may then not be there.
    """
    plan, found = _under(program, fixed_bytes + (plain_bytes - fixed_bytes) // 3, how)
    own_bytes = (plan.compiled_peak_bytes or 0) - fixed_bytes
    if plan.moves or own_bytes < _LEAST_TEMPORARIES:
        return plan, found
    try:
        return _run(program, fixed_bytes + own_bytes // 3, how)
    except memline.MemoryLimitError:  # no floor allows
        return plan, found


def _under(program: Program, limit_bytes: int, how: dict[str, Any]) -> tuple[memline.Plan, Any]:
    """Runs under a limit, or where none fits under the floor that the error names."""
    try:
        return _run(program, limit_bytes, how)
    except memline.MemoryLimitError as error:
        floor_bytes = error.floor_bytes or error.needed_bytes
    for more in (1.0, 1.1):  # few compiles are allowed, and those for another limit may not find the floor again
        try:
            return _run(program, int(more * floor_bytes), how)
        except memline.MemoryLimitError as error:
            floor_bytes = max(floor_bytes, error.floor_bytes or 0)
    return _run(program, int(1.5 * floor_bytes), how)


def _run(program: Program, limit_bytes: int, how: dict[str, Any]) -> tuple[memline.Plan, Any]:
    bounded = memline.jit(program.fun, memory_limit=max(1, limit_bytes), compiler_options=how, options=_OPTIONS)
    compiled = bounded.lower(*program.args).compile()
    plan = compiled.plan
    assert plan.compiled_peak_bytes is not None
    assert plan.compiled_peak_bytes <= max(1, limit_bytes), "over its limit"
    found = compiled(*program.args)
    jax.block_until_ready(found)
    return plan, found


def referees(program: Program, *, widened: bool) -> list[Any]:
    """Returns the results of the same program with other roundings; also in wider types, if `widened`."""
    # Op by op too: inside a program the compiler leaves out roundings to bfloat16 and float16 where it can.
    # And without the library that takes maxima of rows: it leaves out NaNs, which NumPy and memline do not.
    found = [
        jax.jit(program.fun)(*program.args),
        program.fun(*program.args),
        jax.jit(program.fun, compiler_options=_NO_LIBRARY)(*program.args),
    ]
    for strides in ((2, 3), (3, 1, 2)):
        found.append(jax.jit(reordered(program.fun, strides), compiler_options=_QUICK)(*program.args))
    nudged = jax.tree.map(_nudged, program.args)
    found.append(jax.jit(program.fun, compiler_options=_QUICK)(*nudged))
    if not widened:
        return found
    try:
        with jax.enable_x64(True):
            wide = jax.tree.map(_widened, program.args)
            found.append(jax.jit(program.fun, compiler_options=_QUICK)(*wide))
    except Exception:  # a program that holds to its own types has no wider form
        return found
    same = [
        (a.shape == b.shape) and (jnp.issubdtype(a.dtype, np.inexact) == jnp.issubdtype(b.dtype, np.inexact))
        for a, b in zip(jax.tree.leaves(found[0]), jax.tree.leaves(found[-1]), strict=True)
    ]
    return found if all(same) else found[:-1]


def _nudged(x: Any) -> Any:
    """Returns numbers a few units in the last place larger."""
    if not jnp.issubdtype(x.dtype, np.inexact):
        return x
    return x * (1 + 4 * float(jnp.finfo(x.dtype).eps))


def _widened(x: Any) -> Any:
    if jnp.issubdtype(x.dtype, np.complexfloating):
        return x.astype(np.complex128)
    return x.astype(np.float64) if jnp.issubdtype(x.dtype, np.floating) else x


def _text(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
