"""The checker: says what is wrong with a packing, in O(n^2), and shares no code with what finds packings.

Slow and plain on purpose. Every pair of buffers is looked at, at every time at which both take something.
"""

from __future__ import annotations

from itertools import product

from memline.packing.answer import Answer, Core, Overload, Packing, Status
from memline.packing.problem import Buffer, Problem

MOST_REPLAYED = 9
"""A core of so many buffers at most is replayed in full."""


def check(problem: Problem, packing: Packing) -> tuple[str, ...]:
    """Returns what is wrong with a packing, each fault as one sentence; () if nothing is.

    Args:
      problem: what was to be packed, with its capacities.
      packing: where its buffers are said to lie.

    >>> from memline.packing import Buffer
    >>> check(Problem([Buffer("a", 0, 3, 4), Buffer("b", 2, 9, 4)], capacity=8), Packing((0, 3)))
    ("'a' at 0 and 'b' at 3 share bytes at time 2",)
    """
    count = len(problem.buffers)
    if len(packing.offsets) != count or (packing.pools and len(packing.pools) != count):
        return (f"{count} buffers, but {len(packing.offsets)} offsets and {len(packing.pools)} pools",)
    if problem.pools and not packing.pools:
        return ("the problem has pools, and the packing names none",)
    faults = [fault for index in range(count) for fault in _faults_of_one(problem, packing, index)]
    return tuple(faults or _faults_of_pairs(problem, packing))


def _faults_of_one(problem: Problem, packing: Packing, index: int) -> list[str]:
    buffer, offset = problem.buffers[index], packing.offsets[index]
    faults = []
    if offset < 0:
        faults.append(f"{buffer.id!r} lies at {offset}")
    if offset % buffer.alignment != 0:
        faults.append(f"{buffer.id!r} lies at {offset}, which is no multiple of {buffer.alignment}")
    if buffer.offset is not None and offset != buffer.offset:
        faults.append(f"{buffer.id!r} lies at {offset} and is fixed at {buffer.offset}")
    capacity = problem.capacity
    if problem.pools:
        name = packing.pools[index]
        capacities = {pool.name: pool.capacity for pool in problem.pools}
        if name not in capacities or (buffer.pools and name not in buffer.pools):
            faults.append(f"{buffer.id!r} may not lie in pool {name!r}")
        capacity = capacities.get(name)
    if capacity is not None and offset + buffer.size > capacity:
        faults.append(f"{buffer.id!r} at {offset} ends at {offset + buffer.size}, beyond the capacity {capacity}")
    return faults


def _faults_of_pairs(problem: Problem, packing: Packing) -> list[str]:
    import numpy as np  # only here: what needs no check does not wait for it

    rows = [
        (index, begin, end, packing.offsets[index] + first, packing.offsets[index] + last)
        for index, buffer in enumerate(problem.buffers)
        for begin, end, first, last in buffer.segments
    ]
    if not rows:
        return []
    names = {pool.name: number for number, pool in enumerate(problem.all_pools)}
    pools = np.array([names[packing.pools[row[0]]] if packing.pools else 0 for row in rows])
    index, begin, end, first, last = np.array(rows, dtype=np.int64).T
    faults = []
    for k in range(len(rows)):
        in_time = (begin[k] < end[k + 1 :]) & (begin[k + 1 :] < end[k])
        in_space = (first[k] < last[k + 1 :]) & (first[k + 1 :] < last[k])
        together = in_time & in_space & (pools[k] == pools[k + 1 :]) & (index[k] != index[k + 1 :])
        for other in np.flatnonzero(together) + k + 1:
            one, two = int(index[k]), int(index[other])
            if not _may_share(problem, packing, one, two):
                a, b = problem.buffers[one].id, problem.buffers[two].id
                time = max(int(begin[k]), int(begin[other]))
                where = f"{a!r} at {packing.offsets[one]} and {b!r} at {packing.offsets[two]}"
                faults.append(f"{where} share bytes at time {time}")
    return faults


