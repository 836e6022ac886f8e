"""The solver: `pack` asks whether buffers fit, `minimize` for the smallest arena. The search is native code, `cpp/`."""

from __future__ import annotations

import importlib
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from memline.errors import ArgumentError, MissingPackageError, PackingError
from memline.packing.answer import Answer, Core, Minimum, Overload, Packing, Progress, Status
from memline.packing.problem import Buffer, Pool, Problem

_STATUS = (Status.FITS, Status.INFEASIBLE, Status.UNKNOWN)
_NO_CAPACITY = _NOWHERE = -1
DEFAULT_MEMORY_LIMIT_BYTES = 2**30
MOST_THREADS = 256


def pack(
    problem: Problem,
    *,
    time_limit: float | None = None,
    cpu_limit: float | None = None,
    threads: int = 1,
    seed: int = 0,
    memory_limit_bytes: int = DEFAULT_MEMORY_LIMIT_BYTES,
) -> Answer:
    """Asks whether a problem's buffers fit its capacities.

    Args:
      problem: buffers and capacities. A pool without a capacity holds anything.
      time_limit: seconds of wall time after which the answer is "unknown"; None for as long as it takes.
      cpu_limit: the same for seconds of processor time, over all threads of the process.
      threads: searches side by side.
      seed: for a seed and a number of threads, an answer that no limit cut short is the same in every run.
      memory_limit_bytes: what the search may keep; a problem that needs more is tried by greedy orders only.

    Returns:
      Whether it fits, with a packing; or that none exists, with a certificate where that is cheap; or that this is
      unknown.

    Raises:
      MissingPackageError: the native solver was not built.
      KeyboardInterrupt: Ctrl-C while it searched.

    >>> from memline.packing import Buffer
    >>> answer = pack(Problem([Buffer("a", 0, 3, 4), Buffer("b", 2, 9, 4)], capacity=7))
    >>> answer.status, answer.certificate
    (<Status.INFEASIBLE: 'infeasible'>, Overload(time=2, load=8, capacity=7))
    """
    start = time.monotonic()
    limits = _limits(cpu_limit, threads, seed, memory_limit_bytes)
    native = _native()
    given = native.make_problem(*_columns(problem, problem.all_pools))
    found = native.pack(given, _left(time_limit, start), *limits)
    if found["interrupted"]:
        raise KeyboardInterrupt
    status = _STATUS[found["status"]]
    packing = _packing(problem, found) if status is Status.FITS else None
    certificate = None
    if "overload" in found:
        certificate = Overload(*found["overload"])
    elif found["core"]:
        certificate = Core(tuple(problem.buffers[k].id for k in found["core"]))
    nodes = f": {found['nodes']} nodes" if found["nodes"] else ""
    return Answer(status, packing, certificate, found["reason"] + nodes, found["nodes"], found["cpu_seconds"])


def minimize(
    problem: Problem,
    *,
    time_limit: float | None = None,
    cpu_limit: float | None = None,
    threads: int = 1,
    seed: int = 0,
    memory_limit_bytes: int = DEFAULT_MEMORY_LIMIT_BYTES,
    progress: Callable[[Progress], Any] | None = None,
) -> Minimum:
    """Looks for the smallest arena: always has a packing, and ends when it is proved the smallest.

    Args:
      problem: buffers, and pools of which exactly one has no capacity: its arena is made small, the others' capacities
        hold. A capacity of the one pool of a problem without named pools is left out of account.
      time_limit: seconds of wall time; None for as long as it takes.
      cpu_limit: the same for seconds of processor time, over all threads of the process.
      threads: searches side by side.
      seed: for a seed and a number of threads, a result that no limit cut short is the same in every run.
      memory_limit_bytes: what the search may keep; a problem that needs more is tried by greedy orders only.
      progress: called with every better arena or bound, and every 50 ms or so in between.

    Returns:
      The best packing, its arena, and a bound that no arena is below. Ctrl-C ends the search, and is no error.

    Raises:
      PackingError: not exactly one pool is without a capacity, or what is fixed or the other pools hold leaves no
        packing, or none was found in time.
      MissingPackageError: the native solver was not built.
    """
    start = time.monotonic()
    pools = problem.pools or (replace(problem.all_pools[0], capacity=None),)
    open_pools = [pool.name for pool in pools if pool.capacity is None]
    if len(open_pools) != 1:
        told = ", ".join(open_pools) or "none"
        raise PackingError(f"one pool has no capacity, and its arena is made small; here without one: {told}")

    def tell(arena: int, bound: int, seconds: float) -> None:
        if progress is not None and arena > 0:
            progress(Progress(arena, bound, seconds))

    limits = _limits(cpu_limit, threads, seed, memory_limit_bytes)
    native = _native()
    given = native.make_problem(*_columns(problem, pools))
    found = native.minimize(given, _left(time_limit, start), *limits, None if progress is None else tell)
    if len(found["offsets"]) != len(problem.buffers):
        if found["interrupted"]:
            raise KeyboardInterrupt
        raise PackingError(
            f"no packing was found, however large the arena ({found['stopped']}): see what is fixed or has to share"
        )
    history = tuple(Progress(*row) for row in found["history"])
    arena, bound, stopped = found["arena"], found["bound"], found["stopped"]
    return Minimum(_packing(problem, found), arena, bound, stopped, history, found["nodes"], found["cpu_seconds"])


