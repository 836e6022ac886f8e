"""Packing problems of JAX programs: what XLA has to place, and where it does, from the dump of one compile."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax

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
    jitted: Any = fun if hasattr(fun, "lower") else jax.jit(fun)
    return assignment_of_lowered(jitted.lower(*args, **kwargs), compiler_options)


def assignment_of_lowered(lowered: Any, compiler_options: dict[str, Any] | None = None) -> Assignment:
    """Returns the same for a `jax.stages.Lowered`: compiles it once more, with a dump."""
    with tempfile.TemporaryDirectory(prefix="memline-dump-") as folder:
        options = {**(compiler_options or {}), "xla_dump_to": folder}
        compat.compiled_afresh(lowered, options)
        dumps = sorted(Path(folder).glob(f"*{_ASSIGNMENT}"), key=lambda path: path.stat().st_size)
        if not dumps:
            raise PackingError("XLA dumped no buffer assignment of this program; is it compiled on another machine?")
        path = dumps[-1]
        ranges = path.with_name(path.name.removesuffix(_ASSIGNMENT) + _RANGES)
        return read_assignment(path.read_text(), ranges.read_text() if ranges.exists() else "")
