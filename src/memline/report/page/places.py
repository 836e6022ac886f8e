"""Places in the user's code as a page writes them: short where that is clear, whole where it is not."""

from __future__ import annotations

import re
from collections.abc import Iterator

from memline.report.record import Place, Record

_FOLDERS = re.compile(r".*[/\\](?=.)", re.DOTALL)


class Places:
    """Writes the places of one record: files by their names alone, but for files that share one."""

    def __init__(self, record: Record) -> None:
        files: dict[str, set[str]] = {}
        for place in _all(record):
            files.setdefault(_name(place.file), set()).add(place.file)
        self._shared = {name for name, of_name in files.items() if len(of_name) > 1}

    def __call__(self, place: Place | None) -> str:
        """The place as "file:line (function)"; "" for none."""
        if place is None:
            return ""
        name = _name(place.file)
        at = f"{place.file if name in self._shared else name}:{place.line}"
        return f"{at} ({place.function})" if place.function else at


def whole(place: Place | None) -> str:
    """The place as editors take it, with the folders that the record has: "file:line"; "" for none."""
    return f"{place.file}:{place.line}" if place else ""


def _name(file: str) -> str:
    return _FOLDERS.sub("", file)


def _all(record: Record) -> Iterator[Place]:
    holders = [record, *record.moves]
    for program in record.programs:
        holders += [*program.steps, *program.bands, *program.values]
        holders += program.layout.buffers if program.layout else ()
    for holder in holders:
        if holder.place is not None:
            yield holder.place