def is_built() -> bool:
    """Whether the native solver is there."""
    try:
        _native()
    except MissingPackageError:
        return False
    return True


def _native() -> Any:
    try:
        return importlib.import_module("memline.packing._native")
    except ImportError as error:
        raise MissingPackageError(
            "packing needs memline's native solver, which was not built here. Install memline with pip, which builds "
            "it with a C++ compiler: pip install . (or pip install -e .[dev]) at the root of its source."
        ) from error


def _columns(problem: Problem, pools: Sequence[Pool]) -> tuple[list[int], ...]:
    """A problem as the native code takes it. Columns, for to make a tuple a buffer takes longer than to pack them."""
    buffers = problem.buffers
    everywhere = (1 << len(pools)) - 1
    bits = {pool.name: 1 << number for number, pool in enumerate(pools)}
    rows = (
        [b.size for b in buffers],
        [b.alignment for b in buffers],
        [_NOWHERE if b.offset is None else b.offset for b in buffers],
        [_NOWHERE if b.hint is None else b.hint for b in buffers],
        [sum(bits[name] for name in set(b.pools)) if b.pools else everywhere for b in buffers],
    )
    owners, begins, ends, firsts, lasts = segments = [], [], [], [], []
    for number, buffer in enumerate(buffers):
        for begin, end, first, last in buffer.segments if buffer.gaps or not buffer.size else _whole(buffer):
            owners.append(number)
            begins.append(begin)
            ends.append(end)
            firsts.append(first)
            lasts.append(last)
    numbers = {b.id: k for k, b in enumerate(buffers)} if any(b.reuses for b in buffers) else {}
    reusers = [k for k, b in enumerate(buffers) for _ in b.reuses]
    reused = [numbers[name] for b in buffers for name in b.reuses]
    capacities = [_NO_CAPACITY if pool.capacity is None else pool.capacity for pool in pools]
    return *rows, *segments, reusers, reused, capacities


def _whole(buffer: Buffer) -> tuple[tuple[int, int, int, int]]:
    """The one segment of a buffer without gaps."""
    return ((buffer.lower, buffer.upper, 0, buffer.size),)


def _limits(cpu_limit: float | None, threads: int, seed: int, memory_limit_bytes: int) -> tuple[float, int, int, int]:
    numbers = (("threads", threads, 1), ("seed", seed, 0), ("memory_limit_bytes", memory_limit_bytes, 1))
    for name, value, least in numbers:
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value < 2**63:
            raise ArgumentError(f"{name} is a whole number from {least}, not {value!r}")
    if threads > MOST_THREADS:
        raise ArgumentError(f"threads is at most {MOST_THREADS}, not {threads}")
    return _seconds("cpu_limit", cpu_limit), threads, seed, memory_limit_bytes


def _left(time_limit: float | None, start: float) -> float:
    """What is left of a time limit, in seconds.

    To hand over a hundred thousand buffers takes part of it, and to take the answer back takes again a quarter of that.
    """
    return max(_seconds("time_limit", time_limit) - 1.25 * (time.monotonic() - start), 1e-6)


def _seconds(name: str, value: float | None) -> float:
    if value is None:
        return math.inf
    if isinstance(value, bool) or not isinstance(value, int | float) or not value > 0:
        raise ArgumentError(f"{name} is a number of seconds above 0, or None, not {value!r}")
    return float(value)


def _packing(problem: Problem, found: dict[str, Any]) -> Packing:
    names = [pool.name for pool in problem.all_pools]
    pools = tuple(names[number] for number in found["pools"]) if problem.pools else ()
    return Packing(tuple(found["offsets"]), pools)
