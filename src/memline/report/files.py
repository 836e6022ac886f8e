"""Files of a report: which form a name asks for, and writing it so that nothing is left half-written."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from memline.errors import ReportError
from memline.files import write_whole

if TYPE_CHECKING:
    from memline.report.report import Report


def save(report: Report, path: Path) -> Path:
    """Writes a report in the form that its file's name asks for; see `Report.save`."""
    make = next((make for end, make in _FORMS.items() if path.name.lower().endswith(end)), None)
    if make is None:
        raise ReportError(f"{path} is in no form that a report is saved in; end its name in {', '.join(_FORMS)}")
    text = make(report)
    try:
        write_whole(path, lambda part: part.write_text(text, encoding="utf-8", newline=""))
    except OSError as error:
        raise ReportError(f"cannot write {path}: {error.strerror or error}") from error
    return path


def _json(report: Report) -> str:
    return report.to_json() + "\n"


def _page(report: Report) -> str:
    from memline.report.html import page

    return page(report.record)


def _trace(report: Report) -> str:
    from memline.report.trace import trace_text

    return trace_text(report.record)


def _table(report: Report) -> str:
    from memline.report.table import table_text

    return table_text(report.record)


def _plain(report: Report) -> str:
    return f"{report}\n"


# The longer end first: a trace is JSON too.
_FORMS: dict[str, Callable[[Report], str]] = {
    ".trace.json": _trace,
    ".json": _json,
    ".html": _page,
    ".csv": _table,
    ".txt": _plain,
}
