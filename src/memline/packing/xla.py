"""Reads XLA's buffer assignment, from the texts that it dumps, as a packing problem and XLA's own answer to it.

What is read are the temporaries: XLA keeps them in one allocation and gives each an offset. Two values that XLA makes
share their place by need (what goes round a loop, what comes out of a branch) or by choice (a result written over an
operand that dies there) are taken as one buffer: those of one offset and size that follow each other without a pause,
and all of one offset and size among which there is one that XLA merges (a "phi"). So every packing of the problem is
one that XLA could use, and XLA's own is one of them; it may have more freedom than is read here, never less.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from memline.errors import PackingError
from memline.packing.answer import Packing
from memline.packing.problem import Buffer, Gap, Problem

_ALLOCATION = re.compile(r"allocation (\d+): size (\d+), (.*):$")
_VALUE = re.compile(r" value: <\d+ (\S+?)(\{[\d,]*\})?( \(phi\))? @\d+> \(size=(\d+),offset=(\d+)\)")
_RANGE = re.compile(r"    (\S+?)(\{[\d,]*\}):(\d+)-(\d+)$")
_MOST_ALIGNED = 64
"""XLA aligns to no more than this on a CPU, whatever its offsets happen to be multiples of."""


@dataclass(frozen=True)
class Assignment:
    """The temporaries of a compiled program.

    Attributes:
      problem: their sizes and lives; a time is a place in XLA's schedule. No capacity.
      packing: where XLA put them.
      temp_bytes: what XLA's allocation for them takes.
    """

    problem: Problem
    packing: Packing
    temp_bytes: int


@dataclass(frozen=True)
class _Value:
    name: str
    is_phi: bool
    size: int
    offset: int
    first: int
    last: int


def read_assignment(assignment: str, live_ranges: str) -> Assignment:
    """Returns the temporaries that two of XLA's dumps tell of.

    Args:
      assignment: the text of the file that ends in `-buffer-assignment.txt`.
      live_ranges: the text of the one that ends in `-live-range.txt`.

    Raises:
      PackingError: a temporary has no live range: the texts are not of one program, or of an XLA that writes them in
        another way.
    """
    ranges = dict(_ranges(live_ranges))
    values: list[_Value] = []
    base = total = 0
    is_temp = False
    for line in assignment.splitlines():
        allocation = _ALLOCATION.match(line)
        if allocation:
            is_temp = "preallocated-temp" in allocation[3]
            if is_temp:
                base = -(-total // _MOST_ALIGNED) * _MOST_ALIGNED
                total = base + int(allocation[2])
            continue
        value = _VALUE.match(line) if is_temp else None
        if value is None:
            continue
        name = value[1] + (value[2] or "{}")
        if name not in ranges:
            raise PackingError(f"the temporary {name} has no live range: is the dump whole, and of one program?")
        values.append(_Value(name, bool(value[3]), int(value[4]), base + int(value[5]), *ranges[name]))
    return _assignment(values, total)


def _ranges(text: str) -> Iterator[tuple[str, tuple[int, int]]]:
    for line in text.splitlines():
        found = _RANGE.match(line)
        if found:
            yield found[1] + found[2], (int(found[3]), int(found[4]))


def _assignment(values: list[_Value], total: int) -> Assignment:
    alignment = _MOST_ALIGNED
    while any(value.offset % alignment for value in values):
        alignment //= 2
    places: dict[tuple[int, int], list[_Value]] = {}
    for value in values:
        if value.size:
            places.setdefault((value.offset, value.size), []).append(value)
    buffers: list[Buffer] = []
    offsets: list[int] = []
    for (offset, _), members in places.items():
        members.sort(key=lambda value: (value.first, value.last, value.name))
        for group in [members] if any(value.is_phi for value in members) else _runs(members):
            buffers.append(_buffer(group, alignment))
            offsets.append(offset)
    return Assignment(Problem(tuple(buffers)), Packing(tuple(offsets)), total)


def _runs(members: list[_Value]) -> list[list[_Value]]:
    """Values in order, cut where nothing is alive. XLA's ranges include their ends."""
    runs: list[list[_Value]] = []
    last = -1
    for value in members:
        if not runs or value.first > last:
            runs.append([])
        runs[-1].append(value)
        last = max(last, value.last)
    return runs


def _buffer(group: list[_Value], alignment: int) -> Buffer:
    gaps = []
    last = group[0].last
    for value in group[1:]:
        if value.first > last + 1:
            gaps.append(Gap(last + 1, value.first))
        last = max(last, value.last)
    return Buffer(group[0].name, group[0].first, last + 1, group[0].size, alignment, gaps=tuple(gaps))
