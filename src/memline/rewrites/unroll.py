"""Short sums of elementwise expressions, written out: one elementwise kernel instead of a reduction of a few numbers.

A compiler gives a reduction over 3 numbers a loop of 3 turns for each element of the result, and no vectors. Written
out it is a few operations on whole rows, and the array that was summed is never made.
"""

from __future__ import annotations

import functools
import operator
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import lax

from memline.ir.build import Builder
from memline.ir.graph import Graph, Op, Value
from memline.rewrites.rule import REASSOCIATES, Rewriting, rule
from memline.rewrites.terms import ELEMENTWISE, Terms

_LONGEST = 8
"""The longest sums that are written out."""
_MOST_OPS = 12
"""Elementwise ops of one addend."""


@rule("unroll", REASSOCIATES, "reduce_sum")
def unroll(scope: Graph, node: Op) -> Rewriting | None:
    """sum_k f(x_ik, y_jk) = f(x_i0, y_j0) + f(x_i1, y_j1) + ... for a few k, where f is elementwise."""
    (operand,), (value,), axes = node.inputs, node.outputs, node.params["axes"]
    if len(axes) != 1 or not 1 < operand.shape[axes[0]] <= _LONGEST or not operand.size_bytes:
        return None
    if not jnp.issubdtype(value.dtype, np.floating) or jnp.finfo(value.dtype).bits < 32:
        return None  # short types are summed in a wider one
    ops = _elementwise_ops(scope, operand)
    if not ops:
        return None
    builder = Builder(f"{value.name}.u")
    terms = Terms(scope, builder, node.source, wide=False)
    made = {op.outputs[0] for op in ops}
    leaves = tuple(dict.fromkeys(v for op in ops for v in op.inputs if v not in made))
    narrow = [terms.narrow(v) for v in leaves]
    if not any(x.ndim and x.shape != operand.shape for x in narrow):
        return None  # an array that is there already is read once either way
    replacement = terms.written(functools.partial(_written_out, ops, leaves, axes[0], operand), *narrow)
    return Rewriting(value, tuple(builder.nodes), replacement)


def _elementwise_ops(scope: Graph, v: Value) -> tuple[Op, ...]:
    """Returns the elementwise ops that make a value of its own shape, in order; none where they are too many."""
    found: dict[Op, None] = {}
    todo = [v]
    while todo:
        op = scope.producer.get(todo.pop())
        if isinstance(op, Op) and op.kind in ELEMENTWISE and op.outputs[0].shape == v.shape and op not in found:
            found[op] = None
            todo += op.inputs
            if len(found) > _MOST_OPS:
                return ()
    return tuple(op for op in scope.nodes if isinstance(op, Op) and op in found) if found else ()


def _written_out(ops: tuple[Op, ...], leaves: tuple[Value, ...], axis: int, operand: Value, *arrays: Any) -> Any:
    shape = operand.shape[:axis] + operand.shape[axis + 1 :]

    def addend(k: int) -> Any:
        env: dict[Value, Any] = {}
        for leaf, x in zip(leaves, arrays, strict=True):
            env[leaf] = x if not x.ndim else lax.index_in_dim(x, k if x.shape[axis] > 1 else 0, axis, keepdims=False)
        for op in ops:
            inputs = [env[v] for v in op.inputs]
            common = jnp.broadcast_shapes(*(x.shape for x in inputs))
            wide = [jnp.broadcast_to(x, common) if x.ndim else x for x in inputs]
            env[op.outputs[0]] = op.primitive.bind(*wide, **op.params)
        return env[operand]

    total = functools.reduce(operator.add, map(addend, range(operand.shape[axis])))
    return jnp.broadcast_to(total, shape)
