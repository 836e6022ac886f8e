"""What runs in the fresh processes of a benchmark: `python -m benchmarks.child REQUEST RESULT`.

REQUEST is a JSON object with the name of a task, of a program, and the task's parameters. The
answer is written as JSON to the file RESULT: an object with either `value` or `error`.
"""

import functools
import json
import statistics
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks.agreement import difference
from benchmarks.compilers import build, honest, warm_up
from benchmarks.measure import die_first, peak_growth
from benchmarks.programs import Program, argument_bytes, find


def account(program: Program, seed: int) -> dict:
    """What is known without running: sizes, the limit, and the peak XLA accounts for."""
    args = program.make_args(seed)
    size = argument_bytes(args)
    plain = honest(program.fun, args)
    return {
        "argument_bytes": size,
        "limit_bytes": program.limit(size),
        "honest_peak_bytes": plain.compiled_peak_bytes,
        "plain_fits": program.plain_fits,
        "temp_limit_bytes": program.temp_limit_bytes(plain.temp_bytes),
        "notes": [program.note()] if program.note else [],
    }


def memory(program: Program, seed: int, kind: str) -> dict:
    """Growth of peak resident memory in the first full-size call, inputs resident, program warm."""
    args = resident_args(program, seed)
    limit_bytes = program.limit(argument_bytes(args))
    built = build(kind, program.fun, args, limit_bytes)
    warm_up(kind, program.fun, program.warm_args(), limit_bytes)
    _, growth = peak_growth(lambda: jax.block_until_ready(built.call(*args)))
    return {
        "growth_bytes": growth.bytes,
        "method": growth.method,
        "compiled_peak_bytes": built.compiled_peak_bytes,
        "temp_bytes": built.temp_bytes,
        "compile_seconds": built.compile_seconds,
        "planning_seconds": built.planning_seconds,
        "moves": list(built.moves),
    }


def timing(program: Program, seed: int, kinds: list[str], repeats: int) -> dict:
    """Times of all kinds side by side, and of the program's rivals: after a warm-up call each, they take turns."""
    args = resident_args(program, seed)
    limit_bytes = program.limit(argument_bytes(args))
    calls, absent = rival_calls(program, args)
    for kind in kinds:
        built = build(kind, program.fun, args, limit_bytes)
        calls[kind] = functools.partial(built.call, *args)
    results = {name: jax.device_get(timed(call)[1]) for name, call in calls.items()}
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(repeats):
        for name in calls if turn % 2 == 0 else reversed(calls):
            seconds[name].append(timed(calls[name])[0])
    answer: dict[str, Any] = {
        "seconds": seconds,
        "median_seconds": {name: statistics.median(each) for name, each in seconds.items()},
        "rival_targets": {rival.name: rival.target_ratio for rival in program.rivals if rival.name in calls},
        "rival_bytes": {name: result["growth_bytes"] for name, result in results.items() if _tells_growth(result)},
        "absent": absent,
    }
    if {"plain", "memline"} <= set(kinds):
        found = difference(results["plain"], results["memline"], program.tied)
        answer["largest_relative_difference"] = found.largest_relative
        answer["integers_differing"] = found.integers_differing
        answer["agrees"] = found.within(program.tolerance)
    return answer


def rival_calls(program: Program, args: tuple) -> tuple[dict[str, Callable[[], Any]], list[str]]:
    """What is timed of each rival, by name, and why others are absent."""
    calls: dict[str, Callable[[], Any]] = {}
    absent = []
    for rival in program.rivals:
        try:
            calls[rival.name] = rival.prepare(*args)
        except ImportError as error:
            absent.append(f"{rival.name} was not timed: {error}")
    return calls, absent


def _tells_growth(result: Any) -> bool:
    """Whether a rival that runs in a process of its own says how much memory it took there."""
    return isinstance(result, dict) and "growth_bytes" in result


def timed(call: Callable[[], Any]) -> tuple[float, Any]:
    """Seconds that one call takes, and its result."""
    start = time.perf_counter()
    result = jax.block_until_ready(call())
    return time.perf_counter() - start, result


def resident_args(program: Program, seed: int) -> tuple:
    """The full-size inputs as JAX arrays on the default device."""
    return jax.block_until_ready(jax.tree.map(jnp.asarray, program.make_args(seed)))


TASKS = {"account": account, "memory": memory, "timing": timing}


def main(request: str, result_path: str) -> None:
    """Do what the request says and write the answer."""
    parameters = json.loads(request)
    task, program = TASKS[parameters.pop("task")], find(parameters.pop("program"))
    die_first()
    jax.config.update("jax_enable_x64", program.x64)
    try:
        answer = {"value": task(program, **parameters)}
    except Exception as error:
        answer = {"error": f"{type(error).__name__}: {error}", "traceback": traceback.format_exc()}
    Path(result_path).write_text(json.dumps(answer))


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
