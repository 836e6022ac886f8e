"""A rule for sums of products that have a factor in common."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import jax
import jax.numpy as jnp

from memline.ir.graph import Graph, Op, Value
from memline.rewrites.match import is_usual, op_of
from memline.rewrites.rule import REASSOCIATES, Rewriting, rule, written
from memline.rules.folds import apply_op

_SUMS = ("add", "add_any", "sub")
_MOST_TERMS = 16


@dataclass(frozen=True)
class _Term:
    """A summand, which nothing else reads, and whether it is subtracted."""

    value: Value
    is_negative: bool


@rule("common_factor", REASSOCIATES, *_SUMS)
def common_factor(scope: Graph, node: Op) -> Rewriting | None:
    """A X + A Y = A (X + Y), X A + Y A = (X + Y) A, and the same with minus signs and other summands between.

    One product in place of two. Not in float16, in whose range X + Y may not be where the products are.
    """
    result = node.outputs[0]
    if result.dtype == jnp.float16 or not is_usual(result.dtype):
        return None
    terms = _terms(scope, node)
    for first, second in combinations(terms, 2):
        factored = _factored(scope, first, second)
        if factored is not None:
            rest = [term for term in terms if term not in (first, second)]
            return _rewritten(node, factored, first, second, rest)
    return None


def _terms(scope: Graph, node: Op, is_negative: bool = False) -> list[_Term]:
    """Returns the summands of a tree of sums; inner sums count that only the tree reads, and of the same shape."""
    terms: list[_Term] = []
    for at, v in enumerate(node.inputs):
        sign = is_negative != (node.kind == "sub" and at == 1)
        inner = op_of(scope, v, *_SUMS)
        if inner is not None and _is_own(scope, v) and v.shape == node.outputs[0].shape and len(terms) < _MOST_TERMS:
            terms.extend(_terms(scope, inner, sign))
        else:
            terms.append(_Term(v, sign))
    return terms


def _is_own(scope: Graph, v: Value) -> bool:
    return v not in scope.outputs and len(scope.consumers.get(v, ())) == 1


def _factored(scope: Graph, first: _Term, second: _Term) -> tuple[Op, int, Value, Value] | None:
    """Returns one of two products, which of its operands they share, and the other operands of both."""
    a, b = op_of(scope, first.value, "dot_general"), op_of(scope, second.value, "dot_general")
    if (
        a is None
        or b is None
        or a is b
        or a.params != b.params
        or not all(_is_own(scope, t.value) for t in (first, second))
    ):
        return None
    if len({v.dtype for product in (a, b) for v in (*product.inputs, *product.outputs)}) > 1:
        return None
    for side in (0, 1):
        x, y = a.inputs[1 - side], b.inputs[1 - side]
        if a.inputs[side] is b.inputs[side] and x.shape == y.shape:
            return a, side, x, y
    return None


def _rewritten(
    node: Op, factored: tuple[Op, int, Value, Value], first: _Term, second: _Term, rest: list[_Term]
) -> Rewriting:
    one, side, x, y = factored

    def total(common: jax.Array, x: jax.Array, y: jax.Array, *others: jax.Array) -> jax.Array:
        both = x + y if first.is_negative == second.is_negative else x - y
        (product,) = apply_op(one, [common, both] if side == 0 else [both, common])
        if not rest:
            return -product if first.is_negative else product
        found = -others[0] if rest[0].is_negative else others[0]
        for term, other in zip(rest[1:], others[1:], strict=True):
            found = found - other if term.is_negative else found + other
        return found - product if first.is_negative else found + product

    values = [term.value for term in rest]
    return written(node.outputs[0], total, one.inputs[side], x, y, *values, source=node.source)
