"""What one compilation of a program lost against another, read off their texts before anything runs.

Some combinations of XLA's switches undo what made a loop fast: an array that was updated in place is copied at
every step, or a product of matrices is written out element by element instead of going to the library. Such a
program may run a thousand times longer, so it must not be started to find that out.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

from memline.units import format_bytes
from memline.verify.hlo import Computation, Instruction, computations, sizes_after

_SMALL_CALL = 'xla_cpu_small_call="true"'
_CALLS = frozenset(["while", "call", "conditional"])
_SLACK_BYTES = 4096  # of scalars and short vectors


def loss(text: str, before: str) -> str:
    """Returns what a program lost that another compilation of it had, in words; "" for nothing.

    Args:
      text: the program's optimised HLO.
      before: that of the other compilation.
    """
    now, then = computations(text), computations(before)
    updates = sum(1 for _ in _spread_updates(now)) - sum(1 for _ in _spread_updates(then))
    if updates > 0:
        return f"{updates} update{'s' * (updates > 1)} in place may become a pass over a whole array"
    copied, copied_before = _copied_bytes(now), _copied_bytes(then)
    if copied > copied_before + _SLACK_BYTES:
        return f"each step of its loops copies {format_bytes(copied - copied_before)} more"
    if sum(1 for _ in _written_out_products(now)) > sum(1 for _ in _written_out_products(then)):
        return "products of matrices in loops no longer go to the library"
    return ""


def _spread_updates(parts: dict[str, Computation]) -> Iterator[Instruction]:
    """Yields updates of slices that are made together with other results: in code of some kinds not in place."""
    for instruction in (i for part in parts.values() for i in part.instructions.values()):
        if instruction.opcode != "fusion" or len(instruction.results) < 2:
            continue
        for name in instruction.operands:
            if name in parts:
                fused = parts[name].instructions.values()
                yield from (inner for inner in fused if inner.opcode == "dynamic-update-slice")


def _copied_bytes(parts: dict[str, Computation]) -> int:
    """Returns the bytes that the bodies of all loops copy, each for one step."""
    inside = _called(parts, [i for part in parts.values() for i in part.instructions.values() if i.opcode == "while"])
    return sum(
        shape.size_bytes
        for name in inside
        for instruction in parts[name].instructions.values()
        if instruction.opcode == "copy"
        for shape in instruction.results
    )


def _written_out_products(parts: dict[str, Computation]) -> Iterator[Instruction]:
    """Yields the products of matrices in loops that are compiled as one function."""
    small = [i for part in parts.values() for i in part.instructions.values() if _SMALL_CALL in i.text]
    for name in _called(parts, small):
        for instruction in parts[name].instructions.values():
            if instruction.opcode == "convolution" or _is_matrix_product(instruction, parts[name]):
                yield instruction


def _is_matrix_product(instruction: Instruction, part: Computation) -> bool:
    if instruction.opcode != "dot":
        return False
    shapes = part.shapes(instruction)
    if len(shapes) < 2 or not instruction.results:
        return False
    left, right = shapes[:2]
    summed = math.prod(left.sizes[axis] for axis in sizes_after(instruction.text, "lhs_contracting_dims"))
    made = math.prod(instruction.results[0].sizes) * summed
    return summed > 1 and made > max(math.prod(left.sizes), math.prod(right.sizes))


def _called(parts: dict[str, Computation], callers: list[Instruction]) -> set[str]:
    """Returns the names of the computations that instructions call, directly or not; fused ones are left out."""
    found: set[str] = set()
    waiting = [name for caller in callers for name in caller.operands if name in parts]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            inner = [i for i in parts[name].instructions.values() if i.opcode in _CALLS]
            waiting += [called for caller in inner for called in caller.operands if called in parts]
    return found
