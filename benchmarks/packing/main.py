"""`python -m benchmarks packing [part ...]`: what packing promises, measured."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.machine import describe
from benchmarks.packing.agreement import disagreement
from benchmarks.packing.arena import arena
from benchmarks.packing.capacity import capacity
from benchmarks.packing.problems import folder
from benchmarks.packing.real import real
from benchmarks.packing.scale import scale
from benchmarks.packing.tail import tail

RANDOM_PROBLEMS = 10_000


def agreement(say: Callable[[str], None]) -> dict[str, Any]:
    """Ten thousand random small problems, against trying every offset."""
    wrong = [found for seed in range(RANDOM_PROBLEMS) if (found := disagreement(seed, threads=1 + seed % 2))]
    for found in wrong[:5]:
        say(f"agreement, seed {found.seed}: {found.what}")
    say(f"agreement: {len(wrong)} disagreements in {RANDOM_PROBLEMS} random problems")
    return {"problems": RANDOM_PROBLEMS, "wrong": [found.seed for found in wrong], "met": not wrong}


PARTS: dict[str, Callable[[Callable[[str], None]], dict[str, Any]]] = {
    "capacity": capacity,
    "arena": arena,
    "scale": scale,
    "xla": real,
    "agreement": agreement,
    "tail": tail,
}
_PUBLIC = {"capacity", "arena", "tail"}
"""These read MiniMalloc's problems."""


def main(arguments: list[str]) -> int:
    """Runs the parts asked for; 1 if one of them missed what it should meet."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks packing", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="part", help=f"default: all of {', '.join(PARTS)}")
    parser.add_argument("--out", type=Path, help="write everything measured to this JSON file")
    options = parser.parse_args(arguments)
    unknown = [part for part in options.parts if part not in PARTS]
    if unknown:
        print(f"no part named {', '.join(unknown)}; there are {', '.join(PARTS)}", file=sys.stderr)
        return 2
    parts = options.parts or list(PARTS)
    if _PUBLIC & set(parts) and not folder().is_dir():
        print(f"MiniMalloc's problems are not in {folder()}: set MEMLINE_DATA to where they are", file=sys.stderr)
        return 2
    start = time.perf_counter()

    def say(text: str) -> None:
        print(f"[{time.perf_counter() - start:6.0f} s] {text}", flush=True)

    record: dict[str, Any] = {"format": 1, "machine": describe()}
    for part in parts:
        record[part] = PARTS[part](say)
        if options.out:  # after every part: a run that is cut short keeps what it has
            options.out.write_text(json.dumps(record, indent=1) + "\n")
    missed = [part for part in parts if not record[part]["met"]]
    print(f"missed: {', '.join(missed)}" if missed else "all met")
    return int(bool(missed))
