"""The terminal page and the notebook's: what they say, and that they fit."""

import io
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from hypothesis import given, settings

import memline
from memline.report.record import Layout, MoveTold, Place, Record
from memline.report.report import Report
from memline.report.screen import fragmentation, lines, short, verdict
from memline.report.terminal import plain
from memline.units import format_bytes
from tests.families import FAMILIES
from tests.report.records import long_record, records

LONG = long_record(400)


@settings(max_examples=60, deadline=None)
@given(records)
def test_no_line_is_longer_than_the_screen_whatever_the_record(record: Record):
    for width in (40, 80, 120):
        page = plain(record, width).replace("\v", " ")
        for line in lines(record, width):
            assert sum(len(piece.text) for piece in line) <= width
            assert line == () or not line[-1].text.endswith(" ")
        assert page.startswith("memline report")


@pytest.fixture(scope="module")
def attention() -> Report:
    family = FAMILIES["attention gradient"]
    return memline.report(family.fun, *family.args(family.n), memory_limit="1MiB")


def test_a_real_program_fits_one_screen(attention: Report):
    text = str(attention)
    assert text.isascii()
    assert len(text.splitlines()) <= 40
    assert max(map(len, text.splitlines())) <= 80


def test_it_says_what_the_record_says(attention: Report):
    text = str(attention)
    record = attention.record
    before, after = record.programs
    assert "attention_gradient (families.py:" in text
    assert "limit of 1.00 MiB" in text
    assert record.floor_bytes is not None
    assert f"floor {format_bytes(record.floor_bytes)}" in text
    for program in (before, after):
        assert format_bytes(program.planned_peak_bytes) in text
        assert format_bytes(program.compiled_peak_bytes or 0) in text
    for number, move in enumerate(record.moves[:4], 1):
        assert f"{number}. {move.text}"[:70] in text
    biggest = after.values[after.at_peak[0]]
    assert format_bytes(biggest.size_bytes) in text
    assert "families.py" in text.partition("alive at the peak as planned")[2]
    assert text.count("addresses") == 2


def test_the_limit_stands_at_one_place_in_every_bar(attention: Report):
    text = str(attention).splitlines()
    at = next(line for line in text if line.endswith("limit v")).index(" v") + 1
    bars = [line for line in text if "|" in line]
    assert len(bars) == 4
    assert {line.index("|") for line in bars} == {at}
    assert all("#" in line[at:] for line in bars[:2]), "as written it is over the limit"
    assert all("#" not in line[at:] for line in bars[2:]), "as planned it is not"


def test_long_lists_are_cut_and_say_so():
    notes = tuple(f"note {k}" for k in range(9))
    text = plain(replace(LONG, notes=notes, left_whole=()))
    assert "... and 37 more" in text, "of the moves"
    assert "... and 7 more" in text, "of the notes"
    program = LONG.programs[-1]
    assert f"... and {len(program.at_peak) - 10} more" in text, "of what is alive"
    assert len(text.splitlines()) <= 40


def test_a_program_over_its_limit_is_told_in_words():
    sentence, is_good = verdict(replace(LONG, limit_bytes=2**20))
    assert not is_good
    assert "does not fit" in sentence
    assert "over the limit of 1.00 MiB" in sentence


def test_a_reason_has_two_lines_where_there_is_room():
    reason = " ".join(f"because{k}" for k in range(14))
    move = MoveTold("Keep", "Keep('%1')", reason, 0, None)
    few = plain(replace(LONG, moves=(move,)))
    assert "because13" in few
    many = plain(replace(LONG, moves=(move,) * 4, notes=("note",) * 4))
    assert "because13" not in many
    assert len(many.splitlines()) <= 40


def test_places_are_short():
    assert short(Place("/home/someone/train.py", 3, "outer.<locals>.step")) == "train.py:3 (step)"
    assert short(Place("a.py", 3, "")) == "a.py:3"
    assert short(None) == ""


@pytest.mark.parametrize(
    ("packed", "is_proved", "words"),
    [
        (None, False, "at most 60 B of them is alive at once"),
        (100, True, "placed as well as can be"),
        (100, False, "no better packing was found"),
        (80, True, "packed exactly 80 B (the least there is): 20% lost"),
        (80, False, "packed exactly 80 B (the best found): 20% lost"),
    ],
)
def test_fragmentation_in_words(packed: int | None, is_proved: bool, words: str):
    assert fragmentation(Layout(100, 60, packed, is_proved, 4, ())).endswith(words)


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_it_is_coloured_where_there_is_a_terminal_and_rich(attention: Report, monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip("rich", reason="rich, of the report extra, is not installed")
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "100")
    shown, filed = _Terminal(), io.StringIO()
    attention.show(shown)
    attention.show(filed)
    assert filed.getvalue() == f"{attention}\n"
    assert "\x1b[" in shown.getvalue()
    assert "memline report" in shown.getvalue()
    monkeypatch.setenv("NO_COLOR", "1")
    quiet = _Terminal()
    attention.show(quiet)
    assert quiet.getvalue() == f"{attention}\n"


def test_without_rich_it_is_plain(attention: Report, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(__import__("sys").modules, "rich.console", None)
    monkeypatch.delenv("NO_COLOR", raising=False)
    shown = _Terminal()
    attention.show(shown)
    assert shown.getvalue() == f"{attention}\n"


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert {name for name, _ in attrs} <= {"style"}
        self.open.append(tag)
        self.seen.add(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


@settings(max_examples=40, deadline=None)
@given(records)
def test_a_notebook_shows_a_light_fragment_without_scripts(record: Record):
    text = Report(record)._repr_html_()
    tags = _Tags()
    tags.feed(text)
    tags.close()
    assert tags.open == []
    assert tags.seen <= {"details", "summary", "pre", "b", "span"}
    assert text.startswith("<details>")
    assert len(text.encode()) < 100_000


def test_a_long_records_fragment_is_light_too():
    assert len(Report(long_record(20_000))._repr_html_().encode()) < 100_000
