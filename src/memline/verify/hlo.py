"""Reads the text of an optimised HLO module: as much of it as tells what its instructions may allocate.

Not a full parser. Lines that it does not know are passed over, so that a text of a newer XLA gives less, never an
exception.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

_HEAD = re.compile(r"(?:ENTRY )?(%[\w.\-]+) \(.*\{$")
_ASSIGNED = re.compile(r"\s+(?:ROOT )?(%[\w.\-]+) = ")
_OPCODE = re.compile(r" ([a-z][a-z\-]*)\(")
_NAME = re.compile(r"%[\w.\-]+")
_SHAPE = re.compile(r"([a-z]\w*)\[([\d,]*)\]")
_BITS = re.compile(r"[a-z]+(\d+)")


@dataclass(frozen=True)
class Shape:
    """An array's type: HLO's name of its dtype, and its sizes."""

    dtype: str
    sizes: tuple[int, ...]

    @property
    def itemsize_bytes(self) -> int:
        """Bytes of one element; 1 for what is smaller or not known."""
        bits = _BITS.match(self.dtype)
        return max(1, int(bits[1]) // 8) if bits else 1

    @property
    def size_bytes(self) -> int:
        """Bytes of the whole array."""
        return math.prod(self.sizes) * self.itemsize_bytes


@dataclass(frozen=True, eq=False)
class Instruction:
    """One line of a computation."""

    name: str
    opcode: str
    results: tuple[Shape, ...]
    """One for an array, as many as there are leaves for a tuple."""
    operands: tuple[str, ...]
    """Names of all that the line mentions: operands, and the computations that it calls."""
    text: str


@dataclass(frozen=True, eq=False)
class Computation:
    """A named sequence of instructions, in an order in which they may run."""

    name: str
    is_entry: bool
    instructions: dict[str, Instruction]

    def shapes(self, instruction: Instruction) -> tuple[Shape, ...]:
        """Returns the types of an instruction's array operands, in order; operands of unknown type are left out."""
        found = (self.instructions.get(name) for name in instruction.operands)
        return tuple(operand.results[0] for operand in found if operand is not None and operand.results)


def computations(text: str) -> dict[str, Computation]:
    """Returns the computations of a module by name; those that are called come before those that call them."""
    found: dict[str, Computation] = {}
    current: Computation | None = None
    for line in text.splitlines():
        if current is None or not line.startswith(" "):
            head = _HEAD.match(line)
            if head is not None:
                current = Computation(head[1], line.startswith("ENTRY"), {})
                found[head[1]] = current
            continue
        assigned = _ASSIGNED.match(line)
        if assigned is None:
            continue
        opcode = _OPCODE.search(line, assigned.end() - 1)
        if opcode is None:
            continue
        results = _SHAPE.findall(line[assigned.end() : opcode.start()])
        shapes = tuple(Shape(dtype, tuple(map(int, sizes.split(","))) if sizes else ()) for dtype, sizes in results)
        operands = tuple(_NAME.findall(line, opcode.end()))
        current.instructions[assigned[1]] = Instruction(assigned[1], opcode[1], shapes, operands, line)
    return found


def sizes_after(text: str, attribute: str) -> tuple[int, ...]:
    """Returns the numbers of an attribute such as ``dimensions={0,1}`` or ``fft_length={8}``; () where it is missing.

    Example:
        >>> sizes_after("... sort(%a), dimensions={1}, is_stable=true", "dimensions")
        (1,)
    """
    match = re.search(rf"\b{attribute}={{([\d,]*)}}", text)
    return tuple(map(int, match[1].split(","))) if match and match[1] else ()


def number_after(text: str, attribute: str, default: int) -> int:
    """Returns the number of an attribute such as ``feature_group_count=4``."""
    match = re.search(rf"\b{attribute}=(\d+)", text)
    return int(match[1]) if match else default
