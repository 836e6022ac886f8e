"""What a node becomes in the body of a loop that takes a chunk of an axis at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from jax import lax

from memline import compat
from memline.analysis.links import Along, piece_of
from memline.analysis.ways import Through
from memline.ir.build import Builder, rebuilt
from memline.ir.graph import Graph, Loop, Node, Op, Source, Value
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


def add_cut_op(
    builder: Builder, op: Op, dim: Dim, cut: Op, place: Value, memo: dict[Any, Any] | None = None
) -> Sequence[Value]:
    """Appends a cut op of a parallel dim, by its rule for places where it has one; returns its results.

    Args:
      builder: where to.
      op: the op as it was.
      dim: the dim that it is cut along.
      cut: the cut op, from `cut_op`.
      place: the chunk's first step, an int32 scalar.
      memo: where the rule's traces are kept, of one op always cut along the same dim.
    """
    rule = table.local_rule(op.primitive)
    if rule is None:
        return builder.add(cut)
    member = dim.results[0]
    unit = np.int32(member.unit)

    def local(first: Any, *operands: Any) -> Any:
        return rule(cut, op, member, first * unit, *operands)

    key = (op, "cut", *(v.shape for v in cut.outputs))
    return builder.call((key, local), place, *cut.inputs, source=op.source, memo=memo)


def cut_node(
    builder: Builder,
    node: Node,
    through: Through,
    operands: Sequence[Value],
    size: int,
    suffix: str,
    place: Value,
) -> tuple[Value, ...]:
    """Appends what does for a chunk of an axis what a loop, `while` or `cond` does for the whole; returns its results.

    Args:
      builder: where to.
      node: the node as it was.
      through: how the axis passes through it.
      operands: the node's operands, pieces of those that run along the axis.
      size: how many steps of the axis the chunk has.
      suffix: what is appended to the names of values in the bodies.
      place: the chunk's first step, an int32 scalar.
    """
    members = {m.position: Along(m.axis, m.unit) for m in through.dim.results}
    outputs = tuple(
        builder.value(cut_aval(v, members[at], size) if at in members else v.aval, f"{v.name}{suffix}")
        for at, v in enumerate(node.outputs)
    )
    if isinstance(node, Loop):
        return builder.add(_cut_loop(node, through, operands, outputs, size, suffix, place))
    return builder.add(_cut_branches(node, through, operands, outputs, size, suffix, place))


def _cut_loop(
    loop: Loop,
    through: Through,
    operands: Sequence[Value],
    outputs: tuple[Value, ...],
    size: int,
    suffix: str,
    place: Value,
) -> Loop:
    n_sliced, n_whole = len(loop.sliced), len(loop.whole)
    first_carry = n_sliced + n_whole
    whole = tuple(operands[n_sliced:first_carry])
    return replace(
        loop,
        length=_length(loop, through, size),
        sliced=tuple(replace(s, value=v) for s, v in zip(loop.sliced, operands, strict=False)),
        whole=(*whole, place) if through.wants_place else whole,
        carried=tuple(operands[first_carry:]),
        outputs=outputs,
        body=_Body(loop, 0, through, size, suffix).cut(1 + first_carry),
    )


def _cut_branches(
    op: Op,
    through: Through,
    operands: Sequence[Value],
    outputs: tuple[Value, ...],
    size: int,
    suffix: str,
    place: Value,
) -> Op:
    """Returns the `while` or the `cond` on pieces; the place, where it is wanted, is the last of the constants."""
    params, inputs = op.params, list(operands)
    if op.kind == "cond":
        counts = [len(body.inputs) for body in op.bodies]
        ends = [len(operands)]
    else:
        counts = [params["cond_nconsts"], params["body_nconsts"]]
        ends = [counts[0], sum(counts)]
    if through.wants_place:
        for at in reversed(ends):
            inputs.insert(at, place)
        params = {**params, **{key: params[key] + 1 for key in ("cond_nconsts", "body_nconsts") if key in params}}
    bodies = tuple(_Body(op, number, through, size, suffix).cut(count) for number, count in enumerate(counts))
    return replace(op, params=params, inputs=tuple(inputs), outputs=outputs, bodies=bodies)


def _length(loop: Loop, through: Through, size: int) -> int:
    """Returns how many of its own steps a loop makes of a chunk."""
    if not through.is_sequential:
        return loop.length
    members = (*through.dim.operands, *through.dim.results)
    units = [s.unit for s in (*loop.sliced, *loop.stacked)]
    return size * members[0].unit // units[0]


class _Body:
    """What becomes of one of the graphs that a node runs."""

    def __init__(self, node: Node, number: int, through: Through, size: int, suffix: str) -> None:
        self.number = number
        self.body: Graph = node.bodies[number]
        self.through = through
        self.size = size
        self.suffix = suffix
        scope = scope_of(self.body)
        self.builder = Builder(f"%b{scope}{suffix}.")
        self.env = {v: self._renamed(v) for v in self.body.inputs}
        name = f"%p{scope}{suffix}"
        while any(v.name == name for v in self.env.values()):  # the place of an earlier split
            name += "'"
        self.place = Value(compat.shaped((), np.dtype(np.int32)), name)

    def cut(self, place_at: int) -> Graph:
        """Returns the graph for a chunk; the place, where it is wanted, becomes its input at `place_at`."""
        inputs = [self.env[v] for v in self.body.inputs]
        if self.through.wants_place:
            inputs.insert(place_at, self.place)
        for node in self.body.nodes:
            self.env.update(zip(node.outputs, self._cut(node), strict=True))
        outputs = tuple(self._output(at, v) for at, v in enumerate(self.body.outputs))
        return Graph(tuple(inputs), tuple(self.builder.nodes), outputs)

    def _renamed(self, v: Value) -> Value:
        along = self.through.along.get(v)
        return Value(v.aval if along is None else cut_aval(v, along, self.size), f"{v.name}{self.suffix}")

    def _cut(self, node: Node) -> Sequence[Value]:
        through, builder = self.through, self.builder
        operands = [self._read(node, position) for position in range(len(node.inputs))]
        if node not in through.dims:
            return builder.add(rebuilt(node, operands, [self._renamed(v) for v in node.outputs]))
        if node.bodies:
            return cut_node(builder, node, through.inner[node], operands, self.size, self.suffix, self.place)
        assert isinstance(node, Op)
        dim = through.dims[node]
        cut = cut_op(node, operands, [self._renamed(v) for v in node.outputs])
        return builder.add(cut) if dim.fold is not None else add_cut_op(builder, node, dim, cut, self.place)

    def _read(self, node: Node, position: int) -> Value:
        v = node.inputs[position]
        if node in self.through.dims and self.through.is_cut_inside(node, position):
            piece = piece_of(self.through.dims[node], position)
            assert piece is not None
            return self._taken(v, piece, node.source)
        return self.env.get(v, v)

    def _output(self, at: int, v: Value) -> Value:
        piece = self.through.taken.get((self.number, at))
        return self.env.get(v, v) if piece is None else self._taken(v, piece, None)

    def _taken(self, v: Value, piece: Along, source: Source | None) -> Value:
        """Appends the taking of a chunk of something that the body has whole."""
        [taken] = self.builder.call(_slicer(piece, self.size), self.place, self.env.get(v, v), source=source)
        return taken


def scope_of(graph: Graph) -> str:
    """Returns what tells a graph's made-up names from those of the graphs around it and inside it."""
    first = next((v.name for v in graph.values()), "")
    _, at, rest = first.partition("@")
    return at + rest


def _slicer(piece: Along, size: int) -> Callable[..., Any]:
    unit = np.int32(piece.unit)
    return lambda first, x: lax.dynamic_slice_in_dim(x, first * unit, size * piece.unit, piece.axis)
