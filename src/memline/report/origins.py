"""Where the instructions of a compiled program come from, as the text of its optimised module tells.

XLA keeps of each instruction the name of the JAX operation and a frame of the user's stack; a fusion's are those of its
root. Lines of another form are passed over, so that a text of a newer XLA tells less and is no error.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from memline.report.record import Place

_INSTRUCTION = re.compile(r"\s+(ROOT )?%?([\w.\-]+) = ")
_COMPUTATION = re.compile(r"(?:ENTRY )?%?([\w.\-]+) \(.*\{$")
_CALLS = re.compile(r"calls=%?([\w.\-]+)")
_OP_NAME = re.compile(r'op_name="([^"]*)"')
_FRAME = re.compile(r"stack_frame_id=(\d+)")
_SOURCE = re.compile(r'source_file="([^"]*)"(?: source_line=(\d+))?')
_QUOTED = re.compile(r'(\d+) "(.*)"$')
_NUMBERED = re.compile(r"(\d+) \{(.*)\}$")
_FIELD = re.compile(r"(\w+)=(\d+)")
_OWN = str(Path(__file__).parents[1])
"""memline's own folder: a frame of a file in there says nothing of the user's."""

Origin = tuple[str, Place | None]


def origins(module: str) -> dict[str, Origin]:
    r"""Returns, for each instruction of a module's text, the operation and the user's line that it comes from.

    Operations are "" and places None where the text does not tell.

    >>> text = 'HloModule jit_f\n\nENTRY %main (x: f32[2]) -> f32[2] {\n' \
    ...     '  ROOT %neg.1 = f32[2]{0} negate(%x), metadata={op_name="jit(f)/neg" source_file="a.py" source_line=3}\n}'
    >>> origins(text)
    {'neg.1': ('neg', Place(file='a.py', line=3, function=''))}
    """
    frames = _Frames(module)
    found: dict[str, Origin] = {}
    roots: dict[str, str] = {}
    called: dict[str, str] = {}
    computation = ""
    for line in module.splitlines():
        if head := _COMPUTATION.match(line):
            computation = head[1]
            continue
        instruction = _INSTRUCTION.match(line)
        if instruction is None:
            continue
        name = instruction[2]
        if instruction[1]:
            roots[computation] = name
        if callee := _CALLS.search(line):
            called[name] = callee[1]
        found[name] = _origin(line, frames)
    for name, computation in called.items():
        if found[name] == ("", None):
            found[name] = found.get(roots.get(computation, ""), ("", None))
    return found


def _origin(line: str, frames: _Frames) -> Origin:
    start = line.find("metadata={")
    if start < 0:
        return "", None
    op_name, frame, source = (pattern.search(line, start) for pattern in (_OP_NAME, _FRAME, _SOURCE))
    place = frames.place(int(frame[1])) if frame else None
    if source and place is None:
        place = _users(Place(source[1], int(source[2] or 0), ""))
    return (op_name[1].rsplit("/", 1)[-1] if op_name else ""), place


class _Frames:
    """The tables of stack frames at a module's head."""

    def __init__(self, module: str) -> None:
        self.texts: dict[str, dict[int, str]] = {"FileNames": {}, "FunctionNames": {}}
        self.rows: dict[str, dict[int, dict[str, int]]] = {"FileLocations": {}, "StackFrames": {}}
        section = ""
        for line in _head(module):
            if line in self.texts or line in self.rows:
                section = line
            elif section in self.texts and (text := _QUOTED.match(line)):
                self.texts[section][int(text[1])] = text[2]
            elif section in self.rows and (row := _NUMBERED.match(line)):
                self.rows[section][int(row[1])] = {name: int(number) for name, number in _FIELD.findall(row[2])}

    def place(self, frame: int) -> Place | None:
        """Returns the innermost line of the user's among a frame and those that called it."""
        seen: set[int] = set()
        while frame not in seen and (row := self.rows["StackFrames"].get(frame)):
            seen.add(frame)
            location = self.rows["FileLocations"].get(row.get("file_location_id", 0), {})
            file = self.texts["FileNames"].get(location.get("file_name_id", 0), "")
            function = self.texts["FunctionNames"].get(location.get("function_name_id", 0), "")
            if place := _users(Place(file, location.get("line", 0), function)):
                return place
            frame = row.get("parent_frame_id", 0)
        return None


def _users(place: Place) -> Place | None:
    return place if place.file and not place.file.startswith(_OWN) else None


def _head(module: str) -> Iterator[str]:
    """Yields the lines before the first computation."""
    for line in module.splitlines():
        if line.endswith("{"):
            return
        yield line.strip()
