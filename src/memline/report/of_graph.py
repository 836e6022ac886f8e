"""What a report tells of a graph: its steps, its loops and branches as bands, and the values that take memory.

A program of many nodes is told in fewer steps: the moment of the peak keeps a step of its own, so that what is alive
there is told exactly.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

from memline.analysis.peak import Moment, Peak
from memline.ir.graph import Graph, Loop, Node, Source, Value
from memline.report.record import Band, Held, Place, Step

MOST_STEPS = 2000
MOST_VALUES = 4000
MOST_BANDS = 400


@dataclass(frozen=True)
class Told:
    """The part of a `Program` that its graph says; fields as there."""

    steps: tuple[Step, ...]
    bands: tuple[Band, ...]
    values: tuple[Held, ...]
    peak: int
    at_peak: tuple[int, ...]
    omitted: int
    omitted_bytes: int
    omitted_bands: int


def told(graph: Graph, peak: Peak, names: Sequence[str] = ()) -> Told:
    """Returns what a report tells of a graph.

    Args:
      graph: the program.
      peak: its use of memory, from `analysis.peak`.
      names: what the user calls each input, where that is known.
    """
    at = _steps_of(peak)
    last_step = at[-1] if at else 0
    worst = _worst(peak)
    held = [*_fixed(graph, names, last_step), *_temporaries(graph, peak, at)]
    alive = at[worst] if at else 0
    values, omitted, omitted_bytes = _largest(held, alive)
    now = [number for number, each in enumerate(values) if each.first <= alive <= each.last]
    bands, omitted_bands = _bands(peak, at)
    return Told(
        _steps(peak, at),
        bands,
        values,
        alive,
        tuple(sorted(now, key=lambda number: -values[number].size_bytes)),
        omitted,
        omitted_bytes,
        omitted_bands,
    )


def place_of(source: Source | None) -> Place | None:
    """Returns a source line as a report has it."""
    return None if source is None else Place(source.file, source.line, source.function)


def _worst(peak: Peak) -> int:
    """Returns the number of the moment that `Peak.worst` is."""
    return max(range(len(peak.moments)), key=lambda index: peak.moments[index].total_bytes, default=0)


def _steps_of(peak: Peak) -> list[int]:
    """Returns the step of each moment: its own, or in a long program one that it shares with its neighbours."""
    count = len(peak.moments)
    if count <= MOST_STEPS:
        return list(range(count))
    worst = _worst(peak)
    width = -(-count // (MOST_STEPS - 3))  # the peak cuts one step into three
    steps: list[int] = []
    for index in range(count):
        begins = index % width == 0 or index in (worst, worst + 1)
        steps.append(steps[-1] + begins if steps else 0)
    return steps


def _steps(peak: Peak, at: Sequence[int]) -> tuple[Step, ...]:
    if not peak.moments:
        return (Step("return", None, peak.total_bytes, 0),)
    most: dict[int, Moment] = {}
    covers: dict[int, int] = {}
    for moment, step in zip(peak.moments, at, strict=True):
        covers[step] = covers.get(step, 0) + 1
        if step not in most or moment.total_bytes > most[step].total_bytes:
            most[step] = moment
    return tuple(Step(m.node.kind, place_of(m.node.source), m.total_bytes, covers[step]) for step, m in most.items())


def _fixed(graph: Graph, names: Sequence[str], last: int) -> list[Held]:
    """Returns arguments, constants and results: they are held throughout."""
    found = [
        Held(v.name, _type(v), v.size_bytes, "argument", "", None, 0, last, names[k] if k < len(names) else "")
        for k, v in enumerate(graph.inputs)
    ]
    found += [Held(v.name, _type(v), v.size_bytes, "constant", "", None, 0, last) for v in graph.consts]
    made = dict.fromkeys(v for v in graph.outputs if v in graph.producer)
    # What is passed through is copied, and each time that it is.
    for v in (*made, *(v for v in graph.outputs if v not in graph.producer)):
        op, place = _origin(graph.producer.get(v))
        found.append(Held(v.name, _type(v), v.size_bytes, "output", op or "copy", place, 0, last))
    return found


def _temporaries(graph: Graph, peak: Peak, at: Sequence[int]) -> list[Held]:
    found = []
    makers = _Makers(peak)
    for life in peak.lives:
        v = life.value
        op, place = makers.of(v)
        if v in graph.inputs:
            op = "copy"  # of a donated argument that a loop cannot write over
        found.append(Held(v.name, _type(v), life.size_bytes, "temporary", op, place, at[life.first], at[life.last]))
    for index, moment in enumerate(peak.moments):
        if moment.scratch_bytes > 0:
            op, place = _origin(moment.node)
            name = next((v.name for v in moment.node.outputs), "")
            found.append(Held(name, "scratch", moment.scratch_bytes, "temporary", op, place, at[index], at[index]))
    return found


class _Makers:
    """Which node made each value of a program, those inside of loops and branches too."""

    def __init__(self, peak: Peak) -> None:
        self._known: dict[Value, tuple[str, Place | None]] = {}
        for moment in peak.moments:
            self._known.update(dict.fromkeys(moment.node.outputs, _origin(moment.node)))
            if isinstance(moment.node, Loop):  # chunks that it copies out of what it slices
                _, place = _origin(moment.node)
                self._known.update(dict.fromkeys(moment.node.body.inputs, ("slice", place)))

    def of(self, v: Value) -> tuple[str, Place | None]:
        return self._known.get(v, ("", None))


def _origin(node: Node | None) -> tuple[str, Place | None]:
    return ("", None) if node is None else (node.kind, place_of(node.source))


def _type(v: Value) -> str:
    return str(v.aval.str_short(short_dtypes=True)) if hasattr(v.aval, "str_short") else str(v.aval)


def _largest(held: Sequence[Held], alive: int) -> tuple[tuple[Held, ...], int, int]:
    """Returns the values to tell in the order in which they begin, how many are left out, and their bytes.

    What is alive at the peak comes before all else, then the larger before the smaller. Empty ones take no memory.
    """
    held = [each for each in held if each.size_bytes]
    left: list[Held] = []
    if len(held) > MOST_VALUES:
        order = sorted(held, key=lambda each: (each.first <= alive <= each.last, each.size_bytes), reverse=True)
        held, left = order[:MOST_VALUES], order[MOST_VALUES:]
    told = sorted(held, key=lambda each: (each.first, each.last))
    return tuple(told), len(left), sum(each.size_bytes for each in left)


def _bands(peak: Peak, at: Sequence[int]) -> tuple[tuple[Band, ...], int]:
    """Returns the loops and branches, and how many of the shortest are left out."""
    spans: dict[tuple[Node, Graph], list[int]] = {}
    for index, moment in enumerate(peak.moments):
        for depth, (node, body) in enumerate(zip(moment.around, moment.scopes, strict=True)):
            body = node.inner[0] if node.kind == "while" else body  # its test and its body turn together
            spans.setdefault((node, body), [at[index], 0, depth])[1] = at[index]
    found = [
        Band(_title(node, body), place_of(node.source), first, last, depth, _runs(node))
        for (node, body), (first, last, depth) in spans.items()
    ]
    if len(found) <= MOST_BANDS:
        return tuple(found), 0
    kept = set(heapq.nlargest(MOST_BANDS, range(len(found)), key=lambda k: (found[k].last - found[k].first, -k)))
    return tuple(band for k, band in enumerate(found) if k in kept), len(found) - MOST_BANDS


def _title(node: Node, body: Graph) -> str:
    if isinstance(node, Loop):
        runs = f"{node.trips} run{'s' * (node.trips != 1)} of {node.chunk}"
        if node.tail is not None:
            runs += f" and one of {node.length - node.trips * node.chunk}"
        if node.sliced:
            return f"loop over axis {node.sliced[0].axis} of {node.sliced[0].value.name}, {runs}"
        if node.stacked:
            return f"loop over axis {node.stacked[0].axis} of {node.outputs[len(node.carried)].name}, {runs}"
        return f"loop, {runs}"
    if node.kind == "cond":
        which = next(number for number, each in enumerate(node.inner, 1) if each is body)
        return f"branch {which} of {len(node.inner)}"
    return f"{node.kind}, as often as it takes"


def _runs(node: Node) -> int | None:
    return node.trips + (node.tail is not None) if isinstance(node, Loop) else None
