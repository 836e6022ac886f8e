"""Loops whose steps are several small kernels: there, calling the kernels costs as much as running them.

XLA:CPU calls each kernel of a loop's body by itself. It can compile a whole loop into one function instead, and does
so of its own accord only for loops that touch less than a kibibyte a step. Measured, that is faster by up to three
times where a step is of four kernels and more, as in gradients, and slower where it is of one or two, as in a
recurrence without its gradient: the code of a tanh is worse in such a function than outside.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from memline import compat
from memline.ir.graph import Graph, Loop, Op

SMALL_STEP_BYTES = 1 << 16
_LEAST_KERNELS = 4
_LEAST_TRIPS = 16
_FREE = frozenset(["reshape", "squeeze", "expand_dims", "broadcast_in_dim", "stop_gradient", "optimization_barrier"])
# What makes a kernel even where its result is read by one op only; the rest of a step is fused into its results.
_NEVER_FUSED = frozenset(
    """dot_general conv_general_dilated concatenate pad
    reduce_sum reduce_max reduce_min reduce_prod reduce_and reduce_or
    argmax argmin cumsum cumprod cummax cummin cumlogsumexp dynamic_update_slice gather scatter""".split()
) | {"scatter-add", "scatter_add"}
_CONTROL = frozenset(["while", "scan", "cond"])


@dataclass(frozen=True)
class Step:
    """What one step of a loop does, inner loops left out.

    Args:
      kernels: about how many kernels XLA makes of it: one for each array that it hands on, and for each op that is
        never fused.
      touched_bytes: the sizes of all values that they read and write, each once.
      has_matrix_product: whether one of them is a product of matrices, not of a matrix and a vector.
      trips: how often it runs; None where that is not known.
      source: where in the user's code the loop is, as text; may be empty.
    """

    kernels: int
    touched_bytes: int
    has_matrix_product: bool
    trips: int | None
    source: str

    @property
    def is_small(self) -> bool:
        """Whether XLA may find it small: it counts what its fused kernels read and write, here are all values."""
        return self.touched_bytes <= 2 * SMALL_STEP_BYTES


def small_kernels(graph: Graph) -> Step | None:
    """Returns the step that most speaks for compiling the program's small loops whole, if any does.

    None does where one of the small loops multiplies matrices, for XLA then writes that product out by itself
    instead of calling its library, and may be many times slower.
    """
    small = [step for step in _steps(graph) if step.is_small]
    if any(step.has_matrix_product for step in small):
        return None
    worth = [s for s in small if s.kernels >= _LEAST_KERNELS and (s.trips is None or s.trips >= _LEAST_TRIPS)]
    return max(worth, key=lambda s: s.kernels, default=None)


def _steps(graph: Graph) -> Iterator[Step]:
    for node in graph.nodes:
        if isinstance(node, Loop):
            ops = [op for op in node.body.nodes if isinstance(op, Op)]
            yield _step([_Call.of_op(op) for op in ops], node.body.outputs, node.trips, str(node.source or ""))
            yield from _steps(node.body)
        elif node.kind in _CONTROL:
            yield from _steps_of(node.kind, node.params, str(node.source or ""))


def _steps_of(kind: str, params: dict[str, Any], source: str) -> Iterator[Step]:
    """Yields the steps of a loop that is left as JAX has it, and of those inside it."""
    for jaxpr in compat.subjaxprs(params):
        eqns = list(_inlined(jaxpr))
        if kind != "cond":
            calls = [_Call.of_eqn(eqn) for eqn in eqns if eqn.primitive.name not in _CONTROL]
            yield _step(calls, jaxpr.outvars, params.get("length"), source)
        for eqn in eqns:
            if eqn.primitive.name in _CONTROL:
                yield from _steps_of(eqn.primitive.name, eqn.params, source)


def _inlined(jaxpr: Any) -> Iterator[Any]:
    """Yields the equations of a jaxpr, in place of calls those of what is called."""
    for eqn in jaxpr.eqns:
        inner = [] if eqn.primitive.name in _CONTROL else compat.subjaxprs(eqn.params)
        if not inner:
            yield eqn
        for called in inner:
            yield from _inlined(called)


@dataclass(frozen=True)
class _Call:
    """An op or an equation, as far as it matters here."""

    kind: str
    params: dict[str, Any]
    values: tuple[Any, ...]
    shapes: tuple[tuple[int, ...], ...]

    @classmethod
    def of_op(cls, op: Op) -> _Call:
        return cls(op.kind, op.params, (*op.inputs, *op.outputs), tuple(v.shape for v in op.inputs))

    @classmethod
    def of_eqn(cls, eqn: Any) -> _Call:
        values = tuple(v for v in (*eqn.invars, *eqn.outvars) if not isinstance(v, compat.Literal))
        return cls(eqn.primitive.name, eqn.params, values, tuple(v.aval.shape for v in eqn.invars))

    @property
    def is_matrix_product(self) -> bool:
        if self.kind == "conv_general_dilated":
            return True
        if self.kind != "dot_general":
            return False
        (contracted, batch) = self.params["dimension_numbers"]
        free = [
            math.prod(size for axis, size in enumerate(shape) if axis not in (*c, *b))
            for shape, c, b in zip(self.shapes, contracted, batch, strict=True)
        ]
        summed = math.prod(self.shapes[0][axis] for axis in contracted[0])
        return min(free) > 1 and summed > 1  # others are elementwise, or of a matrix and a vector


def _step(calls: Sequence[_Call], handed_on: Sequence[Any], trips: int | None, source: str) -> Step:
    touched = {value: None for call in calls if call.kind not in _FREE for value in call.values}
    arrays = {v: None for v in handed_on if not isinstance(v, compat.Literal) and math.prod(v.aval.shape) > 1}
    return Step(
        len(arrays) + sum(call.kind in _NEVER_FUSED for call in calls),
        sum(_size_bytes(value) for value in touched),
        any(call.is_matrix_product for call in calls),
        trips,
        source,
    )


def _size_bytes(value: Any) -> int:
    aval = value.aval
    if not compat.is_array_aval(aval):
        return 0
    return math.prod(aval.shape) * compat.itemsize_bytes(aval.dtype)
