"""Donated arrays that a loop writes over: chunk i of the new array goes where chunk i of the old one was.

A loop that stacks a result starts with an array of nobody's, and then the old array and the new one are there at the
same time. Where the result takes over a donated argument that the loop reads chunk by chunk, in just the pieces in
which it stacks the result, it can start with the old array instead: no chunk is read after it was written over.
Otherwise XLA has to copy the argument. Either way the results are the same; only the memory is not.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeAlias

from memline.ir.graph import Graph, Loop, Value

Takers: TypeAlias = Mapping[int, int]
"""Which result takes over which donated argument, as places among a program's outputs and inputs."""
NO_TAKERS: Takers = MappingProxyType({})


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

    Args:
      graph: the program; what its loops and branches run is not looked at, for arguments belong to the program.
      takers: which result takes over which argument.
    """
    order = {node: index for index, node in enumerate(graph.nodes)}
    found: list[Takeover] = []
    begun: set[tuple[Loop, int]] = set()
    given: set[Value] = set()
    for result_at, argument_at in takers.items():
        result, argument = graph.outputs[result_at], graph.inputs[argument_at]
        loop = graph.producer.get(result)
        if not isinstance(loop, Loop) or argument in given:
            continue
        place = loop.outputs.index(result) - len(loop.carried)
        last = max((order[node] for node, _ in graph.consumers.get(argument, ())), default=-1)
        if place < 0 or (last < order[loop] and argument not in graph.outputs):
            continue
        objection = _objection(graph, loop, place, argument, is_last=last == order[loop])
        if not objection and (loop, place) in begun:
            objection = "the result takes over another argument already"
        begun.add((loop, place))
        given.add(argument)
        found.append(Takeover(loop, place, argument, objection))
    return tuple(found)


def written_over(graph: Graph, takers: Takers) -> dict[Loop, dict[int, Value]]:
    """Returns, for each loop that writes over donated arguments, which of its stacked results starts with which."""
    found: dict[Loop, dict[int, Value]] = {}
    for each in takeovers(graph, takers):
        if not each.objection:
            found.setdefault(each.loop, {})[each.place] = each.argument
    return found


def _objection(graph: Graph, loop: Loop, place: int, argument: Value, *, is_last: bool) -> str:
    """Returns why a loop cannot write a stacked result over an argument; "" if it can."""
    stack, result = loop.stacked[place], loop.outputs[len(loop.carried) + place]
    if argument in graph.outputs:
        return "it is also a result as it is"
    if not is_last:
        return "something reads it after the loop that makes the new one"
    if (argument.shape, argument.dtype) != (result.shape, result.dtype):
        return "the result that takes it over has another shape or type"
    if argument in (*loop.whole, *loop.carried):
        return "the loop that makes the new one reads it whole"
    if any((s.axis, s.unit) != (stack.axis, stack.unit) for s in loop.sliced if s.value is argument):
        return "the loop that makes the new one reads it in other pieces than it writes"
    return ""
