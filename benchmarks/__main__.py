"""`python -m benchmarks [program or suite ...]`: memline measured against plain `jax.jit`, as a table.

`python -m benchmarks rewriting` measures programs that are rewritten rather than split.
`--suite others` measures programs of published packages, which `pip install memline[programs]` installs.
`python -m benchmarks packing` measures the packing of buffers instead (`benchmarks.packing`).
"""

import argparse
import json
import sys
import time
from pathlib import Path

from benchmarks.compilers import KINDS
from benchmarks.machine import describe
from benchmarks.others import OTHERS
from benchmarks.programs import PROGRAMS
from benchmarks.rewriting import REWRITING
from benchmarks.row import run_row
from benchmarks.table import table

SUITES = {"own": {name: name for name in PROGRAMS}, "others": OTHERS, "rewriting": REWRITING}
"""The programs of each suite by name, as `benchmarks.programs.find` takes them."""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = argparse.ArgumentParser(prog="python -m benchmarks", description=(__doc__ or "").splitlines()[0])
    result.add_argument("programs", nargs="*", metavar="program", help="or a suite; default: all of the suite")
    result.add_argument("--suite", choices=SUITES, default="own", help="whose programs (default: own)")
    result.add_argument("--list", action="store_true", help="name the programs and stop")
    result.add_argument("--only", choices=KINDS, help="measure one way to compile and not the other")
    result.add_argument("--repeats", type=int, default=5, help="timed calls of each (default: 5)")
    result.add_argument("--seed", type=int, default=0, help="seed of the random inputs")
    result.add_argument("--out", type=Path, help="write everything measured to this JSON file")
    return result


def main(arguments: list[str] | None = None) -> int:
    """Run the programs asked for; 1 if one of them failed its numbers."""
    words = sys.argv[1:] if arguments is None else arguments
    if words[:1] == ["packing"]:
        from benchmarks.packing.main import main as packing  # only here: it needs the native solver

        return packing(words[1:])
    options = parser().parse_args(arguments)
    if options.list:  # by name alone: a title of the other suite is known only where its package is installed
        print("\n".join(f"{suite:8} {name}" for suite, programs in SUITES.items() for name in programs))
        return 0
    known = {name: reference for programs in SUITES.values() for name, reference in programs.items()}
    asked = [program for name in options.programs for program in SUITES.get(name, [name])]
    unknown = [name for name in asked if name not in known]
    if unknown:
        print(f"no program named {', '.join(unknown)}; see --list", file=sys.stderr)
        return 2
    if options.repeats < 1:
        print(f"--repeats must be at least 1, not {options.repeats}", file=sys.stderr)
        return 2

    start = time.perf_counter()

    def say(text: str) -> None:
        print(f"[{time.perf_counter() - start:6.0f} s] {text}", file=sys.stderr, flush=True)

    kinds = [options.only] if options.only else list(KINDS)
    record = {"format": 1, "machine": describe(), "repeats": options.repeats, "rows": []}
    rows = []
    for name in asked or SUITES[options.suite]:
        rows.append(run_row(known[name], kinds, options.repeats, options.seed, say))
        record["rows"].append(rows[-1].to_json())
        if options.out:  # after every row: a run that is cut short keeps what it has
            options.out.write_text(json.dumps(record, indent=2) + "\n")
    print(table(rows))
    checks = ((row.limit_held, row.target_met, row.agrees, row.temp_held) for row in rows)
    failed = any(row.errors or False in held for row, held in zip(rows, checks, strict=True))
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
