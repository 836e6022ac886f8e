"""A hundred thousand buffers: how near the load the arena comes in ten seconds, and what memory that takes."""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.packing.problems import random_lives, repeated, short_lives
from memline.packing import Packing, Problem, minimize, read, write

COUNT, SECONDS, WITHIN, MOST_BYTES = 100_000, 10.0, 0.02, 2**30
EXTRA = {"short lives"}
"""Reported beside those that were asked for: a load that is much the same throughout is harder."""


def generated(count: int) -> dict[str, Problem]:
    """The problems by name."""
    from benchmarks.packing.step import training_step  # only here: the child does without JAX

    return {
        "random lives": random_lives(count, 0),
        "training step, repeated": repeated(training_step(), count),
        "short lives": short_lives(count, 0),
    }


def scale(say: Callable[[str], None], count: int = COUNT, seconds: float = SECONDS) -> dict[str, Any]:
    """Minimizes each in a fresh process, and returns arenas, loads, times and peaks of memory."""
    rows = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, problem in generated(count).items():
            path, out = Path(folder) / "problem.json", Path(folder) / "packed.json"
            write(path, problem)
            words = [sys.executable, "-m", "benchmarks.packing.scale", str(path), str(out), str(seconds)]
            done = subprocess.run(words, capture_output=True, text=True, check=True)
            row = json.loads(done.stdout)
            packing = read(out)[1]
            row["valid"] = packing is not None and is_valid(problem, packing)
            row["over_load"] = row["arena"] / problem.peak_load - 1
            near = row["over_load"] <= WITHIN and row["peak_bytes"] <= MOST_BYTES
            row["met"] = row["valid"] and (near or name in EXTRA)
            rows[name] = row
            say(
                f"scale, {name}: arena {row['over_load']:.2%} over the load after {row['seconds']:.1f} s, "
                f"{row['peak_bytes'] / 2**20:.0f} MiB in all"
            )
    return {"rows": rows, "met": all(row["met"] for row in rows.values())}


def is_valid(problem: Problem, packing: Packing) -> bool:
    """Whether no two buffers that live together share bytes, by a sweep: the checker would take too long."""
    alive: dict[int, tuple[int, int]] = {}
    starts = np.empty(0, np.int64)
    events = sorted(
        (time_, is_birth, number)
        for number, buffer in enumerate(problem.buffers)
        for time_, is_birth in ((buffer.upper, False), (buffer.lower, True))
    )
    # The addresses of what is alive, in order, in an array: one birth or death is one shift of it.
    ends = np.empty(0, np.int64)
    for _, is_birth, number in events:
        if not is_birth:
            first, _ = alive.pop(number)
            at = int(np.searchsorted(starts, first))
            starts, ends = np.delete(starts, at), np.delete(ends, at)
            continue
        first = packing.offsets[number]
        last = first + problem.buffers[number].size
        at = int(np.searchsorted(starts, first))
        if (at > 0 and ends[at - 1] > first) or (at < len(starts) and starts[at] < last):
            return False
        starts, ends = np.insert(starts, at, first), np.insert(ends, at, last)
        alive[number] = (first, last)
    return True


def _child(path: str, out: str, seconds: str) -> None:
    problem, _ = read(path)
    start = time.monotonic()
    best = minimize(problem, time_limit=float(seconds))
    row = {"arena": best.arena, "bound": best.bound, "stopped": best.stopped, "seconds": time.monotonic() - start}
    row["history"] = [(step.arena, step.seconds) for step in best.history]
    row["peak_bytes"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    write(out, problem, best.packing)
    print(json.dumps(row))


if __name__ == "__main__":
    _child(*sys.argv[1:4])
