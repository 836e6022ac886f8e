"""`python -m benchmarks.curve [program ...]`: curves with measured times, and how well estimates rank them."""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
from scipy.stats import kendalltau

import memline
from benchmarks.programs import PROGRAMS, attention, batch_norm, gaussian, lm_head, mlp

# A curve runs a program dozens of times: these are smaller than the rows of the table, and still too big for a cache.
ARGS: dict[str, Callable[[int], tuple[Any, ...]]] = {
    "gaussian-gradient": lambda seed: gaussian.gradient_args(seed, 4_000),
    "attention": lambda seed: attention.make_args(seed, 4, 1_024, 64),
    "mlp": lambda seed: mlp.make_args(seed, 4_096, (256, 512, 512, 512, 1)),
    "lm-head": lambda seed: lm_head.make_args(seed, 2_048, 256, 16_000),
    "batch-norm": lambda seed: batch_norm.make_args(seed, 4_096, (256, 512, 512, 512, 512), 10),
}


def curve_of(name: str, seed: int, points: int, repeats: int) -> memline.Curve:
    """The measured curve of a program; at its full size where no smaller one is named here."""
    program = PROGRAMS[name]
    with jax.enable_x64(program.x64):
        args = ARGS.get(name, program.make_args)(seed)
        return memline.curve(program.fun, *args, points=points, measure=True, repeats=repeats)


def tau(curve: memline.Curve) -> float:
    """Kendall's tau between estimated and measured times of every plan that was tried; 1 for the same order.

    The plans that the curve leaves out count too: those that it keeps are in order by construction.
    """
    tried = [point for point in curve.tried if point.measured_seconds is not None]
    if len(tried) < 2:
        return 1.0
    found = kendalltau([point.estimated_seconds for point in tried], [point.measured_seconds for point in tried])
    return float(np.asarray(found)[0])


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = argparse.ArgumentParser(prog="python -m benchmarks.curve", description=__doc__)
    result.add_argument("programs", nargs="*", metavar="program", help=f"default: {' '.join(ARGS)}")
    result.add_argument("--points", type=int, default=6, help="limits above the floor (default: 6)")
    result.add_argument("--repeats", type=int, default=3, help="timed calls in each of three processes (default: 3)")
    result.add_argument("--seed", type=int, default=0, help="seed of the random inputs")
    result.add_argument("--out", type=Path, help="a folder for the curves: a JSON file and a picture each")
    return result


def main(arguments: list[str] | None = None) -> int:
    """Measure the curves asked for; 1 if one of them is not ranked well by its estimates."""
    options = parser().parse_args(arguments)
    unknown = [name for name in options.programs if name not in PROGRAMS]
    if unknown:
        print(f"no program named {', '.join(unknown)}; see python -m benchmarks --list", file=sys.stderr)
        return 2
    taus = {}
    for name in options.programs or ARGS:
        curve = curve_of(name, options.seed, options.points, options.repeats)
        taus[name] = tau(curve)
        print(f"{name}\n{curve}")
        for point in curve.tried:
            ratio = (point.measured_seconds or 0.0) / max(point.estimated_seconds, 1e-12)
            print(f"    tried: {point.compiled_peak_bytes / 2**20:9.1f} MiB, measured / estimated {ratio:.2f}")
        print(f"  Kendall's tau of {len(curve.tried)} plans: {taus[name]:.2f}\n", flush=True)
        if options.out:
            options.out.mkdir(parents=True, exist_ok=True)
            (options.out / f"{name}.json").write_text(curve.to_json() + "\n")
            curve.plot(options.out / f"{name}.png")
    print(json.dumps({name: round(value, 3) for name, value in taus.items()}))
    return int(min(taus.values()) < 0.8)


if __name__ == "__main__":
    sys.exit(main())
