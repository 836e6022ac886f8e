"""The report as a value: what it is saved as, loaded from, and shown as."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from memline.errors import ReportError
from memline.report import codec
from memline.report.files import save
from memline.report.notebook import fragment
from memline.report.record import Program, Record
from memline.report.terminal import coloured, plain, show


@dataclass(frozen=True)
class Report:
    """What a program does with memory. Made by `memline.report`; prints as one screen, in colour with `rich`.

    Attributes:
      record: all that it says, as plain values.
    """

    record: Record

    @property
    def programs(self) -> tuple[Program, ...]:
        """The program as written, and as planned where there is a plan that changes it."""
        return self.record.programs

    def to_json(self) -> str:
        """Returns the report as JSON text, versioned; `Report.from_json` reads it back equal."""
        return codec.to_json(self.record)

    @classmethod
    def from_json(cls, text: str | bytes) -> Report:
        """Returns the report that `to_json` wrote.

        Raises:
          ReportError: the text is not a report, or one of a newer memline, or its fields are off.
        """
        return cls(codec.from_json(text))

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Writes the report to a file, in the form that its name ends with.

        Args:
          path: ends in ".json" (to load again), ".html" (a page), ".trace.json" (for Perfetto or chrome://tracing),
            ".csv" (a table of the values) or ".txt" (what `print` shows). The folder must be there. What is at the
            path is replaced when the new file is whole, and stays where that fails.

        Returns:
          The path.

        Raises:
          ReportError: the name ends in none of these, or the file cannot be written.
        """
        return save(self, Path(path))

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Report:
        """Returns the report of a file that `save` wrote as ".json".

        Raises:
          ReportError: the file cannot be read, or is no report that this memline reads.
        """
        try:
            text = Path(path).read_bytes()
        except OSError as error:
            raise ReportError(f"cannot read {os.fspath(path)}: {error.strerror or error}") from error
        try:
            return cls.from_json(text)
        except ReportError as error:
            raise ReportError(f"{os.fspath(path)}: {error}") from error

    def show(self, file: TextIO | None = None) -> None:
        """Prints the report: in colour where `rich` is installed and the file a terminal, else as `print` does.

        Args:
          file: where to; None for the standard output.
        """
        show(self, file)

    def __str__(self) -> str:
        return plain(self.record)

    def __rich_console__(self, console: Any, options: Any) -> Iterator[Any]:
        return coloured(self.record, console, options)

    def _repr_html_(self) -> str:
        return fragment(self.record)
