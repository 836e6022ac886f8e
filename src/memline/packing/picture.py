"""A packing as a picture: offset over time, every buffer a rectangle, in a PNG or a page that needs nothing else."""

from __future__ import annotations

import html as markup
import os
from collections.abc import Iterator
from dataclasses import dataclass

from memline.errors import MissingPackageError
from memline.packing.answer import Packing
from memline.packing.problem import Problem
from memline.units import format_bytes

_WIDTH, _HEIGHT = 1000, 560
# Hues that differ for neighbours in the file, at one lightness: the golden angle never comes round.
_TURN = 137.508


@dataclass(frozen=True)
class Rectangle:
    """What a buffer takes at one stretch: of time from `begin` to `end`, of memory from `first` to `last`."""

    name: str
    number: int
    begin: int
    end: int
    first: int
    last: int


_TICKS = 8
"""At most so many marks along the offsets, a power of two apart."""


def pool_names(problem: Problem) -> list[str]:
    """Returns the names of the pools, each of which is drawn by itself."""
    return [pool.name for pool in problem.all_pools]


def rectangles(problem: Problem, packing: Packing, pool: str) -> Iterator[Rectangle]:
    """Yields the rectangles in one pool."""
    for number, buffer in enumerate(problem.buffers):
        if packing.pools and packing.pools[number] != pool:
            continue
        at = packing.offsets[number]
        for begin, end, first, last in buffer.segments:
            yield Rectangle(buffer.id, number, begin, end, at + first, at + last)


def png(problem: Problem, packing: Packing, path: str | os.PathLike[str]) -> None:
    """Draws a packing into a file, with matplotlib; what kind of file, its name says.

    Raises:
      MissingPackageError: matplotlib is not installed.
    """
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.collections import PatchCollection
        from matplotlib.figure import Figure
        from matplotlib.patches import Rectangle as Patch
        from matplotlib.ticker import FuncFormatter, MultipleLocator
    except ImportError as error:
        raise MissingPackageError(
            "drawing a packing as PNG needs matplotlib, which is not installed: pip install 'memline[plot]'. "
            "A page, --html, needs nothing."
        ) from error
    names = pool_names(problem)
    figure = Figure(figsize=(10, 5.6 * len(names)), layout="constrained")
    FigureCanvasAgg(figure)
    for k, name in enumerate(names):
        axes = figure.add_subplot(len(names), 1, k + 1)
        drawn = list(rectangles(problem, packing, name))
        patches = [Patch((r.begin, r.first), r.end - r.begin, r.last - r.first) for r in drawn]
        colours = [_rgb(r.number) for r in drawn]
        axes.add_collection(PatchCollection(patches, facecolors=colours, edgecolors="white", linewidths=0.3))
        axes.set_xlim(min((r.begin for r in drawn), default=0), max((r.end for r in drawn), default=1))
        top = max((r.last for r in drawn), default=1)
        axes.set_ylim(0, top)
        axes.yaxis.set_major_locator(MultipleLocator(2 ** (top // _TICKS).bit_length()))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: format_bytes(round(y))))
        axes.set_xlabel("time")
        axes.set_ylabel("offset" if len(names) == 1 else f"offset in {name}")
        axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=120)


def html(problem: Problem, packing: Packing, title: str = "packing") -> str:
    """Returns a packing drawn as a page that loads nothing from elsewhere; each rectangle says what it is when pointed
    at.

    >>> from memline.packing import Buffer
    >>> page = html(Problem([Buffer("a", 0, 3, 4)]), Packing((0,)))
    >>> page.count("<rect"), "http" in page
    (1, False)
    """
    parts = [_svg(list(rectangles(problem, packing, name)), name) for name in pool_names(problem)]
    heading = markup.escape(title)
    return "\n".join(
        [
            '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">',
            f"<title>{heading}</title>\n<style>{_STYLE}</style></head>",
            f"<body><h1>{heading}</h1>",
            f"<p>{len(problem.buffers)} buffers. Offset over time; point at one to see which it is.</p>",
            *parts,
            "</body></html>\n",
        ]
    )


_STYLE = (
    "body{font:14px system-ui,sans-serif;margin:2em;color:#222}h1{font-size:1.3em}"
    "svg{width:100%;height:auto;background:#f6f6f6}rect{stroke:#fff;stroke-width:.4}rect:hover{stroke:#000;stroke-width:2}"
)


def _svg(drawn: list[Rectangle], pool: str) -> str:
    start = min((r.begin for r in drawn), default=0)
    end = max((r.end for r in drawn), default=start + 1)
    top = max((r.last for r in drawn), default=1)
    across, up = _WIDTH / (end - start), _HEIGHT / top
    lines = [
        f"<h2>{markup.escape(pool)}: {format_bytes(top)}, from time {start} to {end}</h2>",
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img">',
    ]
    for r in drawn:
        x, width = (r.begin - start) * across, (r.end - r.begin) * across
        y, height = _HEIGHT - r.last * up, (r.last - r.first) * up
        bytes_told = f"{r.first} to {r.last} ({format_bytes(r.last - r.first)})"
        what = f"{markup.escape(r.name)}: {bytes_told}, time {r.begin} to {r.end}"
        place = f'x="{x:.3f}" y="{y:.3f}" width="{width:.3f}" height="{height:.3f}"'
        lines.append(f'<rect {place} fill="hsl({r.number * _TURN % 360:.0f} 55% 60%)"><title>{what}</title></rect>')
    return "\n".join([*lines, "</svg>"])


def _rgb(number: int) -> tuple[float, float, float]:
    from colorsys import hls_to_rgb

    return hls_to_rgb(number * _TURN % 360 / 360, 0.6, 0.55)
