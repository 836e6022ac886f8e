"""The demo's pictures, as PNG files."""

from collections.abc import Iterable
from pathlib import Path

import matplotlib

matplotlib.use("Agg")  # files only: no window, no display needed

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.programs.program import MIB
from benchmarks.row import Row
from examples.demo.mosaic import Mosaic
from examples.demo.needs import memline_need, plain_need
from examples.demo.sparse_gp import Fit

COLOURS = {"plain": "#b5482a", "limit": "#8a8a8a", "memline": "#20639b"}
DPI = 110


def draw_fit(fit: Fit, path: Path) -> None:
    """The photograph beside what the Gaussian process makes of it."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 4.4), layout="constrained")
    height, width, _ = fit.original.shape
    left.imshow(fit.original)
    left.set_title(f"photograph, {height * width:,} pixels")
    right.imshow(fit.reconstruction)
    right.plot(fit.inducing[:, 1], fit.inducing[:, 0], "w.", markersize=2.5, alpha=0.7, scalex=False, scaley=False)
    right.set_title(f"sparse GP, {len(fit.inducing)} inducing points, rmse {fit.error:.3f}")
    _save(figure, (left, right), path)


def draw_mosaic(mosaic: Mosaic, path: Path) -> None:
    """The subject beside its mosaic."""
    figure, (left, right) = plt.subplots(1, 2, figsize=(12, 4.4), layout="constrained")
    left.imshow(mosaic.original)
    left.set_title("photograph")
    right.imshow(mosaic.laid)
    right.set_title("laid from the nearest patches of the other photograph")
    _save(figure, (left, right), path)


def draw_losses(losses: list[float], path: Path) -> None:
    """The transformer's loss over its training steps."""
    figure, axes = plt.subplots(figsize=(6.5, 4), layout="constrained")
    axes.plot(range(1, len(losses) + 1), losses, color=COLOURS["memline"], marker=".")
    axes.set(xlabel="training step", ylabel="nats a character", title="character transformer")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=DPI)
    plt.close(figure)


def draw_memory(rows: list[Row], path: Path) -> None:
    """Plain jit's need, the limit and memline's need of every program, as bars."""
    figure, axes = plt.subplots(figsize=(9, 4.6), layout="constrained")
    bars = {
        "plain": ("plain jax.jit", [plain_need(row) for row in rows]),
        "limit": ("limit", [row.limit_bytes for row in rows]),
        "memline": ("memline.jit, measured", [memline_need(row) for row in rows]),
    }
    for place, (kind, (label, sizes)) in enumerate(bars.items()):
        heights = [(size or 0) / MIB for size in sizes]
        lefts = [column + 0.27 * (place - 1) for column in range(len(rows))]
        drawn = axes.bar(lefts, heights, 0.25, label=label, color=COLOURS[kind])
        accounted = [kind == "plain" and row.plain is None for row in rows]
        texts = [_size_text(*pair) for pair in zip(sizes, accounted, strict=True)]
        axes.bar_label(drawn, texts, padding=2, fontsize=8)
    axes.set_yscale("log")
    axes.set_ylim(bottom=10)
    axes.margins(y=0.12)
    axes.set_xticks(range(len(rows)), [row.name for row in rows])
    axes.set_ylabel("arguments, results and temporaries (MiB, log scale)")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    figure.savefig(path, dpi=DPI)
    plt.close(figure)


def _save(figure: Figure, panels: Iterable[Axes], path: Path) -> None:
    for axes in panels:
        axes.set_axis_off()
    figure.savefig(path, dpi=DPI)
    plt.close(figure)


def _size_text(size: int | None, accounted: bool) -> str:
    if size is None:
        return "not\nmeasured"
    return f"{size / MIB:,.0f}" + "\n(XLA's account)" * accounted
