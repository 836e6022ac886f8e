"""Errors of files: the file and the line in front of what is wrong."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from memline.errors import PackingError

LONGEST_LINE_BYTES = 2**20
"""No line of a problem is longer; a file of garbage is refused before it fills the memory."""


def at(name: str, line: int | None, message: str) -> PackingError:
    """Returns the error that something is wrong at a line of a file.

    >>> str(at("in.csv", 3, "no such column"))
    'in.csv:3: no such column'
    """
    return PackingError(f"{name}:{line}: {message}" if line is not None else f"{name}: {message}")


def text_lines(file: BinaryIO, name: str) -> Iterator[str]:
    """Yields the lines of a UTF-8 file with their ends.

    Raises:
      PackingError: a line is too long, or not text.
    """
    number = 0
    while line := file.readline(LONGEST_LINE_BYTES + 1):
        number += 1
        if len(line) > LONGEST_LINE_BYTES:
            raise at(name, number, f"a line of more than {LONGEST_LINE_BYTES} bytes; this is no packing problem")
        try:
            text = line.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise at(name, number, f"not UTF-8 text ({error.reason} at byte {error.start} of the line)") from None
        if "\0" in text:
            raise at(name, number, "a zero byte; this is no text")
        yield text
