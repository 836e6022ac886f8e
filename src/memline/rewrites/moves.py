"""Rules for ops that only move elements about."""

from __future__ import annotations

from jax import lax

from memline.ir.graph import Graph, Op
from memline.rewrites.match import op_of
from memline.rewrites.rule import EXACT, Rewriting, rule, written


@rule("transposes", EXACT, "transpose")
def transposes(scope: Graph, node: Op) -> Rewriting | None:
    """Transposing by p and then by q is transposing once, by p[q]; by nothing at all if they undo each other."""
    first = op_of(scope, node.inputs[0], "transpose")
    if first is None:
        return None
    order = tuple(int(first.params["permutation"][axis]) for axis in node.params["permutation"])
    if order == tuple(range(len(order))):
        return written(node.outputs[0], lambda x: x, first.inputs[0])
    return written(node.outputs[0], lambda x: lax.transpose(x, order), first.inputs[0], source=node.source)
