"""Writes arrays that are joined of parts as selections, where only elementwise ops read them.

XLA:CPU makes a kernel of its own of each part of a `concatenate`, and another one that copies them together, before
what reads the result may begin. `jnp.roll`, the halves that a rotary embedding swaps, and padding at an edge are all
joined so, mostly of slices of arrays that lie in memory anyhow. Told as "before this place the one, else the other",
with each part padded to the whole length, they are computed inside the kernel that reads them. A step of a stencil
over 256 x 256 takes 0.4 to 0.5 of its time then.

The planner sees the joined arrays: a program is written so when it is compiled, and takes no more memory than planned.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any, TypeGuard

import jax.numpy as jnp
import numpy as np
from jax import lax

from memline.analysis.fusion import is_elementwise
from memline.ir.build import with_replaced
from memline.ir.graph import Graph, Node, Op, Value
from memline.ir.scopes import loop_bodies, map_scopes
from memline.rules import elementwise

_LEAST_BYTES = 1 << 12
"""Smaller arrays are joined quickly."""
_MOST_PARTS = 3
"""Every element goes through a choice for each part."""
_MOST_STEPS = 3
"""A part may be so many cheap ops away from an array that lies in memory; they are computed where it is read."""
_MOST_TOLD = 4
_CHEAP = frozenset(elementwise.CHEAP.values())


def selected_joins(graph: Graph) -> Graph:
    """Returns the graph, and all that loops and branches in it run, with joined arrays as selections where that helps.

    >>> from memline.compat import shaped
    >>> from memline.ir.trace import trace
    >>> graph = trace(lambda x: jnp.roll(x, 1) * 2, shaped((2000,), jnp.float32))
    >>> [node.kind for node in selected_joins(graph).nodes]
    ['slice', 'slice', 'iota', 'pad', 'lt', 'broadcast_in_dim', 'select_n', 'mul']
    """
    memo: dict[Any, Any] = {}

    def selected(scope: Graph, _: bool) -> Graph:
        return with_replaced(scope, lambda op: _selection(op) if _is_read_inside(op, scope) else None, "j", memo)

    return map_scopes(graph, selected)


def join_notes(graph: Graph) -> tuple[str, ...]:
    """Returns what a plan is to tell of the joined arrays of a graph that are written as selections."""
    lines = [
        f"{node.outputs[0].aval.str_short()}{f' ({node.source})' if node.source else ''}"
        for scope in (graph, *loop_bodies(graph))
        for node in scope.nodes
        if _is_read_inside(node, scope)
    ]
    told = tuple(dict.fromkeys(lines))
    if not told:
        return ()
    more = f" and {len(told) - _MOST_TOLD} more" if len(told) > _MOST_TOLD else ""
    return (f"joined where they are read, without a copy: {', '.join(told[:_MOST_TOLD])}{more}",)


def _is_read_inside(join: Node, scope: Graph) -> TypeGuard[Op]:
    """Whether a node joins parts, and the kernels that read the result can as well choose between those themselves."""
    if join.kind != "concatenate" or not isinstance(join, Op):
        return False
    (joined,) = join.outputs
    if not 2 <= len(join.inputs) <= _MOST_PARTS or joined.size_bytes < _LEAST_BYTES or joined in scope.outputs:
        return False
    readers = scope.consumers.get(joined, ())
    return (
        isinstance(joined.dtype, np.dtype)
        and all(is_elementwise(reader) for reader, _ in readers)
        and all(_is_near(scope, part, _MOST_STEPS) for part in join.inputs)
    )


def _is_near(scope: Graph, v: Value, steps: int) -> bool:
    """Whether a value is cheap to compute from arrays that lie in memory, so that it may be wherever it is read."""
    maker = scope.producer.get(v)
    if maker is None:
        return True
    if maker.kind in ("slice", "squeeze", "broadcast_in_dim") or (isinstance(maker, Op) and maker.primitive in _CHEAP):
        return steps > 0 and all(_is_near(scope, x, steps - 1) for x in maker.inputs)
    return not is_elementwise(maker)  # a costly one's kernel would be that of what reads the join, part by part


def _selection(join: Op) -> tuple[Any, Callable[..., Any]]:
    """Returns the function that chooses between the parts of a joined array, and a key for it."""
    axis, (joined,) = join.params["dimension"], join.outputs
    ends = tuple(itertools.accumulate(v.shape[axis] for v in join.inputs))

    def spread(part: Any, end: int) -> Any:
        """The part at its place in an array of the whole length; what lies beside it is never looked at."""
        if part.shape[axis] == 1:
            return lax.broadcast_in_dim(part, joined.shape, range(part.ndim))
        edges = [(0, 0, 0)] * part.ndim
        edges[axis] = (end - part.shape[axis], joined.shape[axis] - end, 0)
        return lax.pad(part, jnp.zeros((), part.dtype), edges)

    def select(*parts: Any) -> Any:
        places = lax.broadcasted_iota(jnp.int32, joined.shape, axis)
        *before, last = zip(parts, ends, strict=True)
        result = spread(*last)
        for part, end in reversed(before):
            result = lax.select(places < end, spread(part, end), result)
        return result

    return (selected_joins, axis, ends, joined.shape), select
