"""The values of a report as a table: CSV (RFC 4180), one row a value, to be opened by a spreadsheet or by pandas."""

from __future__ import annotations

import csv
import io

from memline.report.record import Record

COLUMNS = (
    "program",
    "name",
    "label",
    "type",
    "kind",
    "size_bytes",
    "op",
    "file",
    "line",
    "function",
    "first_step",
    "last_step",
    "is_at_peak",
)


def table_text(record: Record) -> str:
    """Returns the table: a head, and the values of each program, the biggest first."""
    text = io.StringIO()
    writer = csv.writer(text)  # ends lines in CR LF, as the RFC has it
    writer.writerow(COLUMNS)
    for program in record.programs:
        at_peak = set(program.at_peak)
        for number in sorted(range(len(program.values)), key=lambda k: -program.values[k].size_bytes):
            held = program.values[number]
            place = ("", "", "") if held.place is None else (held.place.file, held.place.line, held.place.function)
            about = (program.name, held.name, held.label, held.type, held.kind, held.size_bytes, held.op)
            spot = (held.first, held.last, "yes" if number in at_peak else "no")
            writer.writerow(_safe(cell) for cell in (*about, *place, *spot))
    return text.getvalue()


def _safe(cell: str | int) -> str | int:
    """Returns a cell that no spreadsheet takes for a formula: a function may have any name."""
    return f"'{cell}" if isinstance(cell, str) and cell[:1] in ("=", "+", "-", "@", "\t", "\r") else cell
