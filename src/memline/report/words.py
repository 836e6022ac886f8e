"""What a record says, in sentences: whether the program fits and by how much, and what its placing loses."""

from __future__ import annotations

from memline.report.record import Layout, Program, Record
from memline.units import format_bytes


def deciding_peak(program: Program) -> tuple[str, int]:
    """Which peak the limit is held against, "compiled" or "planned", and its bytes.

    What XLA accounts for has the last word before anything runs; where it was not asked, the model has.
    """
    if program.compiled_peak_bytes is not None:
        return "compiled", program.compiled_peak_bytes
    return "planned", program.planned_peak_bytes


def verdict(record: Record) -> str:
    """Whether the program fits the limit, and by how much, in one or two sentences."""
    if not record.programs:
        return "Nothing is recorded of the program itself."
    program = record.programs[-1]
    which, peak_bytes = deciding_peak(program)
    if record.limit_bytes is None:
        told = f"No limit was asked for. The {which} peak is {format_bytes(peak_bytes)}"
    else:
        fits = "It fits" if peak_bytes <= record.limit_bytes else "It does not fit"
        told = f"{fits}: the {which} peak of {format_bytes(peak_bytes)} is {_beside(peak_bytes, record.limit_bytes)}"
    return f"{told}.{_measured(record, program)}{_as_written(record)}"


def fragmentation(layout: Layout) -> str:
    """What XLA's placing of the temporaries loses, and what the exact packing would win, in words."""
    told = f"XLA takes {format_bytes(layout.temp_bytes)} for temporaries"
    lost_bytes = layout.temp_bytes - layout.load_bytes
    if not layout.temp_bytes:
        return "The compiled program has no temporaries: there is nothing to place."
    told += f", of which at most {format_bytes(layout.load_bytes)} are alive at once: "
    if lost_bytes > 0:
        told += f"{format_bytes(lost_bytes)} ({_percent(lost_bytes, layout.temp_bytes)}) are lost to fragmentation."
    else:
        told += "nothing is lost to fragmentation."
    if layout.packed_bytes is None:
        return told
    won_bytes = layout.temp_bytes - layout.packed_bytes
    least = "no packing takes less" if layout.is_proved else "whether a packing takes less is not known"
    if won_bytes > 0:
        beside = f"{format_bytes(won_bytes)} less than XLA"
    else:
        beside = "as much as XLA" if won_bytes == 0 else f"{format_bytes(-won_bytes)} more than XLA"
    return f"{told} The exact packing takes {format_bytes(layout.packed_bytes)}, {beside}; {least}."


def aggregation(program: Program) -> str:
    """What the page does not tell one by one of a program, in words; "" where it tells all."""
    told = []
    grouped = [step.covers for step in program.steps if step.covers > 1]
    if grouped:
        told.append(
            f"The program is long: {sum(s.covers for s in program.steps):,} nodes are drawn as {len(program.steps):,} "
            f"steps, each of up to {max(grouped)} nodes and at the most that any of them holds."
        )
    if program.omitted:
        added = format_bytes(program.omitted_bytes)
        told.append(f"The {program.omitted:,} smallest values, {added} when added, are not listed.")
    return " ".join(told)


def layout_aggregation(layout: Layout) -> str:
    """What the address map leaves out, in words; "" where it draws all."""
    if not layout.omitted:
        return ""
    return (
        f"The {layout.omitted:,} smallest buffers, {format_bytes(layout.omitted_bytes)} when added, are not drawn: "
        "some of the empty space is theirs."
    )


def _beside(peak_bytes: int, limit_bytes: int) -> str:
    """How a peak compares with the limit."""
    limit = f"the limit of {format_bytes(limit_bytes)}"
    if peak_bytes == limit_bytes:
        return f"exactly {limit}"
    if peak_bytes < limit_bytes:
        spare_bytes = limit_bytes - peak_bytes
        return f"{format_bytes(spare_bytes)} ({_percent(spare_bytes, limit_bytes)}) under {limit}"
    return f"{format_bytes(peak_bytes - limit_bytes)} over {limit}{_times(peak_bytes, limit_bytes)}"


def _measured(record: Record, program: Program) -> str:
    if program.measured_peak_bytes is None:
        return ""
    told = f" Measured in a fresh process, it took {format_bytes(program.measured_peak_bytes)}"
    if record.limit_bytes is not None and program.measured_peak_bytes > record.limit_bytes:
        told += f", {format_bytes(program.measured_peak_bytes - record.limit_bytes)} over the limit"
    return told + "."


def _as_written(record: Record) -> str:
    if len(record.programs) < 2:
        return ""
    peak_bytes = deciding_peak(record.programs[0])[1]
    told = f" As written it takes {format_bytes(peak_bytes)}"
    if record.limit_bytes is not None:
        told += _times(peak_bytes, record.limit_bytes)
    return told + "."


def _times(peak_bytes: int, limit_bytes: int) -> str:
    """ ", 6.4 times the limit"; nothing where that says no more than the difference does."""
    if limit_bytes <= 0 or peak_bytes < 1.5 * limit_bytes:
        return ""
    ratio = peak_bytes / limit_bytes
    return f", {ratio:,.1f} times the limit" if ratio < 100 else f", {ratio:,.0f} times the limit"


def _percent(part: int, whole: int) -> str:
    share = 100 * part / whole if whole else 0.0
    return f"{share:.0f}%" if share >= 1 else "under 1%"
