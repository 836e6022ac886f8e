"""What the terminal page says, line by line, for whatever shows it: pieces of text, each with its role."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePath

from memline.report.record import Held, Layout, Place, Program, Record
from memline.report.words import deciding_peak
from memline.units import format_bytes, format_seconds

WIDTH, HEIGHT = 80, 40
_MOST_HELD = 10
_ROLES = {"temporary": "temp"}
_BAR = 30
_ROOM = ((6, 2, 6), (4, 2, 3), (4, 1, 3), (3, 1, 2), (2, 1, 1))
"""How many moves, lines of a reason, and remarks are told: the most that the screen has room for."""


@dataclass(frozen=True)
class Piece:
    """A piece of a line.

    Attributes:
      role: "plain", "head", "dim", "good", "bad", "bar", "over" (a bar's part above the limit), "limit" or "code".
    """

    text: str
    role: str = "plain"


Line = tuple[Piece, ...]


def lines(record: Record, width: int = WIDTH) -> list[Line]:
    """Returns the page of a record. Long lists are cut and say so; no line is longer than `width`."""
    page: list[Line] = []
    for moves, rows, words in _ROOM:
        sections = (
            _head(record),
            _peaks(record),
            _moves(record, width, moves, rows),
            _alive(record, width),
            _layouts(record),
            _words(record, width, words, rows),
        )
        page = [_cut(line, width) for section in sections for line in section]
        if len(page) <= HEIGHT:
            break
    return page


def short(place: Place | None, *, with_function: bool = True) -> str:
    """Returns a place as text: its file without folders, its line, its function; "" for None."""
    if place is None:
        return ""
    if not with_function:
        return f"{PurePath(place.file).name}:{place.line}"
    name = place.function.rpartition("<locals>.")[2]
    function = f" ({name})" if name else ""
    return f"{PurePath(place.file).name}:{place.line}{function}"


def verdict(record: Record) -> tuple[str, bool]:
    """Returns one sentence on whether the program fits its limit, and whether that is good news."""
    if not record.programs:
        return "a plan without figures: it was written by hand", True
    last = record.programs[-1]
    which, peak_bytes = deciding_peak(last)
    size = format_bytes(peak_bytes)
    if record.limit_bytes is None:
        return f"needs {size} ({which} peak); no limit was asked for", True
    apart = record.limit_bytes - peak_bytes
    limit = format_bytes(record.limit_bytes)
    if apart < 0:
        return f"does not fit: needs {size} ({which} peak), {format_bytes(-apart)} over the limit of {limit}", False
    fits = "fits" if record.moves else "fits as it is written"
    return f"{fits}: needs {size} ({which} peak), {format_bytes(apart)} under the limit of {limit}", True


def _head(record: Record) -> Iterator[Line]:
    place = short(record.place, with_function=False)
    yield (Piece("memline report", "head"), Piece(f"  {record.title}" + (f" ({place})" if place else "")))
    sentence, is_good = verdict(record)
    yield (Piece("  "), Piece(sentence, "good" if is_good else "bad"))
    made = record.origin
    about = []
    if record.floor_bytes is not None:
        about.append(f"floor {format_bytes(record.floor_bytes)} (smallest peak tried)")
    if record.planning_seconds is not None:
        about.append(f"planned in {record.planning_seconds:.1f} s")
    about.append(f"jax {made.jax}" + (f" on {made.platform}" if made.platform else ""))
    yield (Piece("  " + ", ".join(about), "dim"),)


def _peaks(record: Record) -> Iterator[Line]:
    rows = [(program, how, size) for program in record.programs for how, size in _figures(program)]
    if not rows:
        return
    most = max([size for _, _, size in rows] + [record.limit_bytes or 0])
    mark = None if not record.limit_bytes else round(record.limit_bytes / most * _BAR)
    yield (Piece(f"{'peaks':<{28 + (mark or 0)}}", "head"), Piece("" if mark is None else "limit v", "limit"))
    told = ""
    for program, how, size in rows:
        name = program.name if program.name != told else ""
        told = program.name
        yield (
            Piece(f"  {name:<11}"),
            Piece(f"{how:<9}"),
            Piece(f"{format_bytes(size):>11} "),
            *_bar(size, most, mark),
            Piece(_times(program) if name else "", "dim"),
        )


def _bar(size: int, most: int, mark: int | None) -> tuple[Piece, ...]:
    """Returns a bar, with the limit in it as a stroke."""
    filled = round(size / most * _BAR) if most else 0
    filled = max(filled, 1) if size else 0
    if mark is None:
        return (Piece("#" * filled, "bar"), Piece(" " * (_BAR - filled)))
    inside, over = min(filled, mark), max(filled - mark, 0)
    return (
        Piece("#" * inside, "bar"),
        Piece(" " * (mark - inside)),
        Piece("|", "limit"),
        Piece("#" * over, "over"),
        Piece(" " * (_BAR - mark - over)),
    )


def _figures(program: Program) -> list[tuple[str, int]]:
    told = [
        ("planned", program.planned_peak_bytes),
        ("compiled", program.compiled_peak_bytes),
        ("measured", program.measured_peak_bytes),
    ]
    return [(how, size) for how, size in told if size is not None]


def _times(program: Program) -> str:
    if program.measured_seconds is not None:
        return f" {format_seconds(program.measured_seconds)}"
    return "" if program.estimated_seconds is None else f" est. {format_seconds(program.estimated_seconds)}"


def _moves(record: Record, width: int, most: int, rows: int) -> Iterator[Line]:
    if record.floor_bytes is None and not record.moves:
        return
    if not record.moves:
        yield (Piece("no moves", "head"), Piece(": the program is left as it is"))
        return
    yield (Piece(f"moves ({len(record.moves)})", "head"),)
    for number, move in enumerate(record.moves[:most], 1):
        saved = f"  saves {format_bytes(move.saved_bytes)}" if move.saved_bytes > 0 else ""
        yield (Piece(f"  {number}. "), Piece(move.text, "code"), Piece(saved, "good"))
        yield from ((Piece(f"     {text}", "dim"),) for text in _wrapped(move.reason, width - 5, rows))
    yield from _more(len(record.moves) - most)


def _alive(record: Record, width: int) -> Iterator[Line]:
    told = [program for program in record.programs if program.steps]
    if not told:
        return
    for program in told[:-1]:
        yield from _moment(program, "the peak")
        for held in _at_peak(program)[:1]:
            yield _held_line(held, program, width)
    program = told[-1]
    yield from _moment(program, "alive at the peak")
    alive = _at_peak(program)
    for held in alive[:_MOST_HELD]:
        yield _held_line(held, program, width)
    rest = alive[_MOST_HELD:]
    yield from _more(len(rest), f", {format_bytes(sum(held.size_bytes for held in rest))} together")


def _at_peak(program: Program) -> list[Held]:
    return [program.values[number] for number in program.at_peak]


def _moment(program: Program, what: str) -> Iterator[Line]:
    """Yields when the peak is: while which node runs, and in which loop."""
    step = program.steps[program.peak]
    at = f" at {short(step.place, with_function=False)}" if step.place else ""
    name = program.name if program.name.startswith("as ") else f"as {program.name}"
    yield (Piece(f"{what} {name}", "head"), Piece(f": {format_bytes(step.total_bytes)}, during {step.op}{at}"))
    inside = [band for band in program.bands if band.first <= program.peak <= band.last]
    if inside:
        yield (Piece(f"  in: {max(inside, key=lambda band: band.depth).title}", "dim"),)


def _held_line(held: Held, program: Program, width: int) -> Line:
    """Returns a value's line; where it is too long, without the function, without the op, then cut in its middle."""
    total = program.steps[program.peak].total_bytes or 1
    role = "scratch" if held.type == "scratch" else _ROLES.get(held.kind, held.kind)
    size = f"  {format_bytes(held.size_bytes):>11} {held.size_bytes / total:>4.0%}  {role:<8} "
    what = held.label or held.name
    if held.type != "scratch":
        what = f"{what} {held.type}"
    line = short(held.place, with_function=False)
    ways = (f"{held.op} {short(held.place)}".strip(), f"{held.op} {line}".strip(), line or held.op)
    room = width - len(size) - 2
    made = next((way for way in ways if len(what) + len(way) <= room), ways[-1])
    return (Piece(size), Piece(_squeezed(what, room - len(made)) + "  ", "code"), Piece(made, "dim"))


def _squeezed(text: str, width: int) -> str:
    """Returns a text cut in its middle, where a long name says least."""
    if len(text) <= width or width < 9:
        return text
    return f"{text[: (width - 3) // 2]}...{text[-(width - 3 - (width - 3) // 2) :]}"


def _layouts(record: Record) -> Iterator[Line]:
    for program in record.programs:
        if program.layout is not None and program.layout.temp_bytes:
            yield (Piece(f"addresses {program.name}", "head"), Piece(f": {fragmentation(program.layout)}"))


def fragmentation(layout: Layout) -> str:
    """Returns in words what XLA's placing of temporaries loses against an exact packing of them."""
    taken = f"XLA's temporaries take {format_bytes(layout.temp_bytes)}"
    if layout.packed_bytes is None:
        return f"{taken}; at most {format_bytes(layout.load_bytes)} of them is alive at once"
    # What rounding up to alignments takes is no loss that anyone can see.
    lost = layout.temp_bytes - layout.packed_bytes
    if lost * 1000 <= layout.temp_bytes:
        return f"{taken}, placed as well as can be" if layout.is_proved else f"{taken}; no better packing was found"
    least = "the least there is" if layout.is_proved else "the best found"
    return f"{taken}, packed exactly {format_bytes(layout.packed_bytes)} ({least}): {lost / layout.temp_bytes:.0%} lost"


def _words(record: Record, width: int, most: int, rows: int) -> Iterator[Line]:
    for title, entries in (("left whole", record.left_whole), ("notes", record.notes)):
        if entries:
            yield (Piece(f"{title} ({len(entries)})", "head"),)
            for entry in entries[:most]:
                for number, text in enumerate(_wrapped(entry, width - 4, rows)):
                    yield (Piece(f"    {text}" if number else f"  - {text}"),)
            yield from _more(len(entries) - most)


def _wrapped(text: str, width: int, rows: int) -> list[str]:
    """Returns a text in at most so many rows, cut where it is longer."""
    if rows == 1:
        return [" ".join(text.split())]  # cut with its line
    return textwrap.wrap(text, width, max_lines=rows, placeholder=" ...")


def _more(count: int, also: str = "") -> Iterator[Line]:
    if count > 0:
        yield (Piece(f"  ... and {count} more{also}", "dim"),)


def _cut(line: Sequence[Piece], width: int) -> Line:
    """Returns a line that is no longer than `width`, without spaces at its end."""
    kept: list[Piece] = []
    room = width
    for piece in line:
        text = piece.text if len(piece.text) <= room else piece.text[: max(room - 3, 0)] + "..."[:room]
        if text:
            kept.append(Piece(text, piece.role))
        room -= len(text)
    while kept and not kept[-1].text.strip():
        kept.pop()
    return (*kept[:-1], Piece(kept[-1].text.rstrip(), kept[-1].role)) if kept else ()
