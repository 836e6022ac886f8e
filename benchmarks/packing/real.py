"""XLA on real programs: what its temporaries take, the load that no packing can be below, and what ours takes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from benchmarks.programs import PROGRAMS
from memline.packing import check, minimize, xla_assignment

_TIME_LIMIT = 20.0


def real(say: Callable[[str], None], programs: list[str] | None = None) -> dict[str, Any]:
    """Packs the temporaries of the programs of the main benchmark, as plain `jax.jit` compiles them."""
    rows: dict[str, dict[str, Any]] = {}
    for name in programs or list(PROGRAMS):
        program = PROGRAMS[name]
        with jax.enable_x64(program.x64):
            leaves = jax.tree.map(lambda x: jax.ShapeDtypeStruct(np.shape(x), x.dtype), program.make_args(0))
            found = xla_assignment(program.fun, *leaves)
        problem = found.problem
        best = minimize(problem, time_limit=_TIME_LIMIT)
        valid = not check(problem.with_capacity(found.temp_bytes), found.packing) and not check(problem, best.packing)
        rows[name] = {
            "buffers": len(problem.buffers),
            "xla_bytes": found.temp_bytes,
            "load_bytes": problem.peak_load,
            "packed_bytes": best.arena,
            "bound_bytes": best.bound,
            "proved": best.proved,
            "valid": valid,
        }
        lost = found.temp_bytes / best.arena - 1 if best.arena else 0.0
        say(
            f"XLA, {name}: {len(problem.buffers)} buffers, XLA {found.temp_bytes}, load {problem.peak_load}, "
            f"packed {best.arena} ({'proved' if best.proved else best.stopped}); XLA takes {lost:.2%} more"
        )
    return {"rows": rows, "met": all(row["valid"] for row in rows.values())}
