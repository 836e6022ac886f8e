"""Fixed offsets that collide, found by a sweep over time: a hundred thousand of them take a second, not hours.

What is alive at one time is kept in the order of its addresses. As long as nothing has collided, whoever is born can
collide with its two neighbours in that order only.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from memline.packing.problem import Buffer


def first_collision(buffers: Sequence[Buffer], members: Sequence[int]) -> tuple[int, int] | None:
    """Returns the numbers of two fixed buffers in one pool that collide, or None.

    Args:
      buffers: the problem's buffers.
      members: the numbers of those that are fixed in this pool.
    """
    events: list[tuple[int, bool, tuple[int, int, int]]] = []
    for index in members:
        offset = buffers[index].offset
        if offset is None:
            continue
        for begin, end, first, last in buffers[index].segments:
            # Who lies where the one lies that it reuses takes nothing of its own before that one is dead.
            later = max(
                [begin, *(buffers[k].upper for k in _reused(buffers, members, index) if buffers[k].upper <= end)]
            )
            place = (offset + first, offset + last, index)
            if later < end:
                events += [(later, True, place), (end, False, place)]
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


def _reused(buffers: Sequence[Buffer], members: Sequence[int], index: int) -> list[int]:
    names = buffers[index].reuses
    if not names:
        return []
    return [k for k in members if buffers[k].id in names and buffers[k].offset == buffers[index].offset]
