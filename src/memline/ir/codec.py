"""A graph as plain data, and back; and its digest, which is the same in every process.

What is not plain in a graph, such as the jaxprs inside its ops, is told by where in an anchor it is found:
the program as it was written, which whoever reads the data has as well.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterator
from functools import cached_property
from typing import Any

import numpy as np

from memline import compat
from memline.ir.graph import Graph, Loop, Node, Op, Slice, Source, Stack, Value
from memline.ir.plain import NotPlain, Plain, from_plain, to_plain
from memline.ir.stable import Texts


def digest(graph: Graph) -> str:
    """Returns a digest of all of a graph but the lines of source that its nodes stand for.

    Two programs of one digest differ at most in the data of array constants and in functions that ops call.

    Raises:
      NotPlain: an op holds something of which no stable text can be made.

    >>> import jax
    >>> from memline.ir.trace import trace
    >>> shape = jax.ShapeDtypeStruct((3,), "float32")
    >>> digest(trace(lambda x: x + 1, shape)) == digest(trace(lambda y: y + 1, shape))
    True
    >>> digest(trace(lambda x: x + 1, shape)) == digest(trace(lambda x: x + 2, shape))
    False
    """
    text = json.dumps(_Digested().graph_data(graph), separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def encode(graph: Graph, anchor: Graph) -> Plain:
    """Returns a graph as plain data.

    Args:
      graph: a graph that passes made of `anchor`.
      anchor: the graph in which what is not plain is found.

    Raises:
      NotPlain: the graph holds something that the anchor does not.
    """
    return _Anchored(Anchor(anchor)).graph_data(graph)


def decode(data: Plain, anchor: Graph) -> Graph:
    """Returns the graph that `encode` told, given a graph of the same digest as the anchor had.

    Raises:
      NotPlain: the data is of another anchor or is not a graph's.

    >>> import jax
    >>> from memline.ir.trace import trace
    >>> graph = trace(lambda x: jax.numpy.sin(x) + 1, jax.ShapeDtypeStruct((3,), "float32"))
    >>> str(decode(encode(graph, graph), graph)) == str(graph)
    True
    """
    try:
        return _Reader(data, Anchor(anchor)).graph(data["graph"])
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise NotPlain(f"not a graph over this program: {error!r}") from error


class _Writer(ABC):
    """Writes a graph with tables of its values, of their types, and of its kinds of op.

    Nodes are written one after the other into flat lists of numbers: programs have thousands, and a list for
    each would cost more to read back than all the rest.
    """

    def __init__(self) -> None:
        self.avals: list[Plain] = []
        self.names: list[str] = []
        self.types: list[int] = []
        self.consts: list[Plain] = []
        self.kinds: list[Plain] = []
        self._avals: dict[Any, int] = {}
        self._values: dict[Value, int] = {}

    def graph_data(self, graph: Graph) -> Plain:
        written = self.graph(graph)
        tables = {"avals": self.avals, "names": self.names, "types": self.types, "consts": self.consts}
        return {**tables, "kinds": self.kinds, "graph": written}

    def graph(self, graph: Graph) -> Plain:
        inputs = [self.value(v) for v in graph.inputs]
        nodes: list[Plain] = []
        for node in graph.nodes:
            if isinstance(node, Loop):
                nodes.append({f.name: self.part(getattr(node, f.name)) for f in dataclasses.fields(node)})
                continue
            told = [self.kind(node), *map(self.value, (*node.inputs, *node.outputs)), self.source(node.source)]
            nodes += [{"op": told, "bodies": [self.graph(body) for body in node.bodies]}] if node.bodies else told
        return [inputs, nodes, [self.value(v) for v in graph.outputs]]

    def kind(self, op: Op) -> int:
        """Returns the number of an op's kind: all of it but its operands and results."""
        params = {k: to_plain(v, self.other) for k, v in sorted(op.params.items())}
        counts = len(op.inputs), len(op.outputs)
        return self.kind_number([op.kind, *counts, params, self.context(op), self.effects(op)])

    def kind_number(self, kind: list[Plain]) -> int:
        self.kinds.append(kind)
        return len(self.kinds) - 1

    def part(self, x: Any) -> Plain:
        """Returns what a loop holds: graphs, values and how they are cut, numbers."""
        if isinstance(x, Value):
            return ["v", self.value(x)]
        if isinstance(x, Graph):
            return ["g", self.graph(x)]
        if isinstance(x, Source):
            return ["at", self.source(x)]
        if isinstance(x, Slice | Stack):
            return [type(x).__name__, *(self.part(getattr(x, f.name)) for f in dataclasses.fields(x))]
        if isinstance(x, tuple):
            return ["t", *map(self.part, x)]
        return to_plain(x, self.other)

    def value(self, v: Value) -> int:
        number = self._values.get(v)
        if number is None:
            number = self._values[v] = len(self.names)
            known = self._avals.get(v.aval)
            if known is None:
                known = self._avals[v.aval] = len(self.avals)
                self.avals.append(self.aval(v))
            self.names.append(v.name)
            self.types.append(known)
            if v.is_const:
                self.consts.append([number, self.const(v)])
        return number

    @abstractmethod
    def other(self, x: Any) -> Plain:
        """Returns what is no plain data, somehow told."""

    @abstractmethod
    def aval(self, v: Value) -> Plain:
        """Returns a value's type."""

    @abstractmethod
    def const(self, v: Value) -> Plain:
        """Returns a constant's data."""

    @abstractmethod
    def context(self, op: Op) -> Plain:
        """Returns the settings under which an op was traced."""

    @abstractmethod
    def effects(self, op: Op) -> Plain:
        """Returns an op's side effects."""

    @abstractmethod
    def source(self, source: Source | None) -> Plain:
        """Returns the line of source that a node stands for."""


