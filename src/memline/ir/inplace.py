"""Donated arrays that a loop writes over: chunk i of the new array goes where chunk i of the old one was.

A loop that stacks a result starts with an array of nobody's, and then the old array and the new one are there at the
same time. Where the result takes over a donated argument that the loop reads chunk by chunk, in just the pieces in
which it stacks the result, it can start with the old array instead: no chunk is read after it was written over.
Otherwise XLA has to copy the argument. Either way the results are the same; only the memory is not.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeAlias

from memline.ir.graph import Graph, Loop, Node, Value

Takers: TypeAlias = Mapping[int, int]
"""Which result takes over which donated argument, as places among a program's outputs and inputs."""
NO_TAKERS: Takers = MappingProxyType({})
# What XLA never computes inside the kernel that reads it.
_KERNELS = frozenset(
    """dot_general conv_general_dilated sort top_k cholesky triangular_solve
    reduce_sum reduce_max reduce_min reduce_prod argmax argmin cumsum cumprod cummax cummin""".split()
)
# Twice the size up to which XLA:CPU makes a function of a loop of its own accord, for it counts otherwise.
_SMALL_STEP_BYTES = 1 << 11
# What readers compute inside themselves: it is those that the loop waits for.
_MOVES = frozenset("transpose reshape squeeze broadcast_in_dim convert_element_type slice dynamic_slice copy".split())


@dataclass(frozen=True, eq=False)
class Takeover:
    """A stacked result of a loop that takes over a donated argument which the loop, or something later, reads.

    Attributes:
      loop: the loop.
      place: the result's place among those that the loop stacks.
      argument: the donated argument.
      objection: why the loop cannot write over the argument, so that it is copied; "" where it can.
    """

    loop: Loop
    place: int
    argument: Value
    objection: str


def takeovers(graph: Graph, takers: Takers) -> tuple[Takeover, ...]:
    """Returns how stacked results of the graph's own loops take over donated arguments that are still read.

    An argument that is also returned as it is has been copied into that result before any loop runs.

    Args:
      graph: the program; what its loops and branches run is not looked at, for arguments belong to the program.
      takers: which result takes over which argument.
    """
    if not takers:
        return ()
    order = {node: index for index, node in enumerate(graph.nodes)}
    found: dict[Value, Takeover] = {}
    begun: dict[Loop, dict[int, Value]] = {}
    for result_at, argument_at in takers.items():
        result, argument = graph.outputs[result_at], graph.inputs[argument_at]
        loop = graph.producer.get(result)
        if not isinstance(loop, Loop) or argument in found:
            continue
        place = loop.outputs.index(result) - len(loop.carried)
        last = max((order[node] for node, _ in graph.consumers.get(argument, ())), default=-1)
        over = begun.setdefault(loop, {})
        if place < 0 or last < order[loop] or place in over:
            continue
        objection = "something reads it after the loop that makes the new one" if last > order[loop] else ""
        objection = objection or _objection(loop, place, argument)
        if not objection:
            over[place] = argument
        found[argument] = Takeover(loop, place, argument, objection)
    return tuple(found.values())


def written_over(graph: Graph, takers: Takers) -> dict[Loop, dict[int, Value]]:
    """Returns, for each loop that writes over donated arguments, which of its stacked results starts with which."""
    found: dict[Loop, dict[int, Value]] = {}
    for each in takeovers(graph, takers):
        if not each.objection:
            found.setdefault(each.loop, {})[each.place] = each.argument
    return found


def read_before(graph: Graph, loop: Loop, arguments: Collection[Value]) -> tuple[Value, ...]:
    """Returns what is made of arguments before a loop writes over them, and does not reach the loop otherwise.

    XLA runs what does not depend on each other in any order, so that the loop has to be told to wait for these.
    """
    order = {node: index for index, node in enumerate(graph.nodes)}
    needed = _needed(graph, loop)

    def readers(v: Value) -> list[Node]:
        return [n for n, _ in graph.consumers.get(v, ()) if order[n] < order[loop] and n not in needed]

    found: dict[Value, None] = {}
    seen: set[Node] = set()
    todo = [node for v in arguments for node in readers(v)]
    while todo:
        node = todo.pop()
        if node in seen or not node.outputs:
            continue
        seen.add(node)
        result = min(node.outputs, key=lambda v: v.size_bytes)
        onwards = readers(result) if node.kind in _MOVES else []
        todo.extend(onwards)
        if not onwards:
            found.setdefault(result)
    return tuple(found)


def _needed(graph: Graph, loop: Loop) -> set[Node]:
    """Returns the nodes that a loop needs, directly or not."""
    needed: set[Node] = set()
    todo = list(loop.inputs)
    while todo:
        node = graph.producer.get(todo.pop())
        if node is not None and node not in needed:
            needed.add(node)
            todo.extend(node.inputs)
    return needed


def _objection(loop: Loop, place: int, argument: Value) -> str:
    """Returns why a loop cannot write a stacked result over an argument that nothing later reads; "" if it can."""
    stack, result = loop.stacked[place], loop.outputs[len(loop.carried) + place]
    if (argument.shape, argument.dtype) != (result.shape, result.dtype):
        return "the result that takes it over has another shape or type"
    if argument in (*loop.whole, *loop.carried):
        return "the loop that makes the new one reads it whole"
    if any((s.axis, s.unit) != (stack.axis, stack.unit) for s in loop.sliced if s.value is argument):
        return "the loop that makes the new one reads it in other pieces than it writes"
    return ""


def reads_first(loop: Loop, over: Mapping[int, Value]) -> bool:
    """Whether a loop has to read all old chunks before it writes a new one.

    By itself XLA reads old chunks where they lie, in the kernel of each result that is made of them. So a result has
    to be made before those that are written over what it is made of, and that may go round in a ring. It is a barrier
    that has them read first, and XLA:CPU knows none in the function that it makes of a loop whose chunks are small.

    Args:
      loop: the loop.
      over: which of its stacked results are written over which values.
    """
    if sum(v.size_bytes for v in loop.body.inputs[1 : 1 + len(loop.sliced)]) <= _SMALL_STEP_BYTES:
        return False
    before = _written_before(loop, over) if len(over) > 1 else {}
    while before:
        ready = {place for place, others in before.items() if others.isdisjoint(before)}
        if not ready:
            return True
        before = {place: others for place, others in before.items() if place not in ready}
    return False


def _written_before(loop: Loop, over: Mapping[int, Value]) -> dict[int, set[int]]:
    """Returns, for each result that is written over an argument, which others' kernels read that argument's chunks."""
    body = loop.body
    bits = {v: 1 << at for at, v in enumerate(over.values())}
    read: dict[Value, int] = {}
    for chunk, s in zip(body.inputs[1:], loop.sliced, strict=False):
        read[chunk] = bits.get(s.value, 0)
    for node in body.nodes:
        if node.inner or node.kind in _KERNELS:
            continue  # it has read its operands before anything that is made of it is written
        of_all = functools.reduce(operator.or_, (read.get(v, 0) for v in node.inputs), 0)
        read.update(dict.fromkeys(node.outputs, of_all))
    before: dict[int, set[int]] = {place: set() for place in over}
    places = list(over)
    for place in over:
        bits_read = read.get(body.outputs[len(loop.carried) + place], 0)
        while bits_read:
            at = bits_read.bit_length() - 1
            bits_read ^= 1 << at
            before[places[at]].add(place)
    for place, others in before.items():
        others.discard(place)
    return before
