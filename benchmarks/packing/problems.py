"""The problems of the packing benchmark: MiniMalloc's eleven, cut down ones, and generated ones."""

from __future__ import annotations

import os
import random
from dataclasses import replace
from pathlib import Path

from memline.packing import Buffer, Problem, read

NAMES = tuple("ABCDEFGHIJK")
CAPACITY = 1048576
"""At which MiniMalloc's public problems are asked; every one fits."""
DROPPED = 0.03


def folder() -> Path:
    """Where MiniMalloc's problems are, as `A.1048576.csv` up to `K.1048576.csv`: `$MEMLINE_DATA/minimalloc`."""
    return Path(os.environ.get("MEMLINE_DATA", "data")) / "minimalloc"


def public(name: str) -> Problem:
    """One of MiniMalloc's problems, by its letter."""
    return read(folder() / f"{name}.{CAPACITY}.csv", CAPACITY)[0]


def reordered(problem: Problem, seed: int | None) -> Problem:
    """The same rows in another order: reversed for None, else shuffled."""
    rows = list(problem.buffers)
    rows.reverse() if seed is None else random.Random(seed).shuffle(rows)
    return replace(problem, buffers=tuple(rows))


def thinned(name: str, seed: int) -> Problem:
    """One of MiniMalloc's problems less three in a hundred of its buffers: it fits still, and may be harder."""
    problem = public(name)
    count = len(problem.buffers)
    gone = set(random.Random(f"{name}{seed}").sample(range(count), round(count * DROPPED)))
    return replace(problem, buffers=tuple(b for k, b in enumerate(problem.buffers) if k not in gone))


def random_lives(count: int, seed: int) -> Problem:
    """Buffers that live between two random times."""
    draw = random.Random(seed)
    buffers = []
    for number in range(count):
        first, second = draw.randrange(10 * count), draw.randrange(10 * count)
        buffers.append(Buffer(str(number), min(first, second), max(first, second) + 1, draw.randint(1, 2**20)))
    return Problem(tuple(buffers))


def short_lives(count: int, seed: int) -> Problem:
    """Buffers that live for a hundredth of the time or so: the load is much the same throughout."""
    draw = random.Random(seed)
    buffers = []
    for number in range(count):
        lower = draw.randrange(10 * count)
        upper = lower + 1 + int(draw.expovariate(1 / (count / 10)))
        buffers.append(Buffer(str(number), lower, upper, draw.randint(1, 2**20)))
    return Problem(tuple(buffers))


def repeated(step: Problem, count: int) -> Problem:
    """One step's buffers over and over, until there are so many: what a long run of it would take."""
    length = max(buffer.upper for buffer in step.buffers)
    buffers = []
    while len(buffers) < count:
        lap, number = divmod(len(buffers), len(step.buffers))
        one = step.buffers[number]
        times = {"lower": one.lower + lap * length, "upper": one.upper + lap * length}
        buffers.append(replace(one, id=f"{one.id}/{lap}", **times))
    return Problem(tuple(buffers))
