"""Values, ops, loops and graphs: the immutable form in which a program is planned.

A `Graph` is a list of nodes in program order. There are two kinds of node: `Op`, one JAX primitive,
and `Loop`, which runs a body graph over chunks of one axis. Values are compared by identity; their
names are stable under passes and unique in a graph, so that a move can say which value it means.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeAlias

from memline import compat


@dataclass(frozen=True)
class Source:
    """A place in the user's code: file, line and function."""

    file: str
    line: int
    function: str
    traceback: Any = field(default=None, compare=False, repr=False)
    """JAX's own traceback, so that the compiled program can name the place too; None where it is not at hand."""

    def __str__(self) -> str:
        return f"{self.file.rsplit('/', 1)[-1]}:{self.line} ({self.function})"


@dataclass(frozen=True, eq=False)
class Value:
    """An array in a graph: an abstract array and a name; a constant also has its data."""

    aval: Any
    name: str
    const: Any = None

    @property
    def is_const(self) -> bool:
        """Whether the value's data is part of the program."""
        return self.const is not None

    @cached_property
    def shape(self) -> tuple[int, ...]:
        return self.aval.shape if compat.is_array_aval(self.aval) else ()

    @property
    def dtype(self) -> Any:
        return getattr(self.aval, "dtype", None)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @cached_property
    def size_bytes(self) -> int:
        """Bytes the whole array takes in memory; 0 for tokens and other non-arrays."""
        if not compat.is_array_aval(self.aval):
            return 0
        return math.prod(self.aval.shape) * compat.itemsize_bytes(self.aval.dtype)

    def __repr__(self) -> str:
        return f"{self.name}:{self.aval.str_short()}"


@dataclass(frozen=True, eq=False)
class Op:
    """One application of a JAX primitive."""

    primitive: Any
    params: dict[str, Any]
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]
    source: Source | None = None
    context: Any = field(default=None, repr=False)
    effects: frozenset[Any] = frozenset()
    bodies: tuple[Graph, ...] = ()
    """What the op runs: a `while` its test and its body, a `cond` one of its branches. Constants of the test and of
    the body come first among a `while`'s operands; a `cond`'s first operand says which branch."""

    @property
    def inner(self) -> tuple[Graph, ...]:
        """What the op runs, each graph once: its bodies."""
        return self.bodies

    @property
    def carried(self) -> tuple[Value, ...]:
        """What an opened `while` begins with: its last operands, one for each result. Other ops carry nothing."""
        if self.kind != "while" or not self.bodies:
            return ()
        return self.inputs[self.params["cond_nconsts"] + self.params["body_nconsts"] :]

    @property
    def kind(self) -> str:
        """The primitive's name, as JAX prints it."""
        return self.primitive.name


@dataclass(frozen=True)
class Slice:
    """A value that a loop reads one chunk at a time: `unit` elements of `axis` per step of the loop."""

    value: Value
    axis: int
    unit: int


@dataclass(frozen=True)
class Stack:
    """Where the chunks of a loop's stacked result go: `unit` elements of `axis` per step of the loop."""

    axis: int
    unit: int


@dataclass(frozen=True, eq=False)
class Loop:
    """Runs `body` over chunks of one axis, carrying accumulators and stacking chunks of results.

    The axis has `length` steps; each iteration takes `chunk` of them, and what is left over runs once
    through `tail`. A body's inputs are: the first step of the chunk (int32 scalar), a chunk of every
    `sliced` value, every `whole` value, every accumulator. Its outputs are the new accumulators, then
    one chunk for every entry of `stacked`. The loop's outputs are the last accumulators and the
    stacked arrays, in that order.
    """

    length: int
    chunk: int
    sliced: tuple[Slice, ...]
    whole: tuple[Value, ...]
    carried: tuple[Value, ...]
    stacked: tuple[Stack, ...]
    outputs: tuple[Value, ...]
    body: Graph
    tail: Graph | None
    source: Source | None = None
    reverse: bool = False
    """Whether the last chunk comes first, the tail before all others."""

    @property
    def inputs(self) -> tuple[Value, ...]:
        return (*(s.value for s in self.sliced), *self.whole, *self.carried)

    @property
    def trips(self) -> int:
        """How many times the body runs, the tail not counted."""
        return self.length // self.chunk

    @property
    def bodies(self) -> tuple[Graph, ...]:
        return (self.body,) if self.tail is None else (self.body, self.tail)

    @property
    def inner(self) -> tuple[Graph, ...]:
        """What the loop runs, each graph once: its body, for the tail is the same on fewer steps."""
        return (self.body,)

    @property
    def kind(self) -> str:
        return "loop"


Node: TypeAlias = Op | Loop


@dataclass(frozen=True, eq=False)
class Graph:
    """A program: inputs, nodes in an order in which every value is made before it is used, outputs."""

    inputs: tuple[Value, ...]
    nodes: tuple[Node, ...]
    outputs: tuple[Value, ...]

    @cached_property
    def producer(self) -> dict[Value, Node]:
        """The node that makes each value; inputs and constants are absent."""
        return {v: node for node in self.nodes for v in node.outputs}

    @cached_property
    def consumers(self) -> dict[Value, tuple[tuple[Node, int], ...]]:
        """For each value, the nodes that use it with the position at which they do."""
        uses: dict[Value, list[tuple[Node, int]]] = {}
        for node in self.nodes:
            for position, v in enumerate(node.inputs):
                uses.setdefault(v, []).append((node, position))
        return {v: tuple(u) for v, u in uses.items()}

    @cached_property
    def consts(self) -> tuple[Value, ...]:
        """The constants in use, each once, in order of first use; loop bodies are searched too."""
        found: dict[Value, None] = {}
        for node in self.nodes:
            for v in node.inputs:
                if v.is_const:
                    found.setdefault(v)
            for body in node.bodies:
                for v in body.consts:
                    found.setdefault(v)
        for v in self.outputs:
            if v.is_const:
                found.setdefault(v)
        return tuple(found)

    @cached_property
    def dtypes(self) -> frozenset[Any]:
        """The types of all values of this graph (not of loop bodies)."""
        return frozenset(v.dtype for v in self.values())

    @cached_property
    def size(self) -> int:
        """The number of nodes, those of bodies included, those of tails not."""
        return len(self.nodes) + sum(body.size for node in self.nodes for body in node.inner)

    def values(self) -> Iterator[Value]:
        """Yields the inputs and every value made by a node of this graph (not of loop bodies)."""
        yield from self.inputs
        for node in self.nodes:
            yield from node.outputs

    def __str__(self) -> str:
        from memline.ir.text import graph_text

        return graph_text(self)
