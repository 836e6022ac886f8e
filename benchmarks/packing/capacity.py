"""MiniMalloc's eleven problems at their capacity, on one thread, with their rows in three orders."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from benchmarks.packing.problems import NAMES, public, reordered
from memline.packing import Status, check_answer, pack

MEAN_SECONDS, MOST_SECONDS = 0.040, 0.2
_TIME_LIMIT = 20.0


def capacity(say: Callable[[str], None]) -> dict[str, Any]:
    """Solves each as it is, reversed and shuffled, and returns processor times and whether they are met."""
    rows: dict[str, dict[str, Any]] = {}
    for order, change in (
        ("as published", lambda problem: problem),
        ("reversed", lambda problem: reordered(problem, None)),
        ("shuffled", lambda problem: reordered(problem, 0)),
    ):
        rows[order] = {}
        for name in NAMES:
            problem = change(public(name))
            answer = pack(problem, time_limit=_TIME_LIMIT)
            fine = answer.status is Status.FITS and not check_answer(problem, answer)
            rows[order][name] = {"fits": fine, "cpu_seconds": answer.cpu_seconds, "nodes": answer.nodes}
        times = [row["cpu_seconds"] for row in rows[order].values()]
        solved = sum(row["fits"] for row in rows[order].values())
        mean = math.exp(sum(map(math.log, times)) / len(times))
        say(f"capacity, {order}: {solved} of 11, geometric mean {mean:.4f} s, most {max(times):.4f} s")
        rows[order]["all"] = {"solved": solved, "mean_seconds": mean, "most_seconds": max(times)}
    totals = [rows[order]["all"] for order in rows]
    met = all(
        t["solved"] == len(NAMES) and t["mean_seconds"] <= MEAN_SECONDS and t["most_seconds"] <= MOST_SECONDS
        for t in totals
    )
    return {"rows": rows, "met": met}
