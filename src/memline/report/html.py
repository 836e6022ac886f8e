"""The page of a report, as one HTML file that opens offline: `page`.

All that it shows is of the record. Style and scripts are the files of `page/assets`, put into it, and the page's
own policy forbids it to load anything. The tables are written here and hold without a script; the pictures are drawn
by the page's script. A program that is too long is shortened (`page.shorten`), and the page says so: it stays
under 2 MB.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from string import Template

from memline.report.page import tables
from memline.report.page.markup import Markup, data_block, element, joined, own
from memline.report.page.pictures import drawing, worst_moment
from memline.report.page.places import Places, whole
from memline.report.page.shorten import Room, shortened
from memline.report.record import Layout, Program, Record
from memline.report.words import (
    aggregation,
    deciding_peak,
    fragmentation,
    layout_aggregation,
    verdict,
)
from memline.units import format_bytes

# In the order in which they need each other.
_SCRIPTS = ("units", "dom", "theme", "tooltip", "axis", "zoom", "layers", "memory", "map", "tables", "main")
_ROOM = Room()
_MOST_TOLD = 200
"""The most lines of a list: of notes, and of what was left whole."""


def page(record: Record) -> str:
    """Returns the page of a record: one HTML document, which loads nothing.

    Args:
      record: any record; programs without steps or layouts have no pictures, and the page says so.

    Example:
        >>> from memline.report.record import Origin, Record
        >>> origin = Origin(memline="0.1", jax="0.10.2", jaxlib="0.10.2", platform="cpu", device="cpu")
        >>> text = page(Record("f", None, origin, 2**20, None, None, (), (), (), ()))
        >>> text.startswith("<!doctype html>"), "1.00 MiB" in text
        (True, True)
    """
    places = Places(record)
    programs = [shortened(program, _ROOM) for program in record.programs]
    text = Template(_file("page.html")).substitute(
        title=joined(record.title),
        style=_file("style.css"),
        script="\n".join(_file(f"{name}.js") for name in _SCRIPTS),
        place=_defined(record),
        verdict=_verdict(record),
        summary=joined((_bars(record), tables.peaks(record))),
        memory=joined(_run(*both, i, places) for i, both in enumerate(zip(record.programs, programs, strict=True)))
        or _absent("No program is recorded."),
        map=joined(_map(program, i, places) for i, program in enumerate(programs))
        or _absent("No program of this record was compiled for its address map."),
        moves=_moves(record, places),
        whole=_list(record.left_whole, "Nothing is recorded that was left whole for want of a way to split it."),
        notes=_list(record.notes, "None."),
        origin=_origin(record),
        data=data_block("record", drawing(record, programs, places)),
    )
    # Names of files that are no text, which Python tells with halves of characters, must not keep it from being saved.
    return text.encode("utf-8", "replace").decode("utf-8")


@cache
def _file(name: str) -> Markup:
    return own(files("memline.report.page").joinpath("assets", name).read_text(encoding="utf-8"))


def _defined(record: Record) -> Markup:
    return element("p", f"defined at {whole(record.place)}", class_="place") if record.place else Markup("")


def _verdict(record: Record) -> Markup:
    mood = "plain"
    if record.programs and record.limit_bytes is not None:
        mood = "fits" if deciding_peak(record.programs[-1])[1] <= record.limit_bytes else "over"
    told = verdict(record) if record.programs or record.limit_bytes is None else _no_program(record.limit_bytes)
    return element("p", told, class_=f"verdict {mood}")


def _no_program(limit_bytes: int) -> str:
    return f"The limit is {format_bytes(limit_bytes)}. Nothing is recorded of the program itself."


def _bars(record: Record) -> Markup:
    """The peaks, the limit and the floor as lengths. The table below says the same to those who see none."""
    lengths = [("limit", record.limit_bytes, "limit"), ("floor", record.floor_bytes, "floor")]
    for program in record.programs:
        which, peak_bytes = deciding_peak(program)
        is_over = record.limit_bytes is not None and peak_bytes > record.limit_bytes
        lengths.append((f"{program.name}, {which} peak", peak_bytes, "over" if is_over else "under"))
        if program.measured_peak_bytes is not None:
            lengths.append((f"{program.name}, measured peak", program.measured_peak_bytes, "measured"))
    told = [(name, n_bytes, look) for name, n_bytes, look in lengths if n_bytes is not None]
    longest = max((n_bytes for _, n_bytes, _ in told), default=0)
    rows = (_bar(name, n_bytes, look, longest, record.limit_bytes) for name, n_bytes, look in told)
    return element("dl", rows, class_="bars")


def _bar(name: str, n_bytes: int, look: str, longest: int, limit_bytes: int | None) -> Markup:
    bar = element("span", "", class_=f"bar {look}", style=f"width:{_share(n_bytes, longest)}")
    mark = Markup("")
    if limit_bytes is not None:
        mark = element("span", "", class_="mark", style=f"left:{_share(limit_bytes, longest)}")
    track = element("span", (bar, mark), class_="track", aria_hidden="true")
    figure = element("dd", (element("span", format_bytes(n_bytes), class_="figure"), track))
    return element("div", (element("dt", name), figure))


def _share(part: int, whole: int) -> str:
    return f"{100 * part / whole if whole else 0:.2f}%"


def _run(recorded: Program, program: Program, number: int, places: Places) -> Markup:
    """A program's memory over its run: the picture's frame, its words, and what is held at the peak.

    `program` is what the page has room for of the one that is recorded.
    """
    heading = element("h3", program.name, id=f"run-{number}")
    told = element("p", _told(program, _many(recorded), places), id=f"run-told-{number}")
    caption = element("figcaption", (heading, told))
    frame = element("div", "", class_="chart", data_run=number) if program.steps else Markup("")
    legend = element("ul", "", class_="legend", id=f"legend-{number}") if program.steps else Markup("")
    details = element("div", "", class_="details", aria_live="polite", id=f"step-{number}")
    return element(
        "figure",
        (caption, frame, legend, details, tables.values(program, number, places)),
        class_="run",
        aria_labelledby=f"run-{number}",
    )


def _many(recorded: Program) -> str:
    """How many values are held at the peak; a record of very many does not know them all."""
    least = "at least " if recorded.omitted else ""
    return f"{least}{len(recorded.at_peak):,} value{'s are' if len(recorded.at_peak) != 1 else ' is'} held there"


def _told(program: Program, held: str, places: Places) -> str:
    """The facts of the picture in words; `held` says how many values are held at its peak."""
    fixed_bytes = program.argument_bytes + program.output_bytes - program.alias_bytes
    fixed = f"Arguments and results take {format_bytes(fixed_bytes)} throughout."
    if not program.steps:
        return (
            f"The planned peak is {format_bytes(program.planned_peak_bytes)}. {fixed} The run itself is not recorded."
        )
    step = program.steps[program.peak]
    place = f" of {places(step.place)}" if step.place else ""
    if program.at_peak:
        biggest = program.values[program.at_peak[0]]
        held += f"; the biggest is {biggest.name} {biggest.type}, {format_bytes(biggest.size_bytes)}"
    peak = (
        f"The planned peak is {format_bytes(step.total_bytes)}, at step {program.peak + 1} of {len(program.steps)}, "
        f"while {step.op}{place} runs: {held}. {fixed}"
    )
    loops = len(program.bands)
    bands = f" {loops} loops and branches are drawn as bands." if loops > 1 else ""
    if loops == 1:
        bands = " A loop or branch is drawn as a band."
    return f"{peak}{_account(program)}{bands} {aggregation(program)}".rstrip()


def _account(program: Program) -> str:
    """How XLA's account differs from the model, of which the picture is: no reader shall take one for the other."""
    if program.compiled_peak_bytes is None:
        return ""
    more_bytes = program.compiled_peak_bytes - program.planned_peak_bytes
    beside = f"{format_bytes(abs(more_bytes))} {'more' if more_bytes > 0 else 'less'} than planned"
    return (
        f" The compiled peak is {format_bytes(program.compiled_peak_bytes)}, {beside if more_bytes else 'as planned'}."
    )


