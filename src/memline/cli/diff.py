"""`memline diff`: what changed between two saved reports or plans: peaks, times, moves, the biggest values."""

from __future__ import annotations

import argparse
import json
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from memline.cli.command import FINE
from memline.cli.saved import report_of_file
from memline.units import format_bytes

if TYPE_CHECKING:
    from memline.report.record import Program, Record

EXAMPLES = """\
examples:
  memline diff before.json after.json
      of two reports (memline report --out) or two plans (memline plan --out), or one of each
  memline diff before.json after.json --json
"""
_PEAKS = ("planned_peak_bytes", "compiled_peak_bytes", "measured_peak_bytes", "argument_bytes", "output_bytes")
_TIMES = ("estimated_seconds", "measured_seconds")
_NAMES = {
    "planned_peak_bytes": "planned peak",
    "compiled_peak_bytes": "compiled peak",
    "measured_peak_bytes": "measured peak",
    "argument_bytes": "arguments",
    "output_bytes": "results",
    "estimated_seconds": "estimated time",
    "measured_seconds": "measured time",
}


@dataclass(frozen=True)
class Value:
    """A value that is alive at a peak, as far as two programs can be compared: by what it is, not by its name."""

    type: str
    op: str
    place: str
    size_bytes: int


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `memline diff`."""
    parser.add_argument("before", help="a saved report or plan")
    parser.add_argument("after", help="another one")
    parser.add_argument("--json", action="store_true", help="print the difference as JSON")


def run(options: argparse.Namespace) -> int:
    """Runs `memline diff`."""
    found = difference(report_of_file(options.before).record, report_of_file(options.after).record)
    if options.json:
        print(json.dumps({"memline_diff": 1, "before": options.before, "after": options.after, **found}, indent=1))
    else:
        print("\n".join([f"memline diff: {options.before} -> {options.after}", *_lines(found)]))
    return FINE


def difference(before: Record, after: Record) -> dict[str, Any]:
    """Returns what differs between two records, as values that JSON has: pairs of figures, and what came and went."""
    programs = {}
    for name, number in (("as written", 0), ("as it runs", -1)):
        sides = [record.programs[number] if record.programs else None for record in (before, after)]
        programs[name] = {f: [getattr(side, f, None) for side in sides] for f in (*_PEAKS, *_TIMES)}
    moves = [Counter(move.text for move in record.moves) for record in (before, after)]
    values = [_at_peak(record.programs[-1] if record.programs else None) for record in (before, after)]
    return {
        "limit_bytes": [before.limit_bytes, after.limit_bytes],
        "floor_bytes": [before.floor_bytes, after.floor_bytes],
        "programs": programs,
        "moves_removed": sorted((moves[0] - moves[1]).elements()),
        "moves_added": sorted((moves[1] - moves[0]).elements()),
        "moves_kept": (moves[0] & moves[1]).total(),
        "values_removed": _told(values[0] - values[1]),
        "values_added": _told(values[1] - values[0]),
    }


def _at_peak(program: Program | None) -> Counter[Value]:
    if program is None:
        return Counter()
    alive = (program.values[number] for number in program.at_peak)
    return Counter(
        Value(v.type, v.op or v.kind, f"{v.place.file}:{v.place.line}" if v.place else "", v.size_bytes) for v in alive
    )


def _told(values: Counter[Value]) -> list[dict[str, Any]]:
    biggest = sorted(values.elements(), key=lambda value: (-value.size_bytes, value.type, value.place))[:10]
    return [{"type": v.type, "op": v.op, "place": v.place, "size_bytes": v.size_bytes} for v in biggest]


def _lines(found: dict[str, Any]) -> list[str]:
    lines = []
    for name in ("limit", "floor"):
        if any(size is not None for size in found[f"{name}_bytes"]):
            lines.append(f"  {name:<16} {_change(found[f'{name}_bytes'], _size)}")
    for title, figures in found["programs"].items():
        told = [
            f"    {_NAMES[name]:<14} {_change(pair, _size if name in _PEAKS else _time)}"
            for name, pair in figures.items()
            if any(pair)
        ]
        lines += [f"  {title}", *told] if told else []
    lines.append(f"  moves: {found['moves_kept']} kept")
    lines += [f"    - {move}" for move in found["moves_removed"]] + [f"    + {move}" for move in found["moves_added"]]
    values = [(sign, value) for sign in ("removed", "added") for value in found[f"values_{sign}"]]
    if values:
        lines.append("  alive at the peak")
    for sign, value in values:
        place = f"  {value['place']}" if value["place"] else ""
        mark = "-" if sign == "removed" else "+"
        lines.append(f"    {mark} {_size(value['size_bytes']):>10}  {value['type']} of {value['op']}{place}")
    return lines


def _change(pair: list[Any], text: Any) -> str:
    old, new = pair
    if old == new:
        return f"{text(old)}, the same"
    share = f" ({new / old - 1:+.1%})" if old and new is not None else ""
    return f"{text(old)} -> {text(new)}{share}"


def _size(n_bytes: int | None) -> str:
    return "none" if n_bytes is None else format_bytes(n_bytes)


def _time(seconds: float | None) -> str:
    return "none" if seconds is None else f"{seconds * 1e3:.3g} ms"
