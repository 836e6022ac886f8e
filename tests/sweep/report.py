"""Runs the sweep over functions and tells what became of them."""

from __future__ import annotations

import fnmatch
import gc
import time
import warnings
import zlib
from collections import Counter
from collections.abc import Iterator

import jax
import numpy as np

from tests.sweep.call import Drawn
from tests.sweep.case import Outcome, judge
from tests.sweep.draw import Refusal, draws
from tests.sweep.names import functions
from tests.sweep.programs import programs, with_gradient

_CLEAR_AFTER = 60  # programs, before JAX's caches of them fill the memory
ANY = -1
"""The turn that is another for each call."""


def drawn(seed: int, pattern: str = "*", part: tuple[int, int] = (0, 1)) -> Iterator[Drawn | Refusal]:
    """Yields what could be drawn of the functions whose names match, and what could not, of the k-th of n parts."""
    k, n = part
    matching = [(name, function) for name, function in functions().items() if fnmatch.fnmatch(name, pattern)]
    for name, function in matching[k::n]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of plain JAX, on types that it casts
            made = draws(name, function, seed)
        yield from made if isinstance(made, list) else [made]


def run(each: Drawn, seed: int, turn: int | None = None) -> list[Outcome]:
    """Returns what became of the programs of a drawn call: of all, or of the one whose turn it is.

    Of those whose turn never comes, as plain `jit` cannot run them (a function that has no batching rule), the
    next one runs.
    """
    with jax.enable_x64(each.wide):
        plain = programs(each, seed)
        gradients = [g for g in map(with_gradient, plain) if g is not None]
        if turn == ANY:
            turn = int(np.random.default_rng([seed, zlib.crc32(str(each).encode())]).integers(6))
        if turn is None:
            return [judge(f"{each} {program.name}", program) for program in (*plain, *gradients)]
        chosen = gradients if turn % 2 == 0 and gradients else plain
        found: list[Outcome] = []
        for k in range(len(chosen)):
            program = chosen[(turn // 2 + k) % len(chosen)]
            found.append(judge(f"{each} {program.name}", program))
            if found[-1].verdict != "plain fails":
                return found[-1:]
        return found


def sweep(seed: int, pattern: str, turn: int | None, part: tuple[int, int]) -> int:
    """Runs the sweep, prints a line for each case and the counts, and returns how many cases were bad.

    Args:
      seed: 0 draws each function in all its ways, others in one with other number types.
      pattern: which functions, by name.
      turn: runs one program of each call instead of all, another for each number from 0, or a drawn one for `ANY`.
      part: (k, n) runs the k-th of n equal parts of the functions.
    """
    counts: Counter[str] = Counter()
    refusals = []
    began = last = time.monotonic()
    since = 0
    bad: list[Outcome] = []
    for each in drawn(seed, pattern, part):
        if isinstance(each, Refusal):
            refusals.append(each)
            continue
        counts["calls drawn"] += 1
        for outcome in run(each, seed, turn):
            since += 1
            counts[outcome.verdict] += 1
            counts["with less than plain jit's temporaries"] += outcome.memory < 1
            weak = f" ({outcome.finite:.0%} finite)" if outcome.finite < 0.5 else ""
            now = time.monotonic()
            told = f"{outcome.verdict:<11} {outcome.memory:4.2f} {now - last:4.1f} s {outcome.case}{weak} {outcome.why}"
            last = now
            print(told.rstrip(), flush=True)
            bad.extend([outcome] if outcome.bad else [])
        if since >= _CLEAR_AFTER:
            jax.clear_caches()
            gc.collect()
            since = 0
    print(f"\n{len(refusals)} functions not drawn:")
    for refusal in refusals:
        print(f"  {refusal.name}: {refusal.why}")
    conclude(bad, counts, began)
    return len(bad)


def conclude(bad: list[Outcome], counts: Counter[str], began: float) -> None:
    """Prints the bad cases of a sweep that began at a time of the monotonic clock, and how many came out how."""
    print(f"\n{len(bad)} bad cases:")
    for outcome in bad:
        print(f"  {outcome.verdict}: {outcome.case}: {outcome.why}")
    print(f"\n{dict(counts)} in {time.monotonic() - began:.0f} s")
