"""Files that a command writes: whole or not at all, and refused before the work where they cannot be written."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

from memline import files
from memline.errors import ArgumentError


def need_writable(*paths: str | None) -> None:
    """Sees to it, before a long run, that files can be written after it.

    Args:
      *paths: where they are to be; None for one that was not asked for.

    Raises:
      ArgumentError: there is no such folder, or it or the file is closed to us.

    >>> need_writable(None, "/no/such/folder/out.json")
    Traceback (most recent call last):
        ...
    memline.errors.ArgumentError: cannot write /no/such/folder/out.json: there is no folder /no/such/folder
    more: docs/errors/argument.md
    """
    for path in paths:
        if path is None:
            continue
        target = Path(os.path.realpath(path))
        if target.is_dir():
            raise _refusal(path, "it is a folder")
        if not target.parent.is_dir():
            raise _refusal(path, f"there is no folder {target.parent}")
        # A plain file is made anew beside the old one: that takes the right to write both.
        needed = [target] if target.exists() else []
        needed += [target.parent] if not target.exists() or target.is_file() else []
        if not all(os.access(place, os.W_OK) for place in needed):
            raise _refusal(path, "permission denied")


def write_whole(path: str, write: Callable[[Path], Any]) -> None:
    """Writes a file as `memline.files.write_whole` does.

    Raises:
      ArgumentError: it cannot be written.
    """
    try:
        files.write_whole(path, write)
    except OSError as error:
        raise _refusal(path, error.strerror or str(error)) from None


def _refusal(path: str, why: str) -> ArgumentError:
    return ArgumentError(f"cannot write {path}: {why}")
