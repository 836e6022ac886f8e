"""A program told in fewer steps, values and buffers than it has, for a page that must stay small: `shortened`.

What is left out is said in the program itself: `Step.covers`, `Program.omitted` and `Layout.omitted`. The peak, and
what is biggest of all that is alive there, is always told. Linear in what is told, but for the sorts.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

from memline.report.record import Band, Buffer, Held, Layout, Program, Step

_Sized = TypeVar("_Sized", Held, Buffer)


@dataclass(frozen=True)
class Room:
    """How much of one program a page may tell.

    Attributes:
      steps, values, bands, buffers: the most of each.
    """

    steps: int = 2000
    values: int = 3000
    bands: int = 400
    buffers: int = 2500


def shortened(program: Program, room: Room) -> Program:
    """Returns the program with no more than there is room for.

    Neighbouring steps are told as one, which holds the most that any of them does. Of values and buffers the biggest
    stay, of bands the longest.

    Args:
      program: any program of a record.
      room: the most to tell.
    """
    stride = -(-max(len(program.steps), 1) // room.steps)
    values, at_peak, left_out_bytes = _values(program, room.values, stride)
    return replace(
        program,
        steps=_steps(program.steps, stride),
        bands=_bands(program.bands, room.bands, stride),
        values=values,
        peak=program.peak // stride,
        at_peak=at_peak,
        layout=program.layout and _layout(program.layout, room.buffers),
        omitted=program.omitted + len(program.values) - len(values),
        omitted_bytes=program.omitted_bytes + left_out_bytes,
    )


def _steps(steps: tuple[Step, ...], stride: int) -> tuple[Step, ...]:
    if stride == 1:
        return steps
    groups = [steps[start : start + stride] for start in range(0, len(steps), stride)]
    return tuple(
        replace(max(group, key=lambda step: step.total_bytes), covers=sum(step.covers for step in group))
        for group in groups
    )


def _bands(bands: tuple[Band, ...], most: int, stride: int) -> tuple[Band, ...]:
    kept = bands
    if len(bands) > most:
        longest = sorted(range(len(bands)), key=lambda i: bands[i].first - bands[i].last)[:most]
        kept = tuple(bands[i] for i in sorted(longest))
    return tuple(replace(band, first=band.first // stride, last=band.last // stride) for band in kept)


def _values(program: Program, most: int, stride: int) -> tuple[tuple[Held, ...], tuple[int, ...], int]:
    """What is kept of the values, where those of the peak are in it, and the bytes of the others."""
    there = frozenset(program.at_peak)
    kept, left_out_bytes = _biggest(program.values, most, first=there)
    place = {number: i for i, number in enumerate(kept)}
    values = tuple(
        replace(program.values[i], first=program.values[i].first // stride, last=program.values[i].last // stride)
        for i in kept
    )
    return values, tuple(place[i] for i in program.at_peak if i in place), left_out_bytes


def _layout(layout: Layout, most: int) -> Layout:
    kept, left_out_bytes = _biggest(layout.buffers, most)
    return replace(
        layout,
        buffers=tuple(layout.buffers[i] for i in kept),
        omitted=layout.omitted + len(layout.buffers) - len(kept),
        omitted_bytes=layout.omitted_bytes + left_out_bytes,
    )


def _biggest(items: Sequence[_Sized], most: int, first: frozenset[int] = frozenset()) -> tuple[list[int], int]:
    """Numbers of the biggest in their old order, those of `first` before all others, and the bytes of the rest."""
    if len(items) <= most:
        return list(range(len(items))), 0
    order = sorted(range(len(items)), key=lambda i: (i not in first, -items[i].size_bytes, i))
    return sorted(order[:most]), sum(items[i].size_bytes for i in order[most:])