def _map(program: Program, number: int, places: Places) -> Markup:
    """The address map of a program's temporaries; empty where it was not compiled for one."""
    layout = program.layout
    if layout is None:
        return Markup("")
    heading = element("h3", program.name, id=f"map-{number}")
    told = f"{fragmentation(layout)} {layout_aggregation(layout)}".rstrip()
    caption = element("figcaption", (heading, element("p", told)))
    if not layout.buffers:
        return element("figure", caption, class_="map", aria_labelledby=f"map-{number}")
    details = element("div", "", class_="details", aria_live="polite", id=f"buffer-{number}")
    table = tables.buffers(program, layout, number, places)
    content = (caption, element("div", _panels(layout, number), class_="panels"), details, table)
    return element("figure", content, class_="map", aria_labelledby=f"map-{number}", data_worst=worst_moment(layout))


def _panels(layout: Layout, number: int) -> list[Markup]:
    titles = [("offset", f"as XLA places them: {format_bytes(layout.temp_bytes)}")]
    if layout.packed_bytes is not None:
        titles.append(("packed", f"packed: {format_bytes(layout.packed_bytes)}"))
    return [
        element(
            "div",
            (element("h4", title), element("div", "", class_="chart", data_map=number, data_by=by)),
            class_="panel",
        )
        for by, title in titles
    ]


def _moves(record: Record, places: Places) -> Markup:
    if not record.moves:
        return _absent("There are no moves: the program runs as it is written.")
    return tables.moves(record.moves, places)


def _list(lines: tuple[str, ...], otherwise: str) -> Markup:
    if not lines:
        return _absent(otherwise)
    told = [element("li", line) for line in lines[:_MOST_TOLD]]
    if len(lines) > _MOST_TOLD:
        told.append(element("li", f"and {len(lines) - _MOST_TOLD} more"))
    return element("ul", told)


def _origin(record: Record) -> Markup:
    origin = record.origin
    versions = (
        f"memline {origin.memline}, jax {origin.jax}, jaxlib {origin.jaxlib}; {origin.platform}, {origin.device}."
    )
    if record.planning_seconds is not None:
        versions += f" The search for the plan took {record.planning_seconds:.3g} s, with its compiles."
    return element("p", f"Made by {versions}")


def _absent(why: str) -> Markup:
    return element("p", why, class_="absent")
