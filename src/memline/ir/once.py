"""Runs a program as written in a loop of one round, so that its large results are written where we say.

XLA takes memory for each result as it likes. What a loop carries is written where it was before the loop began, though,
and that may be an array of `kernels.fresh`. The program itself stays as it is, and so does what it takes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
from jax import lax

from memline import compat
from memline.ir.emit import promised
from memline.ir.graph import Graph, Loop, Op, Value
from memline.ir.inplace import Takers
from memline.kernels import fresh

Places: TypeAlias = tuple[int, ...]
"""Which of a program's results, by their places."""


def fresh_places(graph: Graph, takers: Takers, *, as_written: bool) -> Places:
    """Returns the results that are worth a loop around the program; () where there are none, or it cannot be.

    Args:
      graph: the program.
      takers: which result takes over which donated argument: what is written over has its memory already.
      as_written: whether the user's own function runs. Else the graph does, whose loops begin in fresh arrays.
    """
    if takers or not all(_is_carried(graph, v) for v in graph.outputs):
        return ()
    if any(isinstance(node, Op) and node.effects for node in graph.nodes):
        return ()
    if not as_written and any(isinstance(node, Loop) for node in graph.nodes):
        return ()
    return tuple(
        place
        for place, v in enumerate(graph.outputs)
        if not v.is_const and v.size_bytes >= fresh.NEVER_KEPT_BYTES and v not in graph.outputs[:place]
    )


def _is_carried(graph: Graph, value: Value) -> bool:
    """Whether a result is a plain array that is made in the program: arguments are handed back without a copy."""
    if value.is_const:
        return True
    is_plain = compat.is_usual_aval(value.aval) and not jnp.issubdtype(value.dtype, jax.dtypes.extended)
    return is_plain and value in graph.producer


def run_once(
    compute: Callable[[Sequence[Any]], Sequence[Any]], args: Sequence[Any], kinds: Sequence[Any], places: Places
) -> list[Any]:
    """Returns what a function computes of tracers, some of its results written into fresh arrays.

    Args:
      compute: the function, without effects; its results are arrays.
      args: its arguments, arrays or tracers.
      kinds: the abstract values of its results.
      places: which results.
    """
    begin = [
        (fresh.empty if place in places else jnp.zeros)(kind.shape, kind.dtype) for place, kind in enumerate(kinds)
    ]

    def round_(state: Sequence[Any]) -> list[Any]:
        # Without a barrier XLA computes before the loop what does not change in it, which is all there is.
        turn, given = lax.optimization_barrier((state[0], list(args)))
        return [turn + 1, *(jnp.asarray(y) for y in compute(given))]

    def is_left(state: Sequence[Any]) -> Any:
        return state[0] < lax.optimization_barrier(jnp.int32(1))  # or XLA takes the loop away

    results = lax.while_loop(is_left, round_, [jnp.int32(0), *begin])[1:]
    return [promised(kind, y) for kind, y in zip(kinds, results, strict=True)]
