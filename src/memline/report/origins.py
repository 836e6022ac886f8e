"""Where the instructions of a compiled program come from, as the text of its optimised module tells.

XLA keeps of most instructions the name of the JAX operation and a frame of the user's stack; a fusion's are those of
the last instruction in it that has any. What XLA made by itself, such as a "copy" or a "reduce-window", goes by its own
name for it and by the line of what it is made of. Lines of another form are passed over, so that a text of a newer XLA
tells less and is no error.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from memline.origin import is_users
from memline.report.record import Place

_INSTRUCTION = re.compile(r"\s+(?:ROOT )?%?([\w.\-]+) = .*? ([a-z][\w\-]*)\(%?([\w.\-]*)")
_COMPUTATION = re.compile(r"(?:ENTRY )?%?([\w.\-]+) \(.*\{$")
_CALLS = re.compile(r"calls=%?([\w.\-]+)")
_OP_NAME = re.compile(r'op_name="([^"]*)"')
_CALL = re.compile(r"jit\((.*)\)$")
_FRAME = re.compile(r"stack_frame_id=(\d+)")
_SOURCE = re.compile(r'source_file="([^"]*)"(?: source_line=(\d+))?')
_QUOTED = re.compile(r'(\d+) "(.*)"$')
_NUMBERED = re.compile(r"(\d+) \{(.*)\}$")
_FIELD = re.compile(r"(\w+)=(\d+)")
_OWN = str(Path(__file__).parents[1])
"""memline's own folder: a frame of a file in there says nothing of the program's."""

Origin = tuple[str, Place | None]
_UNKNOWN: Origin = ("", None)


def origins(module: str) -> dict[str, Origin]:
    r"""Returns, for each instruction of a module's text, the operation and the user's line that it comes from.

    Places are None where the text does not tell.

    >>> text = 'HloModule jit_f\n\nENTRY %main (x: f32[2]) -> f32[2] {\n' \
    ...     '  ROOT %neg.1 = f32[2]{0} negate(%x), metadata={op_name="jit(f)/neg" source_file="a.py" source_line=3}\n}'
    >>> origins(text)
    {'neg.1': ('neg', Place(file='a.py', line=3, function=''))}
    """
    frames = _Frames(module)
    found: dict[str, Origin] = {}
    opcodes: dict[str, str] = {}
    operands: dict[str, str] = {}
    bodies: dict[str, list[str]] = {}
    called: dict[str, str] = {}
    body: list[str] = []
    for line in module.splitlines():
        if head := _COMPUTATION.match(line):
            body = bodies.setdefault(head[1], [])
            continue
        instruction = _INSTRUCTION.match(line)
        if instruction is None:
            continue
        name = instruction[1]
        body.append(name)
        opcodes[name] = instruction[2]
        if instruction[3]:
            operands[name] = instruction[3]
        if callee := _CALLS.search(line):
            called[name] = callee[1]
        found[name] = _origin(line, frames)
    for name, computation in called.items():
        inside = bodies.get(computation, [])
        if found[name] == _UNKNOWN:
            found[name] = next((found[each] for each in reversed(inside) if found[each] != _UNKNOWN), _UNKNOWN)
            opcodes[name] = opcodes[inside[-1]] if inside else opcodes[name]
    for name, (op, place) in found.items():  # operands come before those who read them
        if place is None and opcodes[name] != "tuple":
            place = found.get(operands.get(name, ""), _UNKNOWN)[1]
        found[name] = op or opcodes[name], place
    return found


def _origin(line: str, frames: _Frames) -> Origin:
    start = line.find("metadata={")
    if start < 0:
        return _UNKNOWN
    op_name, frame, source = (pattern.search(line, start) for pattern in (_OP_NAME, _FRAME, _SOURCE))
    place = frames.place(int(frame[1])) if frame else None
    if source and place is None:
        place = _told(Place(source[1], int(source[2] or 0), ""))
    operation = op_name[1].rsplit("/", 1)[-1] if op_name else ""
    return _CALL.sub(r"\1", operation), place


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
        parents = ((frame, row.get("parent_frame_id")) for frame, row in self.rows["StackFrames"].items())
        # XLA of 2026 writes the number after the parent's, so that the outermost frame seems to be its own parent.
        self.off = 1 if any(frame == parent for frame, parent in parents) else 0

    def place(self, frame: int) -> Place | None:
        """Returns the innermost line of the user's own among a frame and those that called it; else a library's."""
        seen: set[int] = set()
        innermost: Place | None = None
        while frame not in seen and (row := self.rows["StackFrames"].get(frame)):
            seen.add(frame)
            location = self.rows["FileLocations"].get(row.get("file_location_id", 0), {})
            file = self.texts["FileNames"].get(location.get("file_name_id", 0), "")
            function = self.texts["FunctionNames"].get(location.get("function_name_id", 0), "")
            place = _told(Place(file, location.get("line", 0), function))
            if place is not None and is_users(file):
                return place
            innermost = innermost or place
            frame = row.get("parent_frame_id", 0) - self.off
        return innermost


def _told(place: Place) -> Place | None:
    return place if place.file and not place.file.startswith(_OWN) else None


def _head(module: str) -> Iterator[str]:
    """Yields the lines before the first computation."""
    for line in module.splitlines():
        if line.endswith("{"):
            return
        yield line.strip()