def _may_share(problem: Problem, packing: Packing, one: int, two: int) -> bool:
    a, b = problem.buffers[one], problem.buffers[two]
    return packing.offsets[one] == packing.offsets[two] and (a.id in b.reuses or b.id in a.reuses)


def check_answer(problem: Problem, answer: Answer) -> tuple[str, ...]:
    """Returns what is wrong with an answer: with its packing, or with what it says proves that there is none.

    A proof by a time at which too much is alive is added up. A core is replayed over all orders in which its buffers
    can lie on each other, if it has at most nine; where it has more, or the answer rests on the search alone, there is
    nothing to follow, and this finds no fault.
    """
    if answer.status is Status.FITS:
        return check(problem, answer.packing) if answer.packing is not None else ("it fits, but there is no packing",)
    certificate = answer.certificate
    if isinstance(certificate, Overload):
        return _faults_of_overload(problem, certificate)
    if isinstance(certificate, Core) and len(certificate.buffers) <= MOST_REPLAYED:
        members = [buffer for buffer in problem.buffers if buffer.id in certificate.buffers]
        if len(members) != len(certificate.buffers):
            return ("the core names buffers that are not there",)
        if _fits_somehow(problem, members):
            return (f"the core {', '.join(certificate.buffers)} fits",)
    return ()


def _faults_of_overload(problem: Problem, certificate: Overload) -> tuple[str, ...]:
    death = {buffer.id: buffer.upper for buffer in problem.buffers}
    load = sum(
        last - first
        for buffer in problem.buffers
        for begin, end, first, last in buffer.segments
        if begin <= certificate.time < end
        # what may lie in the place of something alive may take nothing of its own
        and all(death[other] <= certificate.time for other in buffer.reuses)
    )
    capacities = [pool.capacity for pool in problem.all_pools]
    if None in capacities:
        return ("an overload of pools that have no capacity",)
    capacity = sum(filter(None, capacities))
    if (load, capacity) != (certificate.load, certificate.capacity) or load <= capacity:
        return (f"{load} is alive at {certificate.time} with room for {capacity}: no overload as it is told",)
    return ()


def _fits_somehow(problem: Problem, members: list[Buffer]) -> bool:
    """Whether these buffers fit by themselves: each is tried on the floor, and on or beside all the others."""
    names = [pool.name for pool in problem.all_pools]
    capacity = {pool.name: pool.capacity for pool in problem.all_pools}

    def place(left: list[Buffer], placed: list[tuple[Buffer, int, str]]) -> bool:
        if not left:
            return True
        for buffer, name in ((b, n) for b in left for n in b.pools or names):
            rest = [other for other in left if other is not buffer]
            for offset in _offsets(buffer, [(b, o) for b, o, n in placed if n == name]):
                room = capacity[name]
                if room is not None and offset + buffer.size > room:
                    continue
                if any(n == name and _clash(buffer, offset, b, o) for b, o, n in placed):
                    continue
                if place(rest, [*placed, (buffer, offset, name)]):
                    return True
        return False

    return place(members, [])


def _offsets(buffer: Buffer, placed: list[tuple[Buffer, int]]) -> list[int]:
    """Where a buffer may come to rest, in a packing that is pushed down as far as it goes."""
    if buffer.offset is not None:
        return [buffer.offset]
    found = {0}
    for other, offset in placed:
        found.add(offset)  # in the place of one that it reuses
        for (_, _, first, _), (_, _, _, last) in product(buffer.segments, other.segments):
            found.add(offset + last - first)
    return sorted({-(-max(offset, 0) // buffer.alignment) * buffer.alignment for offset in found})


def _clash(a: Buffer, at: int, b: Buffer, bt: int) -> bool:
    if at == bt and (a.id in b.reuses or b.id in a.reuses):
        return False
    return any(
        s[0] < t[1] and t[0] < s[1] and at + s[2] < bt + t[3] and bt + t[2] < at + s[3]
        for s, t in product(a.segments, b.segments)
    )
