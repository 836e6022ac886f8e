"""Packing problems of JAX programs: what XLA has to place, and where it does, from the dump of one compile."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from memline import compat
from memline.errors import PackingError
from memline.packing.problem import Problem
from memline.packing.xla import Assignment, read_assignment

_ASSIGNMENT, _RANGES = "-buffer-assignment.txt", "-live-range.txt"


def from_jax(
    fun: Callable[..., Any], *args: Any, compiler_options: dict[str, Any] | None = None, **kwargs: Any
) -> Problem:
    """Returns the packing problem of a JAX program: its temporaries, as XLA schedules them.

    Args:
      fun: a function of JAX arrays, jitted or not.
      *args: arrays, or `jax.ShapeDtypeStruct`s; nothing is run.
      compiler_options: options for XLA, as `jax.jit` takes them.
      **kwargs: keyword arguments of the function.

    Raises:
      PackingError: XLA dumped nothing for this program, as for one that it does not need to compile.

    >>> import jax.numpy as jnp
    >>> problem = from_jax(lambda x: jnp.sort(jnp.cumsum(x, 0) @ x.T), jnp.ones((64, 64)))
    >>> problem.peak_load > 0
    True
    """
    return xla_assignment(fun, *args, compiler_options=compiler_options, **kwargs).problem


def xla_assignment(
    fun: Callable[..., Any], *args: Any, compiler_options: dict[str, Any] | None = None, **kwargs: Any
) -> Assignment:
    """Returns the packing problem of a JAX program, and XLA's own packing of it; as `from_jax`."""
    jitted: Any = fun if hasattr(fun, "lower") else compat.plain_jit(fun)
    return assignment_of_lowered(jitted.lower(*args, **kwargs), compiler_options)


def assignment_of_lowered(lowered: Any, compiler_options: dict[str, Any] | None = None) -> Assignment:
    """Returns the same for a `jax.stages.Lowered`: compiles it once more, with a dump."""
    return dump_of_lowered(lowered, compiler_options).assignment


@dataclass(frozen=True)
class Dump:
    """What XLA writes of a program while it compiles it.

    Attributes:
      assignment: the program's temporaries.
      module: its optimised text, which tells where its instructions come from; "" where XLA wrote none.
      compiled: the program.
    """

    assignment: Assignment
    module: str
    compiled: Any


def dump_of_lowered(lowered: Any, compiler_options: dict[str, Any] | None = None) -> Dump:
    """Returns what XLA dumps of a `jax.stages.Lowered`: compiles it once more.

    Raises:
      PackingError: XLA dumped nothing for this program.
    """
    with tempfile.TemporaryDirectory(prefix="memline-dump-") as folder:
        options = {**(compiler_options or {}), "xla_dump_to": folder}
        compiled = compat.compiled_afresh(lowered, options)
        dumps = sorted(Path(folder).glob(f"*{_ASSIGNMENT}"), key=lambda path: path.stat().st_size)
        if not dumps:
            raise PackingError("XLA dumped no buffer assignment of this program; is it compiled on another machine?")
        ranges, module = (_beside(dumps[-1], end) for end in (_RANGES, ".txt"))
        return Dump(read_assignment(dumps[-1].read_text(), ranges), module, compiled)


def _beside(path: Path, end: str) -> str:
    found = path.with_name(path.name.removesuffix(_ASSIGNMENT) + end)
    return found.read_text() if found.exists() else ""
