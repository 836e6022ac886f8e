"""What is wrong with buffers that make no problem, and with which of them, so that the line can be named."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from memline.packing.collide import first_collision
from memline.packing.numbers import INT64_MAX, MOST_IN_ALL, MOST_POOLS

if TYPE_CHECKING:
    from memline.packing.problem import Buffer, Pool


@dataclass(frozen=True)
class Fault:
    """A reason, and the number of the buffer at fault where it is one buffer's."""

    message: str
    index: int | None = None


def first_fault(
    buffers: Sequence[Buffer], capacity: int | None, pools: Sequence[Pool], allowed: Sequence[Pool]
) -> Fault | None:
    """Returns the first reason why buffers and pools make no problem, with the buffer at fault; None if they do.

    Args:
      buffers: the buffers.
      capacity: that of the one pool without a name.
      pools: the named ones.
      allowed: the pools that there are: the named ones, or the one without a name.
    """
    return (
        _fault_of_pools(capacity, pools)
        or _fault_of_buffers(buffers, allowed)
        or _fault_of_reuses(buffers)
        or _collision(buffers, allowed)
    )


def _fault_of_pools(capacity: int | None, pools: Sequence[Pool]) -> Fault | None:
    names = [pool.name for pool in pools]
    if names and capacity is not None:
        return Fault("a problem has one capacity, or pools with their own, not both")
    if len(set(names)) < len(names):
        return Fault(f"two pools have one name, among {', '.join(names)}")
    if len(names) > MOST_POOLS:
        return Fault(f"at most {MOST_POOLS} pools, not {len(names)}")
    return None


def _fault_of_buffers(buffers: Sequence[Buffer], all_pools: Sequence[Pool]) -> Fault | None:
    pools = {pool.name: pool for pool in all_pools}
    seen: dict[str, int] = {}
    total = highest = 0
    for index, buffer in enumerate(buffers):
        if buffer.id in seen:
            return Fault(f"buffer {buffer.id!r} is there twice, as numbers {seen[buffer.id]} and {index}", index)
        seen[buffer.id] = index
        for name in buffer.pools:
            if name not in pools:
                return Fault(
                    f"buffer {buffer.id!r} may lie in pool {name!r}, which is none of {', '.join(pools)}", index
                )
        # What the solver adds up at most: every buffer on top of the others, each moved up to its alignment.
        total += buffer.size + buffer.alignment
        highest = max(highest, (buffer.offset or 0) + buffer.size)
        if total + highest > MOST_IN_ALL:
            return Fault(f"the sum of sizes exceeds what 64 bits leave room to add up at buffer {buffer.id!r}", index)
        fault = _fault_of_capacity(buffer, [pools[name] for name in buffer.pools or pools])
        if fault:
            return Fault(fault, index)
    return None


def _fault_of_capacity(buffer: Buffer, allowed: list[Pool]) -> str | None:
    top = (buffer.offset or 0) + buffer.size
    room = max(INT64_MAX if pool.capacity is None else pool.capacity for pool in allowed)
    if top <= room:
        return None
    where = f"fixed at {buffer.offset}, " if buffer.offset else ""
    return f"buffer {buffer.id!r} of size {buffer.size} is {where}larger than the capacity {room}"


def _fault_of_reuses(buffers: Sequence[Buffer]) -> Fault | None:
    by_id = {buffer.id: buffer for buffer in buffers}
    for index, buffer in enumerate(buffers):
        for name in buffer.reuses:
            reused = by_id.get(name)
            if reused is None or reused is buffer:
                return Fault(f"buffer {buffer.id!r} may reuse {name!r}, which is no other buffer", index)
            if buffer.gaps or reused.gaps:
                return Fault(f"buffer {buffer.id!r} may reuse {name!r}, and one of them has gaps", index)
            if buffer.size > reused.size:
                return Fault(f"buffer {buffer.id!r} may reuse {name!r}, which is smaller", index)
            if not (reused.lower < buffer.lower < reused.upper <= buffer.upper):
                message = (
                    f"buffer {buffer.id!r} may reuse {name!r}, which has to be born before it and die while it lives"
                )
                return Fault(message, index)
    return None


def _collision(buffers: Sequence[Buffer], all_pools: Sequence[Pool]) -> Fault | None:
    """Fixed buffers that collide in the only pool that they may lie in."""
    names = [pool.name for pool in all_pools]
    groups: dict[str, list[int]] = {}
    for index, buffer in enumerate(buffers):
        allowed = buffer.pools or names
        if buffer.offset is not None and len(set(allowed)) == 1:
            groups.setdefault(allowed[0], []).append(index)
    found = (first_collision(buffers, members) for members in groups.values())
    for one, other in filter(None, found):
        a, b = buffers[one], buffers[other]
        return Fault(f"buffers {a.id!r} and {b.id!r} collide: fixed at {a.offset} and {b.offset}", max(one, other))
    return None
