"""The tables of the HTML page. They say all that the pictures show, also where no script runs and on paper."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from memline.report.page.markup import Markup, element
from memline.report.page.pictures import clipped, origin, worst_moment
from memline.report.page.places import Places
from memline.report.record import Buffer, Held, Layout, MoveTold, Program, Record
from memline.units import format_bytes, format_seconds

MOST_ROWS = 300
"""The most rows of one table of values; the script shows as many."""


class _Column(NamedTuple):
    """A column's head; `key` is what the script calls it, None in a table that it does not touch."""

    title: str
    key: str | None = None
    is_number: bool = False


_VALUE_COLUMNS = (
    _Column("Name", "name"),
    _Column("Type", "type"),
    _Column("Size", "size", is_number=True),
    _Column("Made by", "op"),
    _Column("Source line", "place"),
    _Column("Steps", "alive", is_number=True),
)
_BUFFER_COLUMNS = (
    _Column("Name", "name"),
    _Column("Size", "size", is_number=True),
    _Column("Made by", "op"),
    _Column("Source line", "place"),
    _Column("Moments", "alive", is_number=True),
    _Column("Offset", "offset", is_number=True),
    _Column("Packed", "packed", is_number=True),
)
_PEAK_COLUMNS = (
    _Column("Program"),
    *(_Column(f"{which} peak", is_number=True) for which in ("Planned", "Compiled", "Measured")),
    *(_Column(what, is_number=True) for what in ("Arguments", "Results", "Shared", "Time", "Nodes")),
)
_MOVE_COLUMNS = (
    _Column("#", is_number=True),
    _Column("Move"),
    _Column("Reason"),
    _Column("Saves", is_number=True),
    _Column("Source line"),
)


def peaks(record: Record) -> Markup:
    """The figures of each program beside each other."""
    rows = ((element("th", program.name, scope="row"), *map(_number, _figures(program))) for program in record.programs)
    caption = "Peaks and times of each form of the program. Shared: arguments that results are written over."
    return _table("peaks", caption, _PEAK_COLUMNS, rows)


def values(program: Program, number: int, places: Places) -> Markup:
    """What is held at the peak, the biggest first; the script fills it again for any other step."""
    told = [program.values[i] for i in program.at_peak]
    rows = (_value_row(value, places) for value in told[:MOST_ROWS])
    caption = f"{program.name}: {_held_at(program)}"
    return _sortable(f"held-{number}", caption, _VALUE_COLUMNS, rows, len(told))


def buffers(program: Program, layout: Layout, number: int, places: Places) -> Markup:
    """The temporaries that are alive when most is, the biggest first."""
    worst = worst_moment(layout)
    alive = [b for b in layout.buffers if b.first <= worst <= b.last]
    told = sorted(alive, key=lambda b: -b.size_bytes)
    columns = _BUFFER_COLUMNS if layout.packed_bytes is not None else _BUFFER_COLUMNS[:-1]
    rows = (_buffer_row(b, layout, places) for b in told[:MOST_ROWS])
    caption = f"{program.name}: temporaries at moment {worst + 1} of {layout.moments}, when most is alive"
    return _sortable(f"placed-{number}", caption, columns, rows, len(told))


def moves(told: Sequence[MoveTold], places: Places) -> Markup:
    """What the plan does, and why."""
    rows = (
        (
            _number(str(i)),
            element("td", _move_text(move)),
            element("td", move.reason),
            _number(format_bytes(move.saved_bytes)),
            element("td", places(move.place), class_="place"),
        )
        for i, move in enumerate(told, 1)
    )
    return _table("moves-table", "The plan's moves, in order", _MOVE_COLUMNS, rows)


def _move_text(move: MoveTold) -> tuple[Markup, ...]:
    """The move with its name in bold, once: most texts begin with it."""
    rest = move.text.removeprefix(move.kind)
    return element("strong", move.kind), element("code", rest if rest != move.text else f" {move.text}")


def _figures(program: Program) -> tuple[str, ...]:
    return (
        format_bytes(program.planned_peak_bytes),
        _bytes_or_dash(program.compiled_peak_bytes),
        _bytes_or_dash(program.measured_peak_bytes),
        format_bytes(program.argument_bytes),
        format_bytes(program.output_bytes),
        format_bytes(program.alias_bytes),
        _seconds(program),
        f"{program.nodes:,}",
    )


def _value_row(value: Held, places: Places) -> tuple[Markup, ...]:
    return (
        element("th", (element("code", clipped(value.name)), _label(value)), scope="row"),
        element("td", element("code", clipped(value.type))),
        _number(format_bytes(value.size_bytes)),
        element("td", clipped(origin(value))),
        element("td", clipped(places(value.place)), class_="place"),
        _number(_range(value.first, value.last)),
    )


def _label(value: Held) -> Markup:
    """What the user calls it, beside its name in the program."""
    return element("span", f" {clipped(value.label)}", class_="label") if value.label else Markup("")


def _buffer_row(buffer: Buffer, layout: Layout, places: Places) -> tuple[Markup, ...]:
    cells = (
        element("th", element("code", clipped(buffer.name)), scope="row"),
        _number(format_bytes(buffer.size_bytes)),
        element("td", clipped(buffer.op)),
        element("td", clipped(places(buffer.place)), class_="place"),
        _number(_range(buffer.first, buffer.last)),
        _number(format_bytes(buffer.offset)),
    )
    return cells if layout.packed_bytes is None else (*cells, _number(_bytes_or_dash(buffer.packed_offset)))


def _held_at(program: Program) -> str:
    if not program.steps:
        return "what is held at the peak"
    return f"held at step {program.peak + 1} of {len(program.steps)}, the peak"


def _sortable(
    identifier: str, caption: str, columns: Sequence[_Column], rows: Iterable[Sequence[Markup]], many: int
) -> Markup:
    """A table that the script makes sortable, with a box to filter it, in a frame that scrolls by itself."""
    table = element(
        "table",
        (
            element("caption", caption),
            _head(columns),
            element("tbody", _body(rows)),
        ),
        id=identifier,
        class_="sortable",
    )
    more = f"The {MOST_ROWS} biggest of {many}." if many > MOST_ROWS else ""
    frame = element("div", table, class_="scroll", tabindex=0, role="region", aria_label=caption)
    return element("div", (frame, element("p", more, class_="more")), class_="held")


def _table(identifier: str, caption: str, columns: Sequence[_Column], rows: Iterable[Sequence[Markup]]) -> Markup:
    table = element(
        "table", (element("caption", caption), _head(columns), element("tbody", _body(rows))), id=identifier
    )
    return element("div", table, class_="scroll", tabindex=0, role="region", aria_label=caption)


def _head(columns: Sequence[_Column]) -> Markup:
    cells = (
        element("th", c.title, scope="col", data_column=c.key, class_="number" if c.is_number else None)
        for c in columns
    )
    return element("thead", element("tr", cells))


def _body(rows: Iterable[Sequence[Markup]]) -> Iterable[Markup]:
    return (element("tr", row) for row in rows)


def _number(text: str) -> Markup:
    return element("td", text, class_="number")


def _bytes_or_dash(n_bytes: int | None) -> str:
    return "–" if n_bytes is None else format_bytes(n_bytes)


def _range(first: int, last: int) -> str:
    """Steps are told from 1, as people count them."""
    return str(first + 1) if first == last else f"{first + 1}–{last + 1}"


def _seconds(program: Program) -> str:
    if program.measured_seconds is not None:
        return format_seconds(program.measured_seconds)
    return "–" if program.estimated_seconds is None else f"about {format_seconds(program.estimated_seconds)}"
