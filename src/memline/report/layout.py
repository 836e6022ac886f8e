"""The address map of a compiled program: where XLA put its temporaries, and where an exact packing puts them."""

from __future__ import annotations

from typing import Any

from memline import packing
from memline.errors import MissingPackageError
from memline.packing.programs import Dump, dump_of_lowered
from memline.report.origins import origins
from memline.report.record import Buffer, Layout

MOST_BUFFERS = 4000
PACKING_SECONDS = 2.0


def layout_of_lowered(lowered: Any, compiler_options: dict[str, Any] | None = None) -> tuple[Layout, tuple[str, ...]]:
    """Returns the address map of a `jax.stages.Lowered`, and notes on it; compiles it once more, with a dump.

    Args:
      lowered: the program.
      compiler_options: options for XLA beside its own, as `jax.stages.Lowered.compile` takes them.

    Raises:
      PackingError: XLA dumped nothing for this program.
    """
    return layout_of(dump_of_lowered(lowered, compiler_options))


def layout_of(dump: Dump) -> tuple[Layout, tuple[str, ...]]:
    """Returns the address map that a dump tells of, and notes on it."""
    problem, placed = dump.assignment.problem, dump.assignment.packing
    notes: tuple[str, ...] = ()
    offsets: tuple[int | None, ...] = (None,) * len(problem.buffers)
    packed_bytes: int | None = None
    is_proved = False
    try:
        if problem.buffers:
            found = packing.minimize(problem, time_limit=PACKING_SECONDS)
            offsets, packed_bytes, is_proved = found.packing.offsets, found.arena, found.proved
        else:
            packed_bytes, is_proved = 0, True
    except MissingPackageError:
        notes = ("temporaries were not packed for comparison: memline's native solver is not built here",)
    known = origins(dump.module)
    told = [
        each
        for buffer, at, packed in zip(problem.buffers, placed.offsets, offsets, strict=True)
        for each in _buffers(buffer, at, packed, known)
    ]
    told.sort(key=lambda buffer: -buffer.size_bytes)
    told, left = told[:MOST_BUFFERS], told[MOST_BUFFERS:]
    told.sort(key=lambda buffer: (buffer.first, buffer.last, buffer.offset))
    layout = Layout(
        temp_bytes=dump.assignment.temp_bytes,
        load_bytes=problem.peak_load,
        packed_bytes=packed_bytes,
        is_proved=is_proved,
        moments=max((buffer.upper for buffer in problem.buffers), default=0),
        buffers=tuple(told),
        omitted=len(left),
        omitted_bytes=sum(buffer.size_bytes for buffer in left),
    )
    return layout, notes


def _buffers(buffer: packing.Buffer, at: int, packed: int | None, known: dict[str, Any]) -> list[Buffer]:
    """Returns a buffer once for each time that it is alive: in the gaps between others may lie there."""
    op, place = known.get(buffer.id.partition("{")[0], ("", None))
    name = buffer.id.removesuffix("{}")
    return [
        Buffer(name, op, place, high - low, first, end - 1, at + low, None if packed is None else packed + low)
        for first, end, low, high in buffer.segments
    ]
