"""Files that commands read and write: errors on one line, and nothing half-written."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from memline.errors import FileError


def read_text(path: str) -> str:
    """Returns the text of a file.

    Raises:
      FileError: there is no such file, or it cannot be read, or is no text in UTF-8.
    """
    try:
        return Path(path).read_text(encoding="utf-8")
    except OSError as error:
        raise FileError(f"{path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise FileError(f"{path}: not text: byte {error.start} is no UTF-8") from error


def require_writable(path: str) -> None:
    """Checks, before work begins whose result shall go to a file, that the file can be written there.

    Raises:
      FileError: it cannot; the message says why.
    """
    target = Path(path)
    if target.is_dir():
        raise FileError(f"{path}: is a folder; name a file")
    if _is_special(target):
        return
    folder = target.parent
    if not folder.is_dir():
        raise FileError(f"{path}: there is no folder {str(folder)!r}; make it, or name another")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise FileError(f"{path}: no file can be written in the folder {str(folder)!r}; name another")


def write_text(path: str, text: str) -> None:
    """Writes a file whole: until all of it is written, what was there before stays.

    Raises:
      FileError: it cannot be written.
    """
    with written_beside(path) as beside:
        beside.write_text(text, encoding="utf-8")


@contextlib.contextmanager
def written_beside(path: str) -> Iterator[Path]:
    """Yields the path of a new file beside `path`, which takes its place at the end, or is removed if that never comes.

    Raises:
      FileError: the file cannot be written.
    """
    target = Path(path)
    require_writable(path)
    if _is_special(target):  # a pipe or a device has no place to rename to
        yield target
        return
    # A link keeps pointing where it does: the file at its end is replaced.
    target = target.resolve()
    beside = target.with_name(f".{target.stem}-{os.getpid()}{target.suffix}")
    try:
        yield beside
        with contextlib.suppress(FileNotFoundError):
            beside.chmod(stat.S_IMODE(target.stat().st_mode))
        beside.replace(target)
    except OSError as error:
        raise FileError(f"{path}: {error.strerror or error}") from error
    finally:
        beside.unlink(missing_ok=True)


def _is_special(path: Path) -> bool:
    return path.exists() and not path.is_file() and not path.is_dir()
