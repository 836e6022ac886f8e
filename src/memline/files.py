"""Files that are written whole or not at all."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any


def write_whole(path: str | os.PathLike[str], write: Callable[[Path], Any]) -> None:
    """Writes a file so that it is either as it was or whole, also when Ctrl-C comes in between.

    Args:
      path: where it is to be. What is no plain file, such as a pipe, is written to as it is.
      write: writes to the path that it is given: one beside `path` with the same ending, moved over it at the end.

    Raises:
      OSError: it cannot be written.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write_whole(f"{folder}/out.txt", lambda part: part.write_text("done"))
    ...     os.listdir(folder)
    ['out.txt']
    """
    target = Path(os.path.realpath(path))
    if target.exists() and not target.is_file():
        write(target)
        return
    # Shortened, for a name that is just short enough would be too long with more to it.
    part = target.with_name(f".{target.stem[:40]}.{os.getpid()}-{threading.get_ident()}{target.suffix}")
    try:
        write(part)
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)
