"""Files that a command reads."""

from __future__ import annotations

from pathlib import Path

from memline.errors import ArgumentError


def read_text(path: str) -> str:
    """Returns the text of a file.

    Raises:
      ArgumentError: there is no such file, or it cannot be read, or is no text in UTF-8.
    """
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise ArgumentError(f"cannot read {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise ArgumentError(f"cannot read {path}: it is no text: byte {error.start} is no UTF-8") from error
