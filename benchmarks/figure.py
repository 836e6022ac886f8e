"""`python -m benchmarks.figure record.json out.png`: a run's record as a picture, for the README and the docs."""

import argparse
import json
from pathlib import Path

import matplotlib

matplotlib.use("Agg")  # files only: no window, no display needed

import matplotlib.pyplot as plt

from benchmarks.programs.program import MIB

COLOURS = {"plain": "#b5482a", "memline": "#20639b", "limit": "#333333"}


def draw(record: dict, path: Path) -> None:
    """Measured peaks with the limit on the left, time over plain `jit`'s on the right, a row a program."""
    rows = [row for row in record["rows"] if row["memline"] and row["argument_bytes"] is not None]
    figure, (memory, times) = plt.subplots(
        1, 2, figsize=(11, 0.5 * len(rows) + 1.6), width_ratios=(3, 2), sharey=True, layout="constrained"
    )
    for place, row in enumerate(rows):
        held = row["argument_bytes"]
        for shift, kind in ((-0.19, "plain"), (0.19, "memline")):
            if row[kind]:
                peak = (held + row[kind]["growth_bytes"]) / MIB
                memory.barh(place + shift, peak, 0.36, color=COLOURS[kind], label=kind if place == 0 else None)
        limit = row["limit_bytes"] / MIB
        memory.plot([limit, limit], [place - 0.42, place + 0.42], color=COLOURS["limit"], lw=2)
        if row["ratio"]:
            times.barh(place, row["ratio"], 0.5, color=COLOURS["memline"])
            times.text(row["ratio"] + 0.02, place, f"{row['ratio']:.2f}", va="center", fontsize=9)
    memory.plot([], [], color=COLOURS["limit"], lw=2, label="limit")
    memory.set_xscale("log")
    memory.set_xlabel("measured peak with arguments, MiB (log)")
    memory.set_yticks(range(len(rows)), [row["name"] for row in rows])
    memory.invert_yaxis()
    memory.legend(frameon=False, loc="lower right")
    times.axvline(1.0, color=COLOURS["plain"], lw=1.5)
    times.set_xlabel("time over plain jax.jit's (1 = as fast)")
    times.set_xlim(0, max([1.0, *(row["ratio"] or 0 for row in rows)]) * 1.15)
    for axes in (memory, times):
        axes.spines[["top", "right"]].set_visible(False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)
    plt.close(figure)


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.figure", description=__doc__)
    parser.add_argument("record", type=Path, help="what `python -m benchmarks --out` wrote")
    parser.add_argument("picture", type=Path, help="the PNG to write")
    options = parser.parse_args()
    draw(json.loads(options.record.read_text()), options.picture)


if __name__ == "__main__":
    main()
