"""`memline demo`: nearest neighbours on made-up points, plain and under a limit, measured side by side."""

from __future__ import annotations

import argparse
import json
from typing import Any

from memline.cli.command import FINE, NO
from memline.cli.progress import busy
from memline.cli.values import count, size
from memline.units import format_bytes

EXAMPLES = """\
examples:
  memline demo
      half a minute: what plain jax.jit takes, what memline takes under 64 MiB, the plan, and that results agree
  memline demo --limit 16MiB --points 100000
"""
_SOURCE = """\
    def nearest(points, queries):
        distances = ((queries[:, None, :] - points[None, :, :]) ** 2).sum(-1)
        return jax.lax.top_k(-distances, 10)[1]"""
_DIMENSIONS, _QUERIES, _NEIGHBOURS = 16, 256, 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `memline demo`."""
    parser.add_argument("--limit", type=size, default=64 * 2**20, help="for the call (default: 64MiB)")
    parser.add_argument("--points", type=count, default=200_000, help="how many to search (default: 200000)")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")


def run(options: argparse.Namespace) -> int:
    """Runs `memline demo`."""
    import jax
    import numpy as np

    from memline.api import jit

    def nearest(points: Any, queries: Any) -> Any:  # as `_SOURCE` shows it
        distances = ((queries[:, None, :] - points[None, :, :]) ** 2).sum(-1)
        return jax.lax.top_k(-distances, _NEIGHBOURS)[1]

    from memline.verify.measured import measure

    points = jax.random.normal(jax.random.key(0), (options.points, _DIMENSIONS))
    queries = points[:_QUERIES]
    fast = jit(nearest, memory_limit=options.limit)
    with busy("planning and compiling"):
        compiled = fast.lower(points, queries).compile()
    with busy("measuring plain jax.jit in a fresh process"):
        plain = measure(nearest, points, queries)
    with busy("measuring memline.jit in a fresh process"):
        ours = compiled.measure(points, queries)
    agree = float(np.mean(np.asarray(fast(points, queries)) == np.asarray(jax.jit(nearest)(points, queries))))
    argument_bytes = points.nbytes + queries.nbytes
    held = argument_bytes + ours.peak_bytes <= options.limit
    figures = {
        "limit_bytes": options.limit,
        "argument_bytes": argument_bytes,
        "plain_peak_bytes": argument_bytes + plain.peak_bytes,
        "memline_peak_bytes": argument_bytes + ours.peak_bytes,
        "plain_seconds": plain.median_s,
        "memline_seconds": ours.median_s,
        "same_neighbours": agree,
        "limit_held": held,
    }
    print(json.dumps(figures, indent=1) if options.json else _page(figures, compiled.plan, options.points))
    return FINE if held else NO


def _page(figures: dict[str, Any], plan: Any, points: int) -> str:
    def row(name: str, kind: str) -> str:
        peak, seconds = figures[f"{kind}_peak_bytes"], figures[f"{kind}_seconds"]
        return f"  {name:<12} {format_bytes(peak):>12} {seconds * 1e3:>10.0f} ms"

    held = "held" if figures["limit_held"] else "NOT held"
    return "\n".join(
        [
            f"The {_NEIGHBOURS} nearest of {points} points for {_QUERIES} queries, as a textbook writes it:",
            "",
            _SOURCE,
            "",
            f"  {'':<12} {'peak':>12} {'time':>13}    measured in fresh processes, arguments included",
            row("jax.jit", "plain"),
            row("memline.jit", "memline"),
            "",
            f"The limit was {format_bytes(figures['limit_bytes'])}: {held}. {figures['same_neighbours']:.2%} of the "
            "neighbours are the same; others are as near but for rounding.",
            "",
            str(plan),
            "",
            "Your own function: memline plan your_module:function --args 'f32[1000,16]' --limit 2GiB",
            "Your own script, as it is: memline run script.py --limit 2GiB",
        ]
    )
