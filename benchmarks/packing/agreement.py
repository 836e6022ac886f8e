"""Random small problems with every feature, solved and also decided by trying all offsets: do the answers agree?"""

from __future__ import annotations

import random
from dataclasses import dataclass
from itertools import product
from math import gcd

from memline.errors import PackingError
from memline.packing import Buffer, Gap, Pool, Problem, Status, check, check_answer, minimize, pack

FEATURES = ("gaps", "windows", "align", "fixed", "hint", "pools", "reuse")
LARGEST_UNIT_BITS = 37  # times up to eight units: values up to 2^40


@dataclass(frozen=True)
class Disagreement:
    """A problem on which the solver is wrong, and how."""

    seed: int
    problem: Problem
    what: str


def random_problem(seed: int) -> Problem | None:
    """A problem of a few buffers; all its numbers are multiples of a unit, so that few offsets need to be tried.

    None where the draw is no problem: fixed offsets collide, or a buffer is larger than its pools.
    """
    draw = random.Random(seed)
    unit = draw.choice([1, 1, 3, 2 ** draw.randint(0, LARGEST_UNIT_BITS), draw.randint(1, 2**LARGEST_UNIT_BITS)])
    features = {name for name in FEATURES if draw.random() < 0.25}
    count, length, most = draw.randint(2, 8), draw.randint(2, 7), draw.randint(1, 4)
    pools: tuple[Pool, ...] = ()
    if "pools" in features:
        pools = tuple(Pool(name, draw.randint(1, 5) * unit) for name in "pq"[: draw.randint(1, 2)])
    buffers: list[Buffer] = []
    for number in range(count):
        lower = draw.randrange(length)
        upper = draw.randint(lower + 1, length)
        size = draw.randint(1, most)
        fields = {
            "alignment": unit * draw.choice([1, 2, 3]) if "align" in features else 1,
            "hint": draw.randrange(5) * unit if "hint" in features and draw.random() < 0.5 else None,
            "gaps": _gaps(draw, lower, upper, size, unit, "windows" in features) if "gaps" in features else (),
            "pools": draw.choice([(), ("p",), ("p", "q")[: len(pools)]]) if pools else (),
        }
        if "fixed" in features and draw.random() < 0.4:
            fields["offset"] = draw.randrange(4) * fields["alignment"] * (unit if fields["alignment"] == 1 else 1)
        if "reuse" in features and not fields["gaps"]:
            fields["reuses"] = tuple(
                other.id
                for other in buffers
                if not other.gaps and other.lower < lower < other.upper <= upper and size * unit <= other.size
            )
        buffers.append(Buffer(str(number), lower, upper, size * unit, **fields))
    try:
        problem = Problem(tuple(buffers), None, pools)
        if pools:
            return problem
        # At the peak load or just above it: where the answer is not plain to see.
        return problem.with_capacity(max(min(problem.peak_load, 9 * unit) + draw.choice([-1, 0, 0, 0, 1]) * unit, unit))
    except PackingError:
        return None


def _gaps(draw: random.Random, lower: int, upper: int, size: int, unit: int, windows: bool) -> tuple[Gap, ...]:
    if upper - lower < 2 or draw.random() < 0.4:
        return ()
    first = draw.randrange(lower, upper)
    last = draw.randint(first + 1, upper)
    if (first, last) == (lower, upper):
        return ()
    window = None
    if windows and draw.random() < 0.7:
        begin = draw.randrange(size)
        window = (begin * unit, draw.randint(begin + 1, size) * unit)
    return (Gap(first, last, window),)


def fits_by_trying(problem: Problem) -> bool:
    """Whether some choice of pools and offsets fits; all offsets are tried that what divides all numbers divides."""
    step = _step(problem)
    placed: list[tuple[Buffer, str, int]] = []

    def place(number: int) -> bool:
        if number == len(problem.buffers):
            return True
        buffer = problem.buffers[number]
        for pool in problem.all_pools:
            if buffer.pools and pool.name not in buffer.pools:
                continue
            assert pool.capacity is not None
            offsets = range(0, pool.capacity - buffer.size + 1, step) if buffer.offset is None else (buffer.offset,)
            for offset in offsets:
                if offset % buffer.alignment or offset + buffer.size > pool.capacity:
                    continue
                if any(name == pool.name and _collide(buffer, offset, other, at) for other, name, at in placed):
                    continue
                placed.append((buffer, pool.name, offset))
                if place(number + 1):
                    return True
                placed.pop()
        return False

    return place(0)


def _step(problem: Problem) -> int:
    numbers = [pool.capacity or 0 for pool in problem.all_pools]
    for buffer in problem.buffers:
        numbers += [buffer.size, buffer.offset or 0, buffer.alignment if buffer.alignment > 1 else 0]
        numbers += [end for gap in buffer.gaps if gap.window for end in gap.window]
    return gcd(*numbers)


def _collide(a: Buffer, at: int, b: Buffer, bt: int) -> bool:
    if at == bt and (a.id in b.reuses or b.id in a.reuses):
        return False
    for (t0, t1, low, high), (u0, u1, bottom, top) in product(a.segments, b.segments):
        if max(t0, u0) < min(t1, u1) and max(at + low, bt + bottom) < min(at + high, bt + top):
            return True
    return False


def disagreement(seed: int, threads: int = 1) -> Disagreement | None:
    """What is wrong with the solver's answers to one random problem; None if nothing is, or the draw is no problem."""
    problem = random_problem(seed)
    if problem is None:
        return None
    fits = fits_by_trying(problem)
    answer = pack(problem, threads=threads, seed=seed)
    if answer.status is not (Status.FITS if fits else Status.INFEASIBLE):
        return Disagreement(seed, problem, f"{answer.status.value}, but by trying: {fits}")
    faults = check_answer(problem, answer)
    if faults:
        return Disagreement(seed, problem, "; ".join(faults))
    if problem.pools or problem.capacity is None:
        return None
    best = minimize(problem, threads=threads, seed=seed)
    faults = check(problem.with_capacity(best.arena if best.arena else None), best.packing)
    if faults or not best.proved:
        return Disagreement(seed, problem, f"smallest arena {best.arena}, {best.stopped}: {'; '.join(faults)}")
    if (best.arena <= problem.capacity) != fits:
        return Disagreement(seed, problem, f"smallest arena {best.arena}, but by trying: {fits}")
    return None
