"""The curve as a picture."""

from __future__ import annotations

import os
from typing import Any

from memline.errors import MissingPackageError
from memline.tradeoff.curve import Curve
from memline.units import format_bytes

_BLUE, _RED, _GREY = "#20639b", "#b5482a", "#888888"
_LINEAR = 20
"""Where the slowest point takes this many times as long as the fastest, a linear axis would show only that one."""


def plot(curve: Curve, where: Any = None) -> Any:
    """Draws a curve: time over limit, the program as it was written beside it; see `Curve.plot`."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
        from matplotlib.ticker import FuncFormatter
    except ImportError as error:
        raise MissingPackageError(
            "drawing a curve needs matplotlib, which is not installed: pip install 'memline[plot]'. "
            "The table, print(curve), needs nothing."
        ) from error
    if where is None or isinstance(where, str | os.PathLike):
        figure = Figure(figsize=(7, 4.2), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
    else:
        figure, axes = None, where
    measured = curve.plain.measured_seconds is not None
    last = max(curve.plain.compiled_peak_bytes, *(point.limit_bytes for point in curve.points))
    limits = [point.limit_bytes for point in curve.points] + [last]
    times = [1e3 * point.seconds for point in curve.points]
    axes.step(limits, [*times, times[-1]], where="post", color=_BLUE, lw=1.5)
    axes.plot(limits[:-1], times, "o", color=_BLUE, label="measured" if measured else "estimated")
    if measured:
        estimates = [1e3 * point.estimated_seconds for point in curve.points]
        axes.plot(limits[:-1], estimates, "x", color=_GREY, label="estimated")
    plain = curve.plain
    axes.plot([plain.compiled_peak_bytes], [1e3 * plain.seconds], "s", color=_RED, label="as written")
    best = curve.recommended
    axes.plot(
        [best.limit_bytes],
        [1e3 * best.seconds],
        "o",
        ms=13,
        mfc="none",
        mec=_BLUE,
        label=f"ask for {format_bytes(best.limit_bytes, up=True)}",
    )
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: format_bytes(round(x)).replace(".00", "")))
    axes.set_xlabel("memory limit (log)")
    if max(times) > _LINEAR * min(*times, 1e3 * plain.seconds):
        axes.set_yscale("log")
        axes.set_ylabel("time of a call, ms (log)")
    else:
        axes.set_ylim(bottom=0)
        axes.set_ylabel("time of a call, ms")
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    if figure is not None and where is not None:
        figure.savefig(where, dpi=120)
    return axes
