"""What a node becomes in the body of a loop that takes a chunk of an axis at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from jax import lax

from memline import compat
from memline.analysis.links import Along, piece_of
from memline.analysis.through import Through
from memline.ir.build import Builder, rebuilt
from memline.ir.graph import Graph, Loop, Node, Op, Value
from memline.rules import table
from memline.rules.table import Dim


def cut_aval(v: Value, along: Along, size: int) -> Any:
    """Returns the type of `size` steps of a value."""
    shape = list(v.shape)
    shape[along.axis] = size * along.unit
    return compat.shaped(shape, v.dtype, getattr(v.aval, "weak_type", False))


def cut_op(op: Op, operands: Sequence[Value], outputs: Sequence[Value]) -> Op:
    """Returns an op on operands and results of other sizes."""
    params = table.resized_params(op, [v.shape for v in operands], [v.shape for v in outputs])
    return Op(op.primitive, params, tuple(operands), tuple(outputs), op.source, op.context)


def add_cut_op(builder: Builder, op: Op, dim: Dim, cut: Op, place: Value) -> Sequence[Value]:
    """Appends a cut op of a parallel dim, by its rule for places where it has one; returns its results.

    Args:
      builder: where to.
      op: the op as it was.
      dim: the dim that it is cut along.
      cut: the cut op, from `cut_op`.
      place: the chunk's first step, an int32 scalar.
    """
    rule = table.local_rule(op.primitive)
    if rule is None:
        return builder.add(cut)
    member = dim.results[0]
    unit = np.int32(member.unit)
    return builder.call(
        lambda first, *operands: rule(cut, op, member, first * unit, *operands), place, *cut.inputs, source=op.source
    )


def cut_loop(
    builder: Builder,
    loop: Loop,
    through: Through,
    operands: Sequence[Value],
    size: int,
    suffix: str,
    place: Value,
) -> tuple[Value, ...]:
    """Appends a loop that does for a chunk of an axis what `loop` does for the whole; returns its results.

    Args:
      builder: where to.
      loop: the loop as it was.
      through: how the axis passes through it.
      operands: the loop's operands, pieces of those that run along the axis.
      size: how many steps of the axis the chunk has.
      suffix: what is appended to the names of values in the body.
      place: the chunk's first step, an int32 scalar.
    """
    n_sliced, n_whole = len(loop.sliced), len(loop.whole)
    first_carry = n_sliced + n_whole
    whole = tuple(operands[n_sliced:first_carry])
    members = {m.position: Along(m.axis, m.unit) for m in through.dim.results}
    outputs = tuple(
        builder.value(cut_aval(v, members[at], size) if at in members else v.aval, f"{v.name}{suffix}")
        for at, v in enumerate(loop.outputs)
    )
    return builder.add(
        replace(
            loop,
            length=_length(loop, through, size),
            sliced=tuple(replace(s, value=v) for s, v in zip(loop.sliced, operands, strict=False)),
            whole=(*whole, place) if through.wants_place else whole,
            carried=tuple(operands[first_carry:]),
            outputs=outputs,
            body=_cut_body(loop, through, size, suffix),
        )
    )


def _length(loop: Loop, through: Through, size: int) -> int:
    """Returns how many of its own steps a loop makes of a chunk."""
    if not through.is_sequential:
        return loop.length
    members = (*through.dim.operands, *through.dim.results)
    units = [s.unit for s in (*loop.sliced, *loop.stacked)]
    return size * members[0].unit // units[0]


def _cut_body(loop: Loop, through: Through, size: int, suffix: str) -> Graph:
    body = loop.body
    scope = body.inputs[0].name.removeprefix("%i")
    builder = Builder(f"%b{scope}{suffix}.")

    def renamed(v: Value) -> Value:
        along = through.along.get(v)
        return Value(v.aval if along is None else cut_aval(v, along, size), f"{v.name}{suffix}")

    env = {v: renamed(v) for v in body.inputs}
    inputs = [env[v] for v in body.inputs]
    name = f"%p{scope}{suffix}"
    while any(v.name == name for v in inputs):  # the place of an earlier split
        name += "'"
    place = Value(compat.shaped((), np.dtype(np.int32)), name)
    if through.wants_place:
        inputs.insert(1 + len(loop.sliced) + len(loop.whole), place)

    def read(node: Node, position: int) -> Value:
        v = node.inputs[position]
        if node in through.dims and through.is_cut_inside(node, position):
            piece = piece_of(through.dims[node], position)
            assert piece is not None
            [taken] = builder.call(_slicer(piece, size), place, env.get(v, v), source=node.source)
            return taken
        return env.get(v, v)

    for node in body.nodes:
        operands = [read(node, position) for position in range(len(node.inputs))]
        if node not in through.dims:
            results = builder.add(rebuilt(node, operands, [renamed(v) for v in node.outputs]))
        elif isinstance(node, Loop):
            results = cut_loop(builder, node, through.inner[node], operands, size, suffix, place)
        else:
            dim = through.dims[node]
            cut = cut_op(node, operands, [renamed(v) for v in node.outputs])
            results = builder.add(cut) if dim.fold is not None else add_cut_op(builder, node, dim, cut, place)
        env.update(zip(node.outputs, results, strict=True))
    return Graph(tuple(inputs), tuple(builder.nodes), tuple(env.get(v, v) for v in body.outputs))


def _slicer(piece: Along, size: int) -> Callable[..., Any]:
    unit = np.int32(piece.unit)
    return lambda first, x: lax.dynamic_slice_in_dim(x, first * unit, size * piece.unit, piece.axis)
