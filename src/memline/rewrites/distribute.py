"""A rule for sums of products that have a factor in common."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax

from memline.ir.graph import Graph, Op, Value
from memline.rewrites.match import op_of
from memline.rewrites.rule import REASSOCIATES, Rewriting, rule, written
from memline.rules.folds import apply_op


@rule("common_factor", REASSOCIATES, "add", "add_any", "sub")
def common_factor(scope: Graph, node: Op) -> Rewriting | None:
    """A X + A Y = A (X + Y), X A + Y A = (X + Y) A, and the same with minus signs: one product in place of two.

    Not in float16, in whose range X + Y may not be where the products are.
    """
    products = [_own_product(scope, v) for v in node.inputs]
    first, second = products
    if first is None or second is None or first.params != second.params or node.outputs[0].dtype == jnp.float16:
        return None
    if len({v.dtype for product in (first, second) for v in (*product.inputs, *product.outputs)}) > 1:
        return None
    combine = lax.sub if node.kind == "sub" else lax.add
    for side in (0, 1):
        x, y = first.inputs[1 - side], second.inputs[1 - side]
        if first.inputs[side] is not second.inputs[side] or x.shape != y.shape:
            continue

        def product(common: jax.Array, x: jax.Array, y: jax.Array, side: int = side) -> jax.Array:
            both = combine(x, y)
            (result,) = apply_op(first, [common, both] if side == 0 else [both, common])
            return result

        return written(node.outputs[0], product, first.inputs[side], x, y, source=node.source)
    return None


def _own_product(scope: Graph, v: Value) -> Op | None:
    """Returns the product that makes a value, if nothing else reads it."""
    is_shared = v in scope.outputs or len(scope.consumers.get(v, ())) != 1
    return None if is_shared else op_of(scope, v, "dot_general")
