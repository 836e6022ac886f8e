"""The report as a trace that Perfetto (ui.perfetto.dev) and chrome://tracing open, in the Trace Event format.

A program is a process. Its steps stand for time, a microsecond each: no clock ran. It has a counter of the bytes held,
a row of its steps, a row for each depth of loops and branches, and a mark at the peak.
"""

from __future__ import annotations

import json
from typing import Any

from memline.report.record import Band, Place, Program, Record
from memline.units import format_bytes

_STEPS, _BANDS = 1, 10


def trace_text(record: Record) -> str:
    """Returns the trace as JSON text."""
    events = [event for number, program in enumerate(record.programs, 1) for event in _events(program, number)]
    about = {"title": record.title, "unit": "one step of the program is shown as 1 us"}
    if record.limit_bytes is not None:
        about["limit_bytes"] = str(record.limit_bytes)
    return json.dumps({"traceEvents": events, "displayTimeUnit": "ns", "otherData": about}, ensure_ascii=False)


def _events(program: Program, process: int) -> list[dict[str, Any]]:
    base = {"pid": process, "tid": _STEPS}
    depths = sorted({band.depth for band in program.bands})
    events = [_name("process_name", program.name, process, _STEPS), _name("thread_name", "steps", process, _STEPS)]
    for depth in depths:
        title = "loops and branches" + (f", depth {depth + 1}" if depth else "")
        events.append(_name("thread_name", title, process, _BANDS + depth))
    for at, step in enumerate(program.steps):
        events.append({"name": "memory", "ph": "C", "ts": at, "pid": process, "args": {"bytes": step.total_bytes}})
        args: dict[str, Any] = {"holds": format_bytes(step.total_bytes), **_where(step.place)}
        if step.covers > 1:
            args["nodes"] = step.covers
        events.append({"name": step.op, "cat": "step", "ph": "X", "ts": at, "dur": 1, **base, "args": args})
    events += [_slice(band, process) for band in program.bands]
    if program.steps:
        end = len(program.steps)
        last = program.steps[-1].total_bytes
        events.append({"name": "memory", "ph": "C", "ts": end, "pid": process, "args": {"bytes": last}})
        held = [program.values[number] for number in program.at_peak[:10]]
        told = {f"{held.name} {held.type}": format_bytes(held.size_bytes) for held in held}
        peak = {"name": f"peak {format_bytes(program.planned_peak_bytes)}", "ph": "i", "s": "p", "ts": program.peak}
        events.append({**peak, "cat": "peak", **base, "args": told})
    return events


def _slice(band: Band, process: int) -> dict[str, Any]:
    args = {"runs": "not known before" if band.runs is None else band.runs, **_where(band.place)}
    spot = {"ts": band.first, "dur": band.last - band.first + 1, "pid": process, "tid": _BANDS + band.depth}
    return {"name": band.title, "cat": "band", "ph": "X", **spot, "args": args}


def _name(what: str, name: str, process: int, thread: int) -> dict[str, Any]:
    return {"name": what, "ph": "M", "pid": process, "tid": thread, "args": {"name": name}}


def _where(place: Place | None) -> dict[str, str]:
    return {} if place is None else {"source": f"{place.file}:{place.line} ({place.function})"}
