"""Files of a cache folder: whole or not there, whichever processes read and write at the same time."""

from __future__ import annotations

import contextlib
import hashlib
import os
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

MOST_ENTRIES = 2000
MOST_BYTES = 256 << 20
_SUFFIX = ".memline"
_UNFINISHED = ".unfinished"
_UNFINISHED_FOR_S = 3600.0
_MAGIC = b"memline plan cache 1\n"


class Unusable(Exception):
    """Raised where a folder or an entry cannot be used; the message says why."""


@dataclass(frozen=True)
class Store:
    """A folder of entries by key. It may be removed at any time, and shared between processes.

    Args:
      folder: made on the first write.
      most_entries, most_bytes: beyond either, those that were not used for longest are dropped.

    >>> with tempfile.TemporaryDirectory() as folder:
    ...     store = Store(Path(folder))
    ...     store.write("a", b"text")
    ...     store.read("a"), store.read("b")
    (b'text', None)
    """

    folder: Path
    most_entries: int = MOST_ENTRIES
    most_bytes: int = MOST_BYTES

    def read(self, key: str) -> bytes | None:
        """Returns an entry, or None where there is none.

        Raises:
          Unusable: there is something else in its place, or it cannot be read.
        """
        path = self._path(key)
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise Unusable(f"{path} cannot be read: {error.strerror}") from error
        body = data[len(_MAGIC) + 32 :]
        if not data.startswith(_MAGIC) or data[len(_MAGIC) : len(_MAGIC) + 32] != _checksum(key, body):
            raise Unusable(f"{path} is damaged, or nothing of memline's")
        with contextlib.suppress(OSError):  # somebody else's, to be read only
            os.utime(path)
        return body

    def write(self, key: str, body: bytes) -> None:
        """Writes an entry in one step, over an older one if there is one, and drops what is too much.

        Raises:
          Unusable: it cannot be written.
        """
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(_UNFINISHED, key[:16], self.folder)
            try:
                with open(handle, "wb") as file:
                    file.write(_MAGIC + _checksum(key, body) + body)
                os.replace(name, self._path(key))
            except BaseException:
                Path(name).unlink(missing_ok=True)
                raise
            self._drop_oldest()
        except OSError as error:
            raise Unusable(f"{self.folder} cannot be written to: {error.strerror}") from error

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}{_SUFFIX}"

    def _drop_oldest(self) -> None:
        found: list[tuple[float, int, str]] = []
        with os.scandir(self.folder) as entries:
            for entry in entries:
                with contextlib.suppress(FileNotFoundError):  # another process drops too
                    status = entry.stat()
                    if entry.name.endswith(_SUFFIX):
                        found.append((status.st_mtime, status.st_size, entry.path))
                    elif entry.name.endswith(_UNFINISHED) and status.st_mtime < time.time() - _UNFINISHED_FOR_S:
                        Path(entry.path).unlink(missing_ok=True)  # of a process that was killed
        found.sort(reverse=True)
        held_bytes = 0
        for index, (_, size_bytes, path) in enumerate(found):
            held_bytes += size_bytes
            if index >= self.most_entries or (held_bytes > self.most_bytes and index):
                Path(path).unlink(missing_ok=True)


def _checksum(key: str, body: bytes) -> bytes:
    return hashlib.sha256(key.encode() + b"\0" + body).digest()
