"""What the pictures of the HTML page are drawn from: numbers in columns, each text once, as one JSON value."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from memline.report.page.places import Places, whole
from memline.report.record import Band, Buffer, Held, Layout, Place, Program, Record, Step

LONGEST_TEXT = 300
"""The most characters of one text: types and loops can have very long names, and a page of thousands stays small."""


class _Texts:
    """A table of texts, so that a line of code that makes a thousand values is told once."""

    def __init__(self, places: Places) -> None:
        self.numbers: dict[str, int] = {}
        self.places = places
        self.whole: dict[int, str] = {}
        """Texts of places, and the same with all folders."""

    def __call__(self, text: str) -> int:
        return self.numbers.setdefault(clipped(text), len(self.numbers))

    def place(self, place: Place | None) -> int:
        number = self(self.places(place))
        if place is not None:
            self.whole.setdefault(number, clipped(whole(place)))
        return number


def clipped(text: str) -> str:
    """The text, or its beginning and its end where it is too long to tell."""
    if len(text) <= LONGEST_TEXT:
        return text
    kept = (LONGEST_TEXT - 3) // 2
    return f"{text[:kept]} … {text[-kept:]}"


def drawing(record: Record, programs: Sequence[Program], places: Places) -> dict[str, object]:
    """Returns what the page's script draws, as values that JSON has.

    Args:
      record: for its limit.
      programs: its programs, short enough for a page.
      places: how its places are written.
    """
    texts = _Texts(places)
    told = [_program(program, texts) for program in programs]
    return {"limit": record.limit_bytes, "programs": told, "texts": list(texts.numbers), "whole": texts.whole}


def worst_moment(layout: Layout) -> int:
    """The moment of XLA's schedule at which most of the told buffers are alive; the first of several."""
    change: dict[int, int] = {}
    for buffer in layout.buffers:
        change[buffer.first] = change.get(buffer.first, 0) + buffer.size_bytes
        change[buffer.last + 1] = change.get(buffer.last + 1, 0) - buffer.size_bytes
    alive_bytes = most_bytes = worst = 0
    for moment in sorted(change):
        alive_bytes += change[moment]
        if alive_bytes > most_bytes:
            most_bytes, worst = alive_bytes, moment
    return worst


def _program(program: Program, texts: _Texts) -> dict[str, object]:
    return {
        "name": clipped(program.name),
        "peak": program.peak,
        "atPeak": program.at_peak,
        "omitted": program.omitted,
        "steps": _steps(program.steps, texts),
        "bands": [_band(band, texts) for band in program.bands],
        "values": _values(program.values, texts),
        "layout": program.layout and _layout(program.layout, texts),
    }


def _steps(steps: Iterable[Step], texts: _Texts) -> dict[str, list[int]]:
    steps = tuple(steps)
    return {
        "total": [step.total_bytes for step in steps],
        "op": [texts(step.op) for step in steps],
        "place": [texts.place(step.place) for step in steps],
        "covers": [step.covers for step in steps],
    }


def _band(band: Band, texts: _Texts) -> dict[str, object]:
    return {
        "title": texts(band.title),
        "place": texts.place(band.place),
        "first": band.first,
        "last": band.last,
        "depth": band.depth,
        "runs": band.runs,
    }


def _values(values: Sequence[Held], texts: _Texts) -> dict[str, list[int]]:
    return {
        "name": [texts(value.name) for value in values],
        "type": [texts(value.type) for value in values],
        "size": [value.size_bytes for value in values],
        "kind": [texts(value.kind) for value in values],
        "op": [texts(value.op) for value in values],
        "place": [texts.place(value.place) for value in values],
        "first": [value.first for value in values],
        "last": [value.last for value in values],
    }


def _layout(layout: Layout, texts: _Texts) -> dict[str, object]:
    return {
        "temp": layout.temp_bytes,
        "load": layout.load_bytes,
        "packed": layout.packed_bytes,
        "moments": layout.moments,
        "worst": worst_moment(layout),
        "buffers": _buffers(layout.buffers, texts),
    }


def _buffers(buffers: Sequence[Buffer], texts: _Texts) -> dict[str, list[int | None]]:
    return {
        "name": [texts(buffer.name) for buffer in buffers],
        "op": [texts(buffer.op) for buffer in buffers],
        "place": [texts.place(buffer.place) for buffer in buffers],
        "size": [buffer.size_bytes for buffer in buffers],
        "first": [buffer.first for buffer in buffers],
        "last": [buffer.last for buffer in buffers],
        "offset": [buffer.offset for buffer in buffers],
        "packed": [buffer.packed_offset for buffer in buffers],
    }
