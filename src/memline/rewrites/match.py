"""Looking at a value through the ops that real code puts between: what is it made of, and how does it lie?"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from memline.analysis.spelling import is_widening
from memline.ir.graph import Graph, Op, Value

Axes = tuple[int | None, ...]

_SAME = frozenset("copy stop_gradient".split())
"""What hands its operand on. (Programs are rewritten after they were differentiated.) A barrier stands for a reason."""


_USUAL = frozenset(
    """float16 bfloat16 float32 float64 complex64 complex128
    int8 int16 int32 int64 uint8 uint16 uint32 uint64""".split()
)


@dataclass(frozen=True)
class Seen:
    """A value behind moves of its elements: `axes` has, for each of its axes, the axis of the outer value along it.

    None stands for an axis of size 1. Axes of the outer value that none of them names are ones along which the
    value was broadcast, or are of size 1.
    """

    value: Value
    axes: Axes


def op_of(scope: Graph, v: Value, *kinds: str) -> Op | None:
    """Returns the op that makes a value, if it is of one of these kinds (of any, if none are named)."""
    maker = scope.producer.get(v)
    return maker if isinstance(maker, Op) and (not kinds or maker.kind in kinds) else None


def seen_through(scope: Graph, v: Value) -> Seen:
    """Returns what a value is before broadcasts, transpositions, and reshapes that only add or drop unit axes.

    >>> import jax
    >>> from memline.ir.trace import trace
    >>> program = trace(lambda x: x.T[:, None, :] + 0, jax.ShapeDtypeStruct((3, 5), "float32"))
    >>> seen = seen_through(program, program.nodes[-1].inputs[0])
    >>> seen.value is program.inputs[0], seen.axes
    (True, (2, 0))
    """
    axes: Axes = tuple(axis if size != 1 else None for axis, size in enumerate(v.shape))
    while (op := op_of(scope, v)) is not None:
        before = operand_axes(op, axes)
        if before is None:
            break
        v, axes = op.inputs[0], before
    return Seen(v, axes)


def operand_axes(op: Op, axes: Axes) -> Axes | None:
    """Returns the axes of the operand of an op that moves elements, those of its result given; None of other ops.

    >>> import jax
    >>> from memline.ir.trace import trace
    >>> program = trace(lambda x: x.T, jax.ShapeDtypeStruct((3, 5), "float32"))
    >>> operand_axes(program.nodes[0], (7, 8))
    (8, 7)
    """
    if op.kind in _SAME:
        return axes
    if op.kind == "broadcast_in_dim":
        places = op.params["broadcast_dimensions"]
        return tuple(axes[p] if size != 1 else None for p, size in zip(places, op.inputs[0].shape, strict=True))
    if op.kind == "transpose":
        before: list[int | None] = [None] * len(axes)
        for axis, p in zip(axes, op.params["permutation"], strict=True):
            before[p] = axis
        return tuple(before)
    if op.kind in ("reshape", "squeeze", "expand_dims"):
        given, made = op.inputs[0].shape, op.outputs[0].shape
        if op.params.get("dimensions") is not None and op.kind == "reshape":
            return None
        if [n for n in given if n != 1] != [n for n in made if n != 1]:
            return None
        kept = iter([axis for axis, n in zip(axes, made, strict=True) if n != 1])
        return tuple(next(kept) if n != 1 else None for n in given)
    return None


def is_usual(dtype: Any) -> bool:
    """Whether a type is one in which programs calculate: not of 8 bits or fewer if a float, nor a truth value.

    >>> import jax.numpy as jnp
    >>> is_usual(jnp.dtype("bfloat16")), is_usual(jnp.dtype("float8_e4m3fn")), is_usual(jnp.dtype(bool))
    (True, False, False)
    """
    return str(dtype) in _USUAL


def without_casts(scope: Graph, v: Value) -> Value:
    """Returns a value before conversions to wider floats, which keep every number as it is."""
    while (op := op_of(scope, v, "convert_element_type")) is not None and is_widening(op):
        v = op.inputs[0]
    return v
