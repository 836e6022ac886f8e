"""Loops whose steps are several small kernels: there, calling the kernels costs as much as running them.

XLA:CPU calls each kernel of a loop's body by itself. It can compile a whole loop into one function instead, and does
so of its own accord only for loops that touch less than a kibibyte a step. Measured, that is faster by up to three
times where a step is of four kernels and more, as in gradients, and slower where it is of one or two, as in a
recurrence without its gradient: the code of a tanh is worse in such a function than outside.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from memline.analysis.products import product_of
from memline.ir.graph import Graph, Loop, Op, Value

SMALL_STEP_BYTES = 1 << 16
# XLA counts what its fused kernels read and write, `touched_bytes` counts all values.
SMALL_TOUCHED_BYTES = 2 * SMALL_STEP_BYTES
_LEAST_KERNELS = 4
_LEAST_TRIPS = 16
_FREE = frozenset(["reshape", "squeeze", "expand_dims", "broadcast_in_dim", "stop_gradient", "optimization_barrier"])
# What makes a kernel even where its result is read by one op only; the rest of a step is fused into its results.
_NEVER_FUSED = frozenset(
    """dot_general conv_general_dilated concatenate pad
    reduce_sum reduce_max reduce_min reduce_prod reduce_and reduce_or
    argmax argmin cumsum cumprod cummax cummin cumlogsumexp dynamic_update_slice gather scatter""".split()
) | {"scatter-add", "scatter_add"}


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
        return self.touched_bytes <= SMALL_TOUCHED_BYTES


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
        if isinstance(node, Loop) or node.kind == "while":
            trips = node.trips if isinstance(node, Loop) else None
            for body in node.inner:
                yield _step(body, trips, str(node.source or ""))
        for body in node.inner:
            yield from _steps(body)


def touched_bytes(body: Graph) -> int:
    """Returns the sizes of all values that one step of a loop reads and writes, each once, inner loops left out."""
    return sum(v.size_bytes for v in _touched(body))


def _touched(body: Graph) -> dict[Value, None]:
    ops = (op for op in body.nodes if isinstance(op, Op) and not op.bodies and op.kind not in _FREE)
    return {v: None for op in ops for v in (*op.inputs, *op.outputs)}


def _is_matrix_product(op: Op) -> bool:
    return op.kind == "conv_general_dilated" or (op.kind == "dot_general" and product_of(op).is_of_matrices)


def _step(body: Graph, trips: int | None, source: str) -> Step:
    ops = [op for op in body.nodes if isinstance(op, Op) and not op.bodies]
    arrays = {v: None for v in body.outputs if not v.is_const and math.prod(v.shape) > 1}
    return Step(
        len(arrays) + sum(op.kind in _NEVER_FUSED for op in ops),
        touched_bytes(body),
        any(map(_is_matrix_product, ops)),
        trips,
        source,
    )
