"""What a notebook shows of a report: a sentence, and the page behind a fold; no scripts, and light."""

from __future__ import annotations

import html

from memline.report.record import Record
from memline.report.screen import Line, lines, verdict

_COLOURS = {"good": "#1a7f37", "bad": "#c62828", "bar": "#20639b", "over": "#c62828", "limit": "#9a6700"}
_WIDTH = 110


def fragment(record: Record) -> str:
    """Returns a piece of HTML: collapsed details, whose summary says whether the program fits."""
    sentence, _ = verdict(record)
    title = html.escape(f"memline report: {record.title}")
    body = "\n".join(_line(line) for line in lines(record, _WIDTH)[1:])
    return (
        f"<details><summary><b>{title}</b> &mdash; {html.escape(sentence)}</summary>"
        f'<pre style="line-height:1.25;overflow-x:auto">{body}</pre></details>'
    )


def _line(line: Line) -> str:
    return "".join(_piece(piece.text, piece.role) for piece in line)


def _piece(text: str, role: str) -> str:
    text = html.escape(text)
    if role == "head":
        return f"<b>{text}</b>"
    if role == "dim":
        return f'<span style="opacity:.7">{text}</span>'
    return f'<span style="color:{_COLOURS[role]}">{text}</span>' if role in _COLOURS else text
