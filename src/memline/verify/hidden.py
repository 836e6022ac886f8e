"""Memory that a compiled CPU program takes and XLA's account of it does not show: scratch of sorts, products, LAPACK.

Instructions that do not wait for each other may run at once, so the scratch of as many of them as there are threads
is added up. The laws of single instructions are in `memline.verify.scratch`.

A loop that makes products takes their scratch many times over: whichever thread is last gives it back to the C
library, which keeps what it is given in a pool for each thread, and the next step of the loop asks another pool.
"""

from __future__ import annotations

from typing import Any

from memline.devices import thread_count
from memline.verify.hlo import Computation, Instruction, computations
from memline.verify.scratch import LAWS, Site, kept_scratch, library_scratch, library_thread_scratch

_LIBRARY = "__ynn_fusion"
_MMAP_BYTES = 2**25  # blocks from here on never go to a pool: glibc's highest threshold
_MOST_POOLS = {"dot": 8, "convolution": 8, "fusion": 2}
_ONE_ROUND = '"known_trip_count":{"n":"1"}'
_WORDS = (_LIBRARY, *(f" {opcode}(" for opcode in LAWS))


def hidden_bytes(compiled: Any) -> int:
    """Returns an estimate of what a CPU program takes at most outside XLA's account; 0 where its text is not known.

    Args:
      compiled: a `jax.stages.Compiled` for the CPU.
    """
    try:
        text = compiled.as_text()
    except Exception:  # a backend without a text; there are many ways to say so
        return 0
    return hidden_bytes_of_text(text or "", thread_count())


def hidden_bytes_of_text(text: str, threads: int) -> int:
    """Returns the same for the text of an optimised HLO module that runs on so many threads."""
    if not any(word in text for word in _WORDS):
        return 0
    parts = computations(text)
    totals: dict[tuple[str, bool], int] = {}
    for name, part in parts.items():  # what is called comes first
        for in_loop in (False, True):
            totals[name, in_loop] = _total(part, in_loop, parts, totals, threads)
    by_threads = max((library_thread_scratch(parts[name], threads) for name in _in_library(parts)), default=0)
    kept = max((kept_scratch(part, threads) for part in parts.values()), default=0)
    return kept + by_threads + max((totals[name, False] for name, part in parts.items() if part.is_entry), default=0)


def _total(
    part: Computation,
    in_loop: bool,
    parts: dict[str, Computation],
    totals: dict[tuple[str, bool], int],
    threads: int,
) -> int:
    """Returns the most that instructions which may run at once take together: greedily, from the biggest on."""
    before: dict[str, int] = {}  # sets of hiding instructions that an instruction waits for, as bits
    hiding: list[tuple[int, int, int]] = []
    for name, instruction in part.instructions.items():
        waits = 0
        for operand in instruction.operands:
            waits |= before.get(operand, 0)
        if instruction.opcode in ("while", "call", "conditional"):
            repeats = in_loop or (instruction.opcode == "while" and _ONE_ROUND not in instruction.text)
            scratch = max((totals.get((name, repeats), 0) for name in instruction.operands), default=0)
        else:
            scratch = _scratch(instruction, part, parts, threads)
            if in_loop and scratch < _MMAP_BYTES:
                scratch *= min(threads + 3, _MOST_POOLS.get(instruction.opcode, 1))
        if scratch > 0:
            bit = 1 << len(hiding)
            hiding.append((scratch, bit, waits))
            waits |= bit
        before[name] = waits
    chosen: list[tuple[int, int, int]] = []
    for candidate in sorted(hiding, reverse=True):
        if len(chosen) == threads:
            break
        if not any(candidate[2] & bit or waits & candidate[1] for _, bit, waits in chosen):
            chosen.append(candidate)
    return sum(scratch for scratch, _, _ in chosen)


def _scratch(instruction: Instruction, part: Computation, parts: dict[str, Computation], threads: int) -> int:
    law = LAWS.get(instruction.opcode)
    try:
        if law is not None:
            return law(Site(instruction, part.shapes(instruction), parts, threads))
        if _LIBRARY not in instruction.text:
            return 0
        return max((library_scratch(parts[name], threads) for name in instruction.operands if name in parts), default=0)
    except (IndexError, ValueError):  # fewer operands or sizes than the law knows: a newer XLA
        return 0


def _in_library(parts: dict[str, Computation]) -> set[str]:
    """Returns the names of the computations that the library runs."""
    steps = (step for part in parts.values() for step in part.instructions.values() if _LIBRARY in step.text)
    return {name for step in steps for name in step.operands if name in parts}
