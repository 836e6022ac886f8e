"""The table that the demo ends with."""

from benchmarks.programs.program import MIB
from benchmarks.row import Row
from benchmarks.table import difference_text, number, verdict
from examples.demo.needs import memline_need, plain_need

HEADER = ("", "plain jit", "limit", "memline", "plain s", "memline s", "ratio", "rel. diff.", "verdict")


def summary(rows: list[Row]) -> str:
    """A line for each program, and what the columns mean."""
    lines = [HEADER, *(_cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADER))]
    text = []
    for line in lines:
        cells = [cell.rjust(width) for cell, width in zip(line, widths, strict=True)]
        cells[0], cells[-1] = line[0].ljust(widths[0]), line[-1]
        text.append("  ".join(cells).rstrip())
    text.insert(1, "  ".join("-" * width for width in widths))
    text += [
        "",
        "Memory is MiB of arguments, results and temporaries, measured in a fresh process;",
        "times are medians of calls that take turns in one process; the last but one column is",
        "the largest relative difference of the two results.",
    ]
    for row in rows:
        remarks = [*row.notes, *row.errors]
        if row.plain is None and row.honest_peak_bytes is not None:
            remarks.append("plain jit's memory is XLA's own account, not measured")
        text += [f"{row.name}: {remark}" for remark in remarks]
    return "\n".join(text)


def _cells(row: Row) -> tuple[str, ...]:
    medians = row.timing["median_seconds"] if row.timing else {}
    return (
        row.name,
        _mebibytes(plain_need(row)),
        _mebibytes(row.limit_bytes),
        _mebibytes(memline_need(row)),
        number(medians.get("plain"), ".2f"),
        number(medians.get("memline"), ".2f"),
        number(row.ratio, ".2f"),
        difference_text(row),
        verdict(row),
    )


def _mebibytes(size: int | None) -> str:
    return number(None if size is None else size / MIB, ",.0f")
