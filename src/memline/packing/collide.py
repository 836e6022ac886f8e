"""Fixed offsets that collide, found by a sweep over time: a hundred thousand of them take a second, not hours.

What is alive at one time is kept in the order of its addresses. As long as nothing has collided, whoever is born can
collide with its two neighbours in that order only. Those that may lie in another's place are compared one by one.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from memline.packing.problem import Buffer


def first_collision(buffers: Sequence[Buffer], members: Sequence[int]) -> tuple[int, int] | None:
    """Returns the numbers of two fixed buffers in one pool that collide, or None.

    Args:
      buffers: the problem's buffers.
      members: the numbers of those that are fixed in this pool.
    """
    plain = [index for index in members if not buffers[index].reuses]
    return _swept(buffers, plain) or next(_compared(buffers, members), None)


def _swept(buffers: Sequence[Buffer], members: Sequence[int]) -> tuple[int, int] | None:
    events: list[tuple[int, bool, tuple[int, int, int]]] = []
    for index in members:
        offset = buffers[index].offset or 0
        for begin, end, first, last in buffers[index].segments:
            place = (offset + first, offset + last, index)
            events += [(begin, True, place), (end, False, place)]
    alive: list[tuple[int, int, int]] = []
    for _, is_birth, place in sorted(events):
        at = bisect_left(alive, place)
        if not is_birth:
            del alive[at]
            continue
        for near in alive[max(at - 1, 0) : at + 1]:
            if near[0] < place[1] and place[0] < near[1]:
                return near[2], place[2]
        insort(alive, place)
    return None


def _compared(buffers: Sequence[Buffer], members: Sequence[int]) -> Iterator[tuple[int, int]]:
    for one in members:
        if not buffers[one].reuses:
            continue
        for two in members:
            if one != two and _collide(buffers[one], buffers[two]):
                yield min(one, two), max(one, two)


def _collide(a: Buffer, b: Buffer) -> bool:
    shares = a.id in b.reuses or b.id in a.reuses
    at, bt = a.offset or 0, b.offset or 0
    if (at == bt and shares) or a.upper <= b.lower or b.upper <= a.lower:
        return False
    return any(
        s[0] < t[1] and t[0] < s[1] and at + s[2] < bt + t[3] and bt + t[2] < at + s[3]
        for s in a.segments
        for t in b.segments
    )