class _Digested(_Writer):
    """Writes what is not plain as stable texts, and no sources."""

    def __init__(self) -> None:
        super().__init__()
        self.texts = Texts()
        self._contexts: dict[Any, str] = {}

    def other(self, x: Any) -> Plain:
        return self.texts.of(x)

    def aval(self, v: Value) -> Plain:
        return self.texts.aval(v.aval)

    def const(self, v: Value) -> Plain:
        return self.texts.scalar(v.const)

    def context(self, op: Op) -> Plain:
        if op.context not in self._contexts:
            self._contexts[op.context] = repr(op.context)
        return self._contexts[op.context]

    def effects(self, op: Op) -> Plain:
        return sorted(map(str, op.effects))

    def source(self, source: Source | None) -> Plain:
        return -1


class Anchor:
    """A program, and where in it things are found: by the number of an op, or by the name of a value."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph

    @cached_property
    def ops(self) -> list[Op]:
        return list(_ops(self.graph))

    @cached_property
    def values(self) -> dict[str, Value]:
        return {v.name: v for v in _values(self.graph)}

    @cached_property
    def primitives(self) -> dict[str, Any]:
        return {**compat.exported_primitives(), **{op.kind: op.primitive for op in self.ops}}

    @cached_property
    def objects(self) -> dict[int, Plain]:
        """Where params hold what is not plain, by identity: the op, the param, and the places inside it."""
        found: dict[int, Plain] = {}

        def walk(x: Any, place: list[Plain]) -> None:
            if type(x) in _PLAIN:
                return
            found.setdefault(id(x), place)
            if isinstance(x, tuple | list):
                for index, y in enumerate(x):
                    walk(y, [*place, index])

        for number, op in enumerate(self.ops):
            for name, x in op.params.items():
                walk(x, [number, name])
        return found

    def object_at(self, place: list[Any]) -> Any:
        number, name, *indices = place
        found = self.ops[number].params[name]
        for index in indices:
            found = found[index]
        return found

    def first(self, of: str) -> dict[Any, int]:
        """Returns for each context, source or set of effects the first op that has it."""
        found: dict[Any, int] = {}
        for number, op in enumerate(self.ops):
            found.setdefault(getattr(op, of), number)
        return found


class _Anchored(_Writer):
    """Writes what is not plain as places in an anchor."""

    def __init__(self, anchor: Anchor) -> None:
        super().__init__()
        self.anchor = anchor
        self._kinds: dict[str, int] = {}
        self._contexts = anchor.first("context")
        self._sources = anchor.first("source")
        self._effects = anchor.first("effects")
        self._ambient = compat.ambient_context()

    def kind_number(self, kind: list[Plain]) -> int:
        text = json.dumps(kind)
        if text not in self._kinds:
            self._kinds[text] = super().kind_number(kind)
        return self._kinds[text]

    def other(self, x: Any) -> Plain:
        if id(x) in self.anchor.objects:
            return ["in", self.anchor.objects[id(x)]]
        raise NotPlain(f"a {type(x).__qualname__} that the program as written does not hold")

    def aval(self, v: Value) -> Plain:
        aval = v.aval
        if compat.is_array_aval(aval) and compat.is_usual_aval(aval) and isinstance(aval.dtype, np.dtype):
            return [list(map(int, aval.shape)), to_plain(aval.dtype, self.other), bool(aval.weak_type)]
        known = self.anchor.values.get(v.name)
        if known is None or known.aval != aval:
            raise NotPlain(f"the type {aval} of {v.name}, which the program as written does not hold")
        return known.name

    def const(self, v: Value) -> Plain:
        if self.anchor.values.get(v.name) is v:
            return None
        if np.shape(v.const) == () and isinstance(v.dtype, np.dtype):
            data = np.asarray(v.const)
            return [to_plain(data.dtype, self.other), data.tobytes().hex()]
        raise NotPlain(f"the constant {v.name}, which the program as written does not hold")

    def context(self, op: Op) -> Plain:
        if op.context is None:
            return "none"
        if op.context in self._contexts:
            return self._contexts[op.context]
        if op.context == self._ambient:
            return "ambient"
        raise NotPlain(f"the context of {op.kind}, which the program as written does not hold")

    def effects(self, op: Op) -> Plain:
        if not op.effects:
            return None
        if op.effects in self._effects:
            return self._effects[op.effects]
        raise NotPlain(f"the effects of {op.kind}, which the program as written does not hold")

    def source(self, source: Source | None) -> Plain:
        return self._sources.get(source, -1)


class _Reader:
    """Reads what `_Anchored` wrote."""

    def __init__(self, data: Plain, anchor: Anchor) -> None:
        self.anchor = anchor
        self.ambient = compat.ambient_context()
        avals = [self._aval(each) for each in data["avals"]]
        types = [avals[number] for number in data["types"]]
        self.values = list(map(Value, types, data["names"]))
        for number, const in data["consts"]:
            self.values[number] = self._const(self.values[number], const)
        self.kinds = [self._kind(*each) for each in data["kinds"]]
        self.sources = [*(op.source for op in anchor.ops), None]  # -1 is the last

    def graph(self, data: Plain) -> Graph:
        inputs, numbers, outputs = data
        return Graph(self._all(inputs), tuple(self._nodes(numbers)), self._all(outputs))

    def _all(self, numbers: list[int]) -> tuple[Value, ...]:
        return tuple(map(self.values.__getitem__, numbers))

    def _nodes(self, numbers: list[Any]) -> Iterator[Node]:
        at = 0
        while at < len(numbers):
            number = numbers[at]
            at += 1
            if isinstance(number, dict) and "op" in number:
                [op] = self._nodes(number["op"])
                assert isinstance(op, Op)  # nothing else is told as a list of numbers
                yield dataclasses.replace(op, bodies=tuple(map(self.graph, number["bodies"])))
                continue
            if isinstance(number, dict):
                yield Loop(**{name: self._part(each) for name, each in number.items()})
                continue
            primitive, n_inputs, n_outputs, params, context, effects = self.kinds[number]
            middle = at + n_inputs
            end = middle + n_outputs
            inputs, outputs = self._all(numbers[at:middle]), self._all(numbers[middle:end])
            yield Op(primitive, params, inputs, outputs, self.sources[numbers[end]], context, effects)
            at = end + 1

    def _part(self, data: Plain) -> Any:
        if not isinstance(data, list):
            return data
        tag, *rest = data
        if tag == "v":
            return self.values[rest[0]]
        if tag == "g":
            return self.graph(rest[0])
        if tag == "at":
            return self.sources[rest[0]]
        if tag == "t":
            return tuple(map(self._part, rest))
        if tag in _CUTS:
            return _CUTS[tag](*map(self._part, rest))
        return from_plain(data, self._other)

    def _kind(
        self, name: str, n_inputs: int, n_outputs: int, params: Plain, context: Plain, effects: Plain
    ) -> tuple[Any, ...]:
        primitive = self.anchor.primitives.get(name) or compat.named_primitive(name)
        if primitive is None:
            raise NotPlain(f"the primitive {name} is not known here")
        held = frozenset() if effects is None else self.anchor.ops[effects].effects
        read = {k: from_plain(v, self._other) for k, v in params.items()}
        return primitive, n_inputs, n_outputs, read, self._context(context), held

    def _context(self, data: Plain) -> Any:
        if data == "none":
            return None
        return self.ambient if data == "ambient" else self.anchor.ops[data].context

    def _aval(self, data: Plain) -> Any:
        if isinstance(data, str):
            return self.anchor.values[data].aval
        shape, dtype, weak = data
        return compat.shaped(shape, from_plain(dtype, self._other), weak)

    def _const(self, v: Value, data: Plain) -> Value:
        if data is None:
            return self.anchor.values[v.name]
        dtype, digits = data
        return Value(v.aval, v.name, np.frombuffer(bytes.fromhex(digits), from_plain(dtype, self._other))[0])

    def _other(self, data: list[Any]) -> Any:
        if data[0] != "in":
            raise NotPlain(f"no tag of plain data: {data[0]!r}")
        return self.anchor.object_at(data[1])


_PLAIN = frozenset([type(None), bool, int, str, float])
_CUTS: dict[str, Any] = {"Slice": Slice, "Stack": Stack}


def _ops(graph: Graph) -> Iterator[Op]:
    for node in graph.nodes:
        if isinstance(node, Op):
            yield node
        for body in node.bodies:
            yield from _ops(body)


def _values(graph: Graph) -> Iterator[Value]:
    yield from graph.consts
    yield from graph.values()
    for node in graph.nodes:
        for body in node.bodies:
            yield from _values(body)
