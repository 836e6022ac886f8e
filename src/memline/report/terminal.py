"""The terminal page: plain text, and with `rich` in colour."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO

from memline.report.record import Record
from memline.report.screen import WIDTH, lines

_WIDEST = 120
_STYLES = {
    "plain": "",
    "head": "bold",
    "dim": "dim",
    "good": "green",
    "bad": "bold red",
    "bar": "blue",
    "over": "red",
    "limit": "yellow",
    "code": "cyan",
}
_BLOCK = "\N{FULL BLOCK}"


def plain(record: Record, width: int = WIDTH) -> str:
    """Returns the page as text, of ASCII but for what the user's own names hold."""
    return "\n".join("".join(piece.text for piece in line) for line in lines(record, width))


def coloured(record: Record, console: Any, options: Any) -> Iterator[Any]:
    """Yields the page as `rich` asks for it: `__rich_console__`."""
    from rich.text import Text

    is_wide = str(console.encoding or "").lower().startswith("utf")
    for line in lines(record, max(min(options.max_width, _WIDEST), 20)):
        text = Text(no_wrap=True, overflow="ignore", end="\n")
        for piece in line:
            is_bar = piece.role in ("bar", "over")
            text.append(piece.text.replace("#", _BLOCK) if is_bar and is_wide else piece.text, _STYLES[piece.role])
        yield text


def show(report: Any, file: TextIO | None = None) -> None:
    """Prints a report: in colour where `rich` is installed and the file is a terminal, else as plain text."""
    file = file or sys.stdout
    if file is not None and file.isatty() and "NO_COLOR" not in os.environ:
        try:
            from rich.console import Console
        except ImportError:
            pass
        else:
            Console(file=file).print(report)
            return
    print(report, file=file)
