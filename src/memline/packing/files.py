"""Files of problems: CSV or JSON, as their names or their first character say."""

from __future__ import annotations

import os
from pathlib import Path

from memline.errors import PackingError
from memline.packing.answer import Packing
from memline.packing.csv import read_csv, write_csv
from memline.packing.json import read_json, write_json
from memline.packing.problem import Problem


def read(path: str | os.PathLike[str], capacity: int | None = None) -> tuple[Problem, Packing | None]:
    """Returns the problem in a file, and the packing of it, where the file holds one.

    A CSV file whose rows all have offsets is a packing as well as a problem whose buffers are all fixed.

    Args:
      path: a file in MiniMalloc's CSV or in memline's JSON; it is JSON if it begins with a brace.
      capacity: how much the memory holds; None for what the file says, and CSV says nothing.

    Raises:
      PackingError: with file and line, as `read_csv` and `read_json` say; or the file cannot be opened.
    """
    name = os.fspath(path)
    try:
        with open(path, "rb") as file:
            start = file.read(4096).removeprefix(b"\xef\xbb\xbf").lstrip()
            file.seek(0)
            if start.startswith(b"{"):
                problem, packing = read_json(file.read(), name)
                return (problem if capacity is None else problem.with_capacity(capacity)), packing
            problem = read_csv(file, name, capacity)
    except OSError as error:
        raise PackingError(f"{name}: {error.strerror or error}") from None
    offsets = tuple(buffer.offset for buffer in problem.buffers if buffer.offset is not None)
    return problem, Packing(offsets) if len(offsets) == len(problem.buffers) else None


def write(path: str | os.PathLike[str], problem: Problem, packing: Packing | None = None) -> None:
    """Writes a problem, and a packing of it where one is given, as JSON if the file's name ends in .json, else as CSV.

    Raises:
      PackingError: CSV cannot tell what the problem has, or the file cannot be written.
    """
    text = text_for(path, problem, packing)
    try:
        Path(path).write_text(text, encoding="utf-8", newline="\n")
    except OSError as error:
        raise PackingError(f"{os.fspath(path)}: {error.strerror or error}") from None


def text_for(path: str | os.PathLike[str], problem: Problem, packing: Packing | None = None) -> str:
    """Returns what `write` would write to a file of this name.

    Raises:
      PackingError: CSV cannot tell what the problem has.
    """
    if os.fspath(path).lower().endswith(".json"):
        return write_json(problem, packing) + "\n"
    return write_csv(problem, packing)
