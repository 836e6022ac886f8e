"""Rules for logarithms of what was made by an exponential."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from memline.ir.graph import Graph, Op
from memline.rewrites.match import is_usual, op_of
from memline.rewrites.rule import Rewriting, approximate, rule, written

_UNITS = 4
"""Units of rounding by which either form may be off, relative to the largest of its summands."""


@rule("log_of_exp", approximate(), "log")
def log_of_exp(scope: Graph, node: Op) -> Rewriting | None:
    """log(a * exp(b)) = log(a) + b, and log(exp(b) / s) = b - log(s), as in log(det(A)) and log(softmax(x)).

    For real numbers. Where the exponential overflows, or falls below the smallest number, the result as written is an
    infinity and this one is finite.
    """
    if not is_usual(node.outputs[0].dtype) or not jnp.issubdtype(node.outputs[0].dtype, np.floating):
        return None
    inner = op_of(scope, node.inputs[0], "mul", "div")
    if inner is None:
        return None
    shape = node.outputs[0].shape
    bound = _UNITS * float(jnp.finfo(node.outputs[0].dtype).eps)
    for at, other in ((0, 1), (1, 0)):
        exponential = op_of(scope, inner.inputs[at], "exp")
        if exponential is None or (inner.kind == "div" and at == 1):
            continue

        def shifted(x: jax.Array, factor: jax.Array, is_divisor: bool = inner.kind == "div") -> jax.Array:
            log = lax.log(factor)
            return jnp.broadcast_to(x - log if is_divisor else x + log, shape)

        factor = inner.inputs[other]
        return written(node.outputs[0], shifted, exponential.inputs[0], factor, source=node.source, bound=bound)
    return None
