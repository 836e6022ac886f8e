"""`python -m examples.demo`: run the three programs, measure them, draw what came out."""

import argparse
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import jax

from benchmarks.compilers import KINDS
from benchmarks.programs import find
from benchmarks.row import run_row
from examples.demo import figures, mosaic, sparse_gp, transformer
from examples.demo.summary import summary

MODULES = ("sparse_gp", "mosaic", "transformer")
REPEATS = 3


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = argparse.ArgumentParser(prog="python -m examples.demo", description=__doc__)
    result.add_argument("--out", type=Path, default=Path("out/demo"), help="folder for the pictures")
    result.add_argument("--quick", action="store_true", help="tiny inputs: does everything run?")
    result.add_argument("--only", choices=KINDS, help="run one way to compile and not the other")
    return result


def main(arguments: list[str] | None = None) -> int:
    """Run the demo; 1 if something failed."""
    options = parser().parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()

    def say(text: str) -> None:
        print(f"[{time.perf_counter() - start:4.0f} s] {text}", flush=True)

    kinds = [options.only] if options.only else list(KINDS)
    size = "QUICK" if options.quick else "PROGRAM"
    rows, pictures = [], []
    for module in MODULES:
        reference = f"examples.demo.{module}:{size}"
        program = find(reference)
        say(f"{program.name}: {program.title}; limit {program.limit_text}")
        rows.append(run_row(reference, kinds, REPEATS, 0, say))
        jax.config.update("jax_enable_x64", program.x64)
        jit = compiler(kinds[-1], program.limit_bytes)
        path = options.out / f"{module.replace('_', '-')}.png"
        try:
            show(module, jit, options.quick, say, path)
        except Exception as error:
            rows[-1].errors.append(f"{type(error).__name__}: {error}")
            say(f"{program.name}: {rows[-1].errors[-1]}")
        else:
            pictures.append(path)

    pictures.append(options.out / "memory.png")
    figures.draw_memory(rows, pictures[-1])
    print(f"\n{summary(rows)}\n")
    print("Pictures: " + ", ".join(str(path.resolve()) for path in pictures))
    return int(any(row.errors or row.limit_held is False or row.agrees is False for row in rows))


def compiler(kind: str, limit_bytes: int) -> Callable[[Callable], Callable]:
    """`jax.jit`, or `memline.jit` under the limit."""
    if kind == "plain":
        return jax.jit
    import memline

    return partial(memline.jit, memory_limit=limit_bytes)


def show(module: str, jit: Callable, quick: bool, say: Callable[[str], None], path: Path) -> None:
    """Put the program to its use and draw the outcome."""
    if module == "sparse_gp":
        figures.draw_fit(sparse_gp.train(jit, quick, say), path)
    elif module == "mosaic":
        figures.draw_mosaic(mosaic.lay(jit, quick, say), path)
    else:
        figures.draw_losses(transformer.train(jit, quick, say), path)


if __name__ == "__main__":
    sys.exit(main())
