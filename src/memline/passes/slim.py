"""Has a loop leave a smaller tape behind: what follows from the rest is computed again where it is read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from memline.analysis.tape import Tape
from memline.ir.build import Builder, rebuilt
from memline.ir.graph import Graph, Loop, Node, Slice, Stack, Value


def slim(graph: Graph, tape: Tape) -> Graph:
    """Returns the graph with a tape as `analysis.tape.tapes` found that it can be."""
    writer, added = _writer(tape)
    readers = {reader: _Reader(reader, tape, added).run() for reader in tape.readers}
    changed: dict[Node, Loop] = {tape.writer: writer, **readers}
    return Graph(graph.inputs, tuple(changed.get(node, node) for node in graph.nodes), graph.outputs)


def _writer(tape: Tape) -> tuple[Loop, dict[Value, Value]]:
    """Returns the loop that writes the tape, and the stacked array of each value that it stacks anew."""
    loop, body = tape.writer, tape.writer.body
    n_carried = len(loop.carried)
    builder = Builder(f"{loop.outputs[0].name}t{body.size}.")
    pieces = [v for at, v in enumerate(body.outputs) if at not in tape.dropped]
    outputs = [v for at, v in enumerate(loop.outputs) if at not in tape.dropped]
    stacked = [s for at, s in enumerate(loop.stacked) if at + n_carried not in tape.dropped]
    added: dict[Value, Value] = {}
    for v in tape.stacked:
        pieces.extend(builder.call(lambda x: x[None], v, source=loop.source))
        shape = (loop.length, *v.shape)
        added[v] = builder.value(v.aval.update(shape=shape))
        outputs.append(added[v])
        stacked.append(Stack(0, 1))
    new_body = Graph(body.inputs, (*body.nodes, *builder.nodes), tuple(pieces))
    return replace(loop, stacked=tuple(stacked), outputs=tuple(outputs), body=new_body), added


class _Reader:
    """One loop that reads the tape, as it reads the smaller one."""

    def __init__(self, reader: Loop, tape: Tape, added: dict[Value, Value]) -> None:
        self.reader = reader
        self.tape = tape
        self.builder = Builder(f"{reader.outputs[0].name}t{reader.body.size}.")
        self.sliced: list[tuple[Slice, Value]] = list(
            zip(reader.sliced, reader.body.inputs[1 : 1 + len(reader.sliced)], strict=True)
        )
        self.whole: list[tuple[Value, Value]] = list(
            zip(reader.whole, reader.body.inputs[1 + len(reader.sliced) :], strict=False)
        )
        self.env: dict[Value, Value] = {tape.writer.body.inputs[0]: reader.body.inputs[0]}
        for v, array in added.items():
            chunk = self._sliced(Slice(array, 0, 1))
            [self.env[v]] = self.builder.call(lambda x: x[0], chunk, source=reader.source)

    def run(self) -> Loop:
        reader, dropped = self.reader, {self.tape.writer.outputs[at]: at for at in self.tape.dropped}
        again: dict[Value, Value] = {}
        for s, chunk in list(self.sliced):
            if s.value in dropped:
                again[chunk] = self._value(self.tape.writer.body.outputs[dropped[s.value]])
                self.sliced.remove((s, chunk))
        n_fixed = 1 + len(reader.sliced) + len(reader.whole)
        inputs = (
            reader.body.inputs[0],
            *(chunk for _, chunk in self.sliced),
            *(inner for _, inner in self.whole),
            *reader.body.inputs[n_fixed:],
        )
        nodes = [_reading(node, again) for node in reader.body.nodes]
        outputs = tuple(again.get(v, v) for v in reader.body.outputs)
        return replace(
            reader,
            sliced=tuple(s for s, _ in self.sliced),
            whole=tuple(v for v, _ in self.whole),
            body=Graph(inputs, (*self.builder.nodes, *nodes), outputs),
        )

    def _value(self, v: Value) -> Value:
        """Returns a value of the writer's body in the reader's, computed there if need be."""
        if v.is_const:
            return v
        if v not in self.env:
            self.env[v] = self._found(v) or self._computed(v)
        return self.env[v]

    def _found(self, v: Value) -> Value | None:
        """Returns what the reader can slice, or has whole, of a value of the writer's body."""
        loop, body = self.tape.writer, self.tape.writer.body
        for at, out in enumerate(body.outputs[len(loop.carried) :], len(loop.carried)):
            if out is v and at not in self.tape.dropped:
                stack = loop.stacked[at - len(loop.carried)]
                return self._sliced(Slice(loop.outputs[at], stack.axis, stack.unit))
        if v not in body.inputs:
            return None
        index = body.inputs.index(v) - 1
        if index < len(loop.sliced):
            return self._sliced(loop.sliced[index])
        array = loop.whole[index - len(loop.sliced)]
        return self._known(self.whole, array) or self._taken(self.whole, array, array.aval)

    def _computed(self, v: Value) -> Value:
        maker = self.tape.writer.body.producer[v]
        operands = [self._value(x) for x in maker.inputs]
        fresh = [self.builder.value(x.aval) for x in maker.outputs]
        self.builder.add(rebuilt(maker, operands, fresh))
        return fresh[maker.outputs.index(v)]

    def _sliced(self, s: Slice) -> Value:
        shape = list(s.value.shape)
        shape[s.axis] = s.unit
        return self._known(self.sliced, s) or self._taken(self.sliced, s, s.value.aval.update(shape=tuple(shape)))

    def _known(self, taken: Sequence[tuple[Any, Value]], what: Any) -> Value | None:
        return next((inner for outer, inner in taken if outer == what), None)

    def _taken(self, taken: list[Any], what: Any, aval: Any) -> Value:
        inner = self.builder.value(aval)
        taken.append((what, inner))
        return inner


def _reading(node: Node, again: dict[Value, Value]) -> Node:
    if not any(v in again for v in node.inputs):
        return node
    return rebuilt(node, [again.get(v, v) for v in node.inputs], node.outputs)
