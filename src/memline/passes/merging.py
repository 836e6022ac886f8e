"""How results of a loop or branch that do not run along the split axis come together, chunk by chunk."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp

from memline.analysis.merges import Merge, Merges
from memline.ir.build import Builder
from memline.ir.graph import Node, Value
from memline.rules.folds import wide_dtype


def first_accumulators(builder: Builder, node: Node, merges: Merges) -> list[Value]:
    """Appends what is there before the first chunk of each merged result: zeros, or the carry's first value."""
    found: list[Value] = []
    for at, merge in merges.items():
        if merge is Merge.CARRY:
            found.append(node.carried[at])
        elif merge is Merge.ADDED:
            found.extend(builder.call(_widened, node.carried[at], source=node.source))
        else:
            found.extend(builder.call(_zeros(node.outputs[at], merge), source=node.source))
    return found


def carried_on(
    builder: Builder, node: Node, merges: Merges, accumulators: Sequence[Value], operands: Sequence[Value]
) -> list[Value]:
    """Returns a node's operands with the carries that a chunk begins with: those of the chunk before, or zeros."""
    changed = list(operands)
    first_carry = len(operands) - len(node.carried)
    for (at, merge), accumulator in zip(merges.items(), accumulators, strict=True):
        if merge is Merge.CARRY:
            changed[first_carry + at] = accumulator
        elif merge is Merge.ADDED:
            [changed[first_carry + at]] = builder.call(_zeros(node.carried[at], merge), source=node.source)
    return changed


def merge_results(
    builder: Builder, merges: Merges, accumulators: Sequence[Value], results: Sequence[Value]
) -> list[Value]:
    """Appends the merging of one chunk's results; returns the new accumulators."""
    merged = []
    for (at, merge), accumulator in zip(merges.items(), accumulators, strict=True):
        if merge in (Merge.SUM, Merge.ADDED):
            merged.extend(builder.call(_add, accumulator, results[at]))
        else:
            merged.append(results[at])
    return merged


def _zeros(v: Value, merge: Merge) -> Any:
    dtype = wide_dtype(v.dtype) if merge is Merge.SUM else v.dtype
    return lambda: jnp.zeros(v.shape, dtype)


def _widened(first: Any) -> Any:
    return first.astype(wide_dtype(first.dtype))


def _add(total: Any, part: Any) -> Any:
    return total + part.astype(total.dtype)
