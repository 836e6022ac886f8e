"""The smallest arena of MiniMalloc's problems: proved, and how good it is after a second."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks.packing.problems import NAMES, public
from memline.packing import check, minimize

PROVED, WITHIN = 9, 0.01


def arena(say: Callable[[str], None], seconds: float = 60.0, threads: int = 2) -> dict[str, Any]:
    """Minimizes each for so long, and returns arenas and bounds."""
    rows: dict[str, dict[str, Any]] = {}
    for name in NAMES:
        problem = public(name)
        best = minimize(problem, time_limit=seconds, threads=threads)
        fine = not check(problem.with_capacity(best.arena), best.packing)
        early = min((step.arena for step in best.history if step.seconds <= 1), default=None)
        row = {
            "arena": best.arena,
            "bound": best.bound,
            "after_1_s": early,
            "proved": best.proved and fine,
            "valid": fine,
        }
        rows[name] = row | {"seconds": best.history[-1].seconds, "cpu_seconds": best.cpu_seconds}
        say(f"arena, {name}: {best.arena}, bound {best.bound} ({best.stopped}); after 1 s {early}")
    proved = sum(row["proved"] for row in rows.values())
    near = sum(
        row["after_1_s"] is not None and row["after_1_s"] <= row["arena"] * (1 + WITHIN) for row in rows.values()
    )
    say(f"arena: {proved} of 11 proved; {near} of 11 within {WITHIN:.0%} of the best after 1 s")
    return {"rows": rows, "proved": proved, "near": near, "met": proved >= PROVED and near == len(NAMES)}
