"""MiniMalloc's CSV: one buffer a row, columns by name in any order.

    id | buffer | buffer_id      the name
    lower | begin | start        the first time
    upper, or end                the first time after; "end" is the last time itself, and then gaps are told so too
    size
    alignment                    optional; empty is 1
    hint                         optional; empty or negative is none
    offset                       optional; where it is fixed, or where a packing has put it; empty is neither
    gaps                         optional; "3-5 8-9@0:16": from 3 until 5, and at 8 but for the bytes 0 up to 16

Rows end in LF or CRLF. Pools and reuse have no column: JSON has them (`memline.packing.json`).
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable
from typing import BinaryIO

from memline.errors import PackingError
from memline.packing.answer import Packing
from memline.packing.lines import at, text_lines
from memline.packing.problem import Buffer, Gap, Problem, first_fault_of

ALIASES = {
    "id": "id",
    "buffer": "id",
    "buffer_id": "id",
    "lower": "lower",
    "begin": "lower",
    "start": "lower",
    "upper": "upper",
    "end": "upper",
    "size": "size",
    "alignment": "alignment",
    "hint": "hint",
    "offset": "offset",
    "gaps": "gaps",
}
NEEDED = ("id", "lower", "upper", "size")
_INT = re.compile(r"[+-]?[0-9]{1,20}")
_GAP = re.compile(r"([+-]?[0-9]{1,20})-([+-]?[0-9]{1,20})(?:@([0-9]{1,20}):([0-9]{1,20}))?")


def read_csv(file: BinaryIO, name: str = "input", capacity: int | None = None) -> Problem:
    """Returns the problem that a file in MiniMalloc's CSV holds.

    Args:
      file: the file, opened for bytes.
      name: what errors call it.
      capacity: how much the memory holds, which the format does not say; None for as much as it takes.

    Raises:
      PackingError: with the name and the line: a column is missing, unknown or there twice, a row has too many or too
        few fields, a number is none or does not fit 64 bits, or the buffers make no problem.

    >>> read_csv(io.BytesIO(b"start,size,id,end\\r\\n0,4,a,2\\r\\n")).buffers[0].upper
    3
    """
    reader = csv.reader(text_lines(file, name), strict=True)
    header: list[str] | None = None
    inclusive = 0
    buffers: list[Buffer] = []
    lines: list[int] = []
    try:
        for row in reader:
            if not row:
                continue
            if header is None:
                header = _header(row, name, reader.line_num)
                inclusive = int("end" in (field.strip() for field in row))
                continue
            if len(row) != len(header):
                raise PackingError(f"{len(row)} fields under {len(header)} columns")
            buffers.append(_buffer(dict(zip(header, row, strict=True)), inclusive))
            lines.append(reader.line_num)
    except csv.Error as error:
        raise at(name, reader.line_num, str(error)) from None
    except PackingError as error:
        if str(error).startswith(f"{name}:"):
            raise
        raise at(name, reader.line_num, str(error)) from None
    if header is None:
        raise at(name, 1, f"no header; the first row names the columns: {', '.join(NEEDED)}")
    fault = first_fault_of(buffers, capacity)
    if fault is not None:
        raise at(name, None if fault.index is None else lines[fault.index], fault.message)
    return Problem(tuple(buffers), capacity)


def write_csv(problem: Problem, packing: Packing | None = None) -> str:
    """Returns a problem as CSV text, with the offsets of a packing where one is given.

    Raises:
      PackingError: the problem has pools or reuse, which the format cannot tell.

    >>> print(write_csv(Problem([Buffer("a", 0, 3, 4)]), Packing((0,))), end="")
    id,lower,upper,size,offset
    a,0,3,4,0
    """
    if problem.pools or any(buffer.reuses or buffer.pools for buffer in problem.buffers):
        raise PackingError("CSV has no column for pools or reuse: write this problem as JSON")
    buffers = problem.buffers
    columns = ["id", "lower", "upper", "size"]
    columns += ["alignment"] * any(buffer.alignment != 1 for buffer in buffers)
    columns += ["hint"] * any(buffer.hint is not None for buffer in buffers)
    columns += ["gaps"] * any(buffer.gaps for buffer in buffers)
    columns += ["offset"] * (packing is not None or any(buffer.offset is not None for buffer in buffers))
    text = io.StringIO()
    # The writer leaves a lone CR bare, which its own reader refuses.
    quoting = csv.QUOTE_NONNUMERIC if any("\r" in buffer.id for buffer in buffers) else csv.QUOTE_MINIMAL
    writer = csv.writer(text, lineterminator="\n", quoting=quoting)
    writer.writerow(columns)
    for index, buffer in enumerate(buffers):
        offset = buffer.offset if packing is None else packing.offsets[index]
        cells = {
            "hint": "" if buffer.hint is None else buffer.hint,
            "gaps": " ".join(map(_gap_text, buffer.gaps)),
            "offset": "" if offset is None else offset,
        }
        writer.writerow([cells.get(column, getattr(buffer, column)) for column in columns])
    return text.getvalue()


def _header(row: list[str], name: str, line: int) -> list[str]:
    columns = []
    for cell in row:
        column = ALIASES.get(cell.strip())
        if column is None:
            raise at(name, line, f"no such column: {cell[:40]!r}; there are {', '.join(ALIASES)}")
        if column in columns:
            raise at(name, line, f"the column {column!r} is there twice")
        columns.append(column)
    for column in NEEDED:
        if column not in columns:
            others = [alias for alias, meant in ALIASES.items() if meant == column]
            raise at(name, line, f"a column is missing: {' or '.join(others)}")
    return columns


def _buffer(cells: dict[str, str], inclusive: int) -> Buffer:
    hint = _optional(cells, "hint")
    return Buffer(
        id=cells["id"],
        lower=_int(cells, "lower"),
        upper=_int(cells, "upper") + inclusive,
        size=_int(cells, "size"),
        alignment=1 if (alignment := _optional(cells, "alignment")) is None else alignment,
        offset=_optional(cells, "offset"),
        hint=None if hint is None or hint < 0 else hint,
        gaps=tuple(_gaps(cells.get("gaps", "").split(), inclusive)),
    )


def _optional(cells: dict[str, str], column: str) -> int | None:
    return _int(cells, column) if cells.get(column, "").strip() else None


def _int(cells: dict[str, str], column: str) -> int:
    text = cells[column].strip()
    if not _INT.fullmatch(text):
        raise PackingError(f"{column} is a whole number of at most 64 bits, not {text[:40]!r}")
    return int(text)


def _gaps(texts: Iterable[str], inclusive: int) -> Iterable[Gap]:
    for text in texts:
        match = _GAP.fullmatch(text)
        if match is None:
            raise PackingError(f"a gap is written 3-5 or 3-5@0:16, not {text[:40]!r}")
        lower, upper, first, last = (None if number is None else int(number) for number in match.groups())
        assert lower is not None  # the pattern has both ends
        assert upper is not None
        window = None if first is None or last is None else (first, last)
        yield Gap(lower, upper + inclusive, window)


def _gap_text(gap: Gap) -> str:
    window = "" if gap.window is None else f"@{gap.window[0]}:{gap.window[1]}"
    return f"{gap.lower}-{gap.upper}{window}"
