"""What fresh pages cost on the CPU: one program whose result is new memory, and one that writes over what it is given.

`python -m memline.verify.faults BYTES` runs both in this process, which has to be a fresh one, and prints figures as
JSON. `page_costs` runs it with and without huge pages, which the C library takes for large blocks where it is told so
before a process starts.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from memline.errors import MeasureError

HUGE_PAGES = "glibc.malloc.hugetlb=1"
"""What the environment variable GLIBC_TUNABLES has to say before a process starts (glibc 2.35 and newer)."""
_CALLS = 9
_TIMEOUT_S = 120


@dataclass(frozen=True)
class PageCost:
    """What one call costs that makes a large result. Times in seconds, medians of several calls."""

    fresh_seconds: float
    """Its result is memory that the system has to hand out."""
    fresh_faults: int
    """How often the system had to step in for one call, for each page or huge page."""
    reused_seconds: float
    """The same arithmetic, its result written over its donated argument."""


def page_costs(result_bytes: int) -> tuple[PageCost, PageCost]:
    """Measures what a large result costs in fresh processes: as things are, and with huge pages.

    Args:
      result_bytes: the size of the result.

    Raises:
      MeasureError: a fresh process failed.
    """
    environment = dict(os.environ, JAX_PLATFORMS="cpu")
    environment["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parents[2]), environment.get("PYTHONPATH", "")])
    tunables = [each for each in environment.get("GLIBC_TUNABLES", "").split(":") if each and each != HUGE_PAGES]
    return (
        _measured(result_bytes, {**environment, "GLIBC_TUNABLES": ":".join(tunables)}),
        _measured(result_bytes, {**environment, "GLIBC_TUNABLES": ":".join([*tunables, HUGE_PAGES])}),
    )


def _measured(result_bytes: int, environment: dict[str, str]) -> PageCost:
    command = [sys.executable, "-P", "-m", "memline.verify.faults", str(result_bytes)]
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        raise MeasureError(f"the fresh process that measures page faults took more than {_TIMEOUT_S} s") from None
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["nothing was said"])[-1]
        raise MeasureError(f"the fresh process that measures page faults failed: {last}")
    return PageCost(**json.loads(done.stdout))


def _cost_here(result_bytes: int) -> dict[str, Any]:
    import jax
    import jax.numpy as jnp

    x = jnp.ones(result_bytes // 4, jnp.float32)

    def scaled(values: Any) -> Any:
        return values * 2 + 1

    fresh = jax.jit(scaled)
    over = jax.jit(scaled, donate_argnums=0)
    fresh_seconds, fresh_faults = _timed(lambda: jax.block_until_ready(fresh(x)))
    held = [x + 0]

    def write_over() -> None:
        held[0] = jax.block_until_ready(over(held[0]))

    reused_seconds, _ = _timed(write_over)
    return {"fresh_seconds": fresh_seconds, "fresh_faults": fresh_faults, "reused_seconds": reused_seconds}


def _timed(call: Callable[[], Any]) -> tuple[float, int]:
    """Returns the median time and number of faults of a call, the first two calls aside."""
    import resource

    seconds, faults = [], []
    for _ in range(_CALLS + 2):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        began = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - began)
        faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
    return statistics.median(seconds[2:]), int(statistics.median(faults[2:]))


if __name__ == "__main__":
    print(json.dumps(_cost_here(int(sys.argv[1]))))
