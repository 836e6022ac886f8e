"""The hard tail: MiniMalloc's problems less three in a hundred buffers each, ten times, with two threads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks.packing.problems import NAMES, thinned
from memline.packing import Status, check_answer, pack

THREADS, CPU_SECONDS, SHARE = 2, 20.0, 0.9
_TIMES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 20.0)


def tail(say: Callable[[str], None], seeds: int = 10, cpu_seconds: float = CPU_SECONDS) -> dict[str, Any]:
    """Solves them all, and returns how many are solved in how much processor time."""
    times: dict[str, float | None] = {}
    for name in NAMES:
        for seed in range(seeds):
            problem = thinned(name, seed)
            answer = pack(problem, cpu_limit=cpu_seconds, threads=THREADS)
            fine = answer.status is Status.FITS and not check_answer(problem, answer)
            times[f"{name}{seed}"] = answer.cpu_seconds if fine else None
            if answer.status is Status.INFEASIBLE:
                raise AssertionError(f"{name}{seed} fits by construction, and the solver says that it does not")
        mine = [times[f"{name}{seed}"] for seed in range(seeds)]
        say(f"tail, {name}: {sum(t is not None for t in mine)} of {seeds}")
    solved = sorted(t for t in times.values() if t is not None)
    curve = {str(limit): sum(t <= limit for t in solved) for limit in _TIMES}
    say(f"tail: {len(solved)} of {len(times)}; within seconds of processor time: {curve}")
    return {"times": times, "curve": curve, "solved": len(solved), "met": len(solved) >= SHARE * len(times)}
