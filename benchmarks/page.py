"""A run's record as a page of Markdown: versions, machine, a row a program. What a record lacks is said so."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import fields
from pathlib import Path

from benchmarks.programs.program import MIB
from benchmarks.row import Row
from benchmarks.table import difference_text, mebibytes, number, verdict

FORMAT = 1
NOT_RECORDED = "not recorded"
_HEADER = (
    "program",
    "limit, MiB",
    "plain `jit`, MiB",
    "memline, MiB",
    "plain, s",
    "memline, s",
    "ratio",
    "target",
    "difference",
    "verdict",
)


def page_of(path: Path) -> str:
    """The page of the record that `python -m benchmarks --out` wrote.

    Raises:
      ValueError: a record of another format than this reads.
    """
    record = json.loads(path.read_text())
    if record.get("format") != FORMAT:
        raise ValueError(f"{path}: a record of format {record.get('format')!r}; this reads format {FORMAT}")
    names = {field.name for field in fields(Row)}
    rows = [Row(**{name: value for name, value in row.items() if name in names}) for row in record["rows"]]
    lines = [*_table(("what", "on this run"), _conditions(record)), "", *_table(_HEADER, map(_cells, rows)), ""]
    lines += [f"- **{row.name}**: {row.title}." for row in rows]
    remarks = [f"- {row.name}: {remark}" for row in rows for remark in (*row.notes, *row.errors)]
    if remarks:
        lines += ["", "What has to be said beside:", "", *remarks]
    return "\n".join(lines)


def _conditions(record: dict) -> list[tuple[str, str]]:
    """Versions and machine, each with what the record says of it."""
    machine = record.get("machine", {})
    versions = machine.get("versions", {})
    memory_bytes, load = machine.get("memory_bytes"), machine.get("load_average")
    return [
        *((name, versions.get(name) or NOT_RECORDED) for name in ("memline", "jax", "jaxlib", "numpy", "python")),
        ("processor", machine.get("cpu") or NOT_RECORDED),
        ("cores", str(machine.get("cores") or NOT_RECORDED)),
        ("memory", f"{memory_bytes / 2**30:.1f} GiB" if memory_bytes else NOT_RECORDED),
        ("system", machine.get("system") or NOT_RECORDED),
        ("load when it began", NOT_RECORDED if load is None else f"{load:.2f}"),
        ("date", machine.get("date") or NOT_RECORDED),
        ("timed calls", str(record.get("repeats") or NOT_RECORDED)),
    ]


def _cells(row: Row) -> tuple[str, ...]:
    """Peaks with the arguments, as the limit counts them."""
    medians = row.timing["median_seconds"] if row.timing else {}
    return (
        row.name,
        number(None if row.limit_bytes is None else row.limit_bytes / MIB, ".1f"),
        _peak(row, row.plain),
        _peak(row, row.memline),
        number(medians.get("plain"), ".3f"),
        number(medians.get("memline"), ".3f"),
        number(row.ratio, ".2f"),
        f"{row.target_ratio:g}",
        difference_text(row),
        verdict(row),
    )


def _peak(row: Row, measured: dict | None) -> str:
    if measured is None or row.argument_bytes is None:
        return "-"
    return mebibytes(row.argument_bytes + measured["growth_bytes"])


def _table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    return [f"| {' | '.join(cells)} |" for cells in (header, ["---"] * len(header), *rows)]
