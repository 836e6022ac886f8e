"""Records that no program made: any at all (`records`), and one as of a long training step (`long_record`)."""

import random
from itertools import islice

from hypothesis import strategies as st

from memline.report.record import (
    KINDS,
    Band,
    Buffer,
    Held,
    Layout,
    MoveTold,
    Origin,
    Place,
    Program,
    Record,
    Step,
)

ORIGIN = Origin(memline="0.1.0", jax="0.10.2", jaxlib="0.10.2", platform="cpu", device="cpu x 2")
HOSTILE = "</script><img src=x onerror=alert(1)>\"'&{{}}$title"

_texts = st.one_of(st.text(max_size=12), st.just(HOSTILE), st.just("x" * 2000))
_sizes = st.integers(0, 2**50)
_places = st.none() | st.builds(Place, file=_texts, line=st.integers(0, 10**6), function=_texts)
_peaks = st.none() | _sizes
_seconds = st.none() | st.floats(0, 1e6)


@st.composite
def spans(draw: st.DrawFn, length: int) -> tuple[int, int]:
    first = draw(st.integers(0, length - 1))
    return first, draw(st.integers(first, length - 1))


@st.composite
def layouts(draw: st.DrawFn) -> Layout:
    moments = draw(st.integers(1, 30))
    packed_bytes = draw(_peaks)
    buffers = []
    for _ in range(draw(st.integers(0, 6))):
        first, last = draw(spans(moments))
        packed = None if packed_bytes is None else draw(_sizes)
        name, op, place, size_bytes, offset = draw(st.tuples(_texts, _texts, _places, _sizes, _sizes))
        buffers.append(Buffer(name, op, place, size_bytes, first, last, offset, packed))
    counts = draw(st.tuples(_sizes, _sizes))
    return Layout(*counts, packed_bytes, draw(st.booleans()), moments, tuple(buffers))


@st.composite
def programs(draw: st.DrawFn) -> Program:
    steps = draw(st.lists(st.builds(Step, op=_texts, place=_places, total_bytes=_sizes), max_size=8))
    values, bands = [], []
    peak, at_peak = 0, ()
    if steps:
        peak = max(range(len(steps)), key=lambda i: steps[i].total_bytes)
        for _ in range(draw(st.integers(0, 6))):
            first, last = draw(spans(len(steps)))
            name, kind, op, type_ = draw(st.tuples(_texts, st.sampled_from(KINDS), _texts, _texts))
            values.append(Held(name, type_, draw(_sizes), kind, op, draw(_places), first, last))
        for depth in range(draw(st.integers(0, 6))):
            first, last = draw(spans(len(steps)))
            bands.append(Band(draw(_texts), draw(_places), first, last, depth, draw(st.none() | st.integers(0, 99))))
        alive = [i for i, v in enumerate(values) if v.first <= peak <= v.last]
        at_peak = tuple(sorted(alive, key=lambda i: -values[i].size_bytes))
    layout = draw(st.none() | layouts())
    sizes = draw(st.tuples(_sizes, _sizes, _sizes, _sizes))
    compiled, measured, estimated, took = draw(st.tuples(_peaks, _peaks, _seconds, _seconds))
    name = draw(st.sampled_from(["as written", "planned", HOSTILE]))
    told = (tuple(steps), tuple(bands), tuple(values), peak, at_peak, layout)
    return Program(name, len(steps), *sizes, compiled, measured, estimated, took, *told)


moves = st.builds(
    MoveTold, kind=_texts, text=_texts, reason=_texts, saved_bytes=st.integers(-(2**40), 2**40), place=_places
)

records = st.builds(
    Record,
    title=_texts,
    place=_places,
    origin=st.just(ORIGIN),
    limit_bytes=st.none() | st.integers(1, 2**50),
    floor_bytes=_peaks,
    planning_seconds=_seconds,
    moves=st.lists(moves, max_size=3).map(tuple),
    left_whole=st.lists(_texts, max_size=3).map(tuple),
    notes=st.lists(_texts, max_size=3).map(tuple),
    programs=st.lists(programs(), max_size=2).map(tuple),
)


def long_record(nodes: int, seed: int = 0) -> Record:
    """A record as a training step of so many nodes would make it, forward and backward, told node by node."""
    before = _long_program("as written", nodes, 2**20, seed)
    after = _long_program("planned", nodes, 2**18, seed + 1)
    limit_bytes = (before.planned_peak_bytes + after.planned_peak_bytes) // 2
    told = tuple(
        MoveTold("SplitAxis", f"SplitAxis(%{i}, axis 0, chunk 64)", "it is the largest value", 2**24, _place(i))
        for i in range(40)
    )
    place = Place("train.py", 12, "step")
    left = ("sort at train.py:40 (step): it needs its operand whole",)
    return Record("step", place, ORIGIN, limit_bytes, 2**28, 4.5, told, left, ("a note",), (before, after))


def _place(i: int) -> Place:
    return Place("train.py", 20 + i % 300, f"layer_{i % 40}")


def _long_program(name: str, nodes: int, unit: int, seed: int) -> Program:
    """Values of the forward half live on to the mirrored node of the backward half, as the tape of a gradient does."""
    dice = random.Random(seed)
    values = [Held("%0", "f32[1024,1024]", 8 * unit, "argument", "", None, 0, nodes - 1)]
    change = [0] * (nodes + 1)
    for i in range(nodes):
        size_bytes = unit * dice.randrange(1, 64) // 8
        last = nodes - 1 - i if i < nodes // 2 and i % 3 == 0 else min(nodes - 1, i + dice.randrange(1, 6))
        last = max(last, i)
        values.append(Held(f"%{i + 1}", f"f32[{size_bytes // 4}]", size_bytes, "temporary", "add", _place(i), i, last))
        change[i] += size_bytes
        change[last + 1] -= size_bytes
    total, steps = 8 * unit, []
    for i in range(nodes):
        total += change[i]
        steps.append(Step("dot_general" if i % 7 == 0 else "add", _place(i), total))
    peak = max(range(nodes), key=lambda i: steps[i].total_bytes)
    alive = [i for i, v in enumerate(values) if v.first <= peak <= v.last]
    at_peak = tuple(sorted(alive, key=lambda i: -values[i].size_bytes))
    most_bytes = steps[peak].total_bytes
    bands = tuple(
        Band(f"loop over axis 0 of %{i}, 16 runs of 64", _place(i), i, min(nodes - 1, i + nodes // 8), depth, 16)
        for depth, i in enumerate(range(nodes // 10, nodes, nodes // 3 + 1))
    )
    told = (tuple(steps), bands, tuple(values), peak, at_peak, _stacked(values[1:], nodes))
    return Program(name, nodes, 8 * unit, 0, 0, most_bytes, most_bytes + unit, None, 1.25, None, *told)


def _stacked(values: list[Held], moments: int) -> Layout:
    """Buffers placed one on the other: most of them short-lived ones in the same places."""
    ends: dict[int, int] = {}
    buffers = []
    offset = 0
    for v in values:
        slot = next((o for o, end in islice(ends.items(), 40) if end < v.first), None)
        if slot is None:
            slot, offset = offset, offset + v.size_bytes
        ends.pop(slot, None)
        ends[slot] = v.last
        buffers.append(Buffer(f"fusion.{v.name}", v.op, v.place, v.size_bytes, v.first, v.last, slot, slot // 2))
    return Layout(offset, offset // 2, offset // 2 + 1, True, moments, tuple(buffers))
