"""The page as people use it, in headless Chromium: what is drawn is held against the record, and it is used by hand.

Opened from a file, without a network. The programs are real ones: `tests/report/examples.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from memline.report.html import page
from memline.report.page.places import Places
from memline.report.record import Buffer, Layout, Program, Record
from memline.units import format_bytes
from tests.report.browser import ARGUMENTS, CHROMIUM, Opened, axes_of, boxes, opened
from tests.report.examples import CALLS, record_of
from tests.report.records import HOSTILE, long_record

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

playwright = pytest.importorskip("playwright.sync_api", reason="needs pip install 'memline[test]'")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs pip install 'memline[test]'")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: apt-get install chromium")

NAMES = tuple(CALLS)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield started
        started.close()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    for name in NAMES:
        (folder / f"{name}.html").write_text(page(record_of(name)), encoding="utf-8")
    return {name: folder / f"{name}.html" for name in NAMES}


@pytest.fixture(scope="module", params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def record(name: str) -> Record:
    return record_of(name)


@pytest.fixture(scope="module")
def shown(browser: Browser, files: dict[str, Path], name: str) -> Iterator[Page]:
    """A page that is only looked at: one for all tests of its program."""
    with opened(browser, files[name]) as there:
        yield there.page


@pytest.fixture
def attention(browser: Browser, files: dict[str, Path]) -> Iterator[Page]:
    with opened(browser, files["attention"]) as there:
        yield there.page


def written(tmp_path: Path, record: Record) -> Path:
    file = tmp_path / "report.html"
    file.write_text(page(record), encoding="utf-8")
    return file


def names_in(table: Locator) -> list[str]:
    return table.locator("tbody th button").all_text_contents()


def alive_at(program: Program, step: int) -> list[str]:
    """Names of what is held at a step, the biggest first; of the like-sized, the first to begin."""
    alive = [v for v in program.values if v.first <= step <= v.last]
    return [f"{v.name} {v.label}".strip() for v in sorted(alive, key=lambda v: -v.size_bytes)]


def worst(layout: Layout) -> int:
    return max(range(layout.moments), key=lambda moment: sum(b.size_bytes for b in alive(layout, moment)))


def alive(layout: Layout, moment: int) -> list[Buffer]:
    return [b for b in layout.buffers if b.first <= moment <= b.last]


class TestThePictureSaysWhatTheRecordSays:
    def test_peak_and_limit(self, shown: Page, record: Record):
        for number, program in enumerate(record.programs):
            picture = shown.locator(f"[data-run='{number}']")
            axes = axes_of(picture)
            assert picture.locator("text.peak").all_text_contents()[-1] == (
                f"peak {format_bytes(program.steps[program.peak].total_bytes)}"
            )
            (mark,) = boxes(picture.locator("circle.peak"))
            assert mark["x"] + mark["width"] / 2 == pytest.approx(axes.x(program.peak + 1), abs=1)
            middle = mark["y"] + mark["height"] / 2
            assert middle == pytest.approx(axes.y(program.steps[program.peak].total_bytes), abs=1)
            if record.limit_bytes is not None:
                (line,) = boxes(picture.locator("line.limit"))
                assert line["y"] == pytest.approx(axes.y(record.limit_bytes), abs=1.5)

    def test_both_programs_have_one_scale_until_each_is_asked_for_its_own(self, attention: Page):
        def heights() -> list[float]:
            pictures = [attention.locator(f"[data-run='{i}']") for i in (0, 1)]
            peaks = [boxes(picture.locator("circle.peak"))[0]["y"] for picture in pictures]
            return [axes_of(picture).y(0) - peak for picture, peak in zip(pictures, peaks, strict=True)]

        one, other = (axes_of(attention.locator(f"[data-run='{i}']")).bytes_at for i in (0, 1))
        assert one == other
        peaks = [program.steps[program.peak].total_bytes for program in record_of("attention").programs]
        high, low = heights()
        assert low / high == pytest.approx(peaks[1] / peaks[0], rel=0.05)
        attention.get_by_label("each its own").check()
        same, higher = heights()
        assert same == pytest.approx(high, abs=1)
        assert higher > 1.5 * low

    def test_the_area_has_the_height_of_what_is_held(self, shown: Page, record: Record):
        for number, program in enumerate(record.programs):
            picture = shown.locator(f"[data-run='{number}']")
            axes = axes_of(picture)
            (top,) = boxes(picture.locator("path.top"))
            least = min(step.total_bytes for step in program.steps)
            assert top["y"] == pytest.approx(axes.y(program.steps[program.peak].total_bytes), abs=1.5)
            assert top["y"] + top["height"] == pytest.approx(axes.y(least), abs=1.5)

    def test_loops_are_bands(self, shown: Page, record: Record):
        for number, program in enumerate(record.programs):
            picture = shown.locator(f"[data-run='{number}']")
            axes = axes_of(picture)
            drawn = boxes(picture.locator("rect.band"))
            assert len(drawn) == len(program.bands)
            half = axes.x(2) - axes.x(1)
            for band, box in zip(program.bands, drawn, strict=True):
                assert box["x"] == pytest.approx(axes.x(band.first + 1) - half / 2, abs=2)
                assert box["x"] + box["width"] == pytest.approx(axes.x(band.last + 1) + half / 2, abs=3)

    @pytest.mark.parametrize("by", ["offset", "packed"])
    def test_rectangles_at_the_moment_when_most_is_alive(self, shown: Page, record: Record, by: str):
        for number, program in enumerate(record.programs):
            layout = program.layout
            assert layout is not None
            picture = shown.locator(f"[data-map='{number}'][data-by='{by}']")
            axes = axes_of(picture)
            drawn = picture.locator("rect.buffer")
            assert drawn.count() == len(layout.buffers)
            moment = worst(layout)
            across = axes.x(moment + 1)
            found = {
                int(which): box
                for which, box in zip(
                    drawn.evaluate_all("all => all.map(e => e.dataset.buffer)"), boxes(drawn), strict=True
                )
                if box["x"] < across < box["x"] + box["width"]
            }
            there = alive(layout, moment)
            assert [layout.buffers[i] for i in found] == there
            for i, box in found.items():
                b = layout.buffers[i]
                offset = b.offset if by == "offset" else b.packed_offset
                assert offset is not None
                assert box["y"] + box["height"] == pytest.approx(axes.y(offset), abs=1)
                assert box["y"] == pytest.approx(axes.y(offset + b.size_bytes), abs=1)

    def test_what_the_pointer_reads_at_a_buffer(self, shown: Page, record: Record):
        layout = record.programs[-1].layout
        assert layout is not None
        i = max(range(len(layout.buffers)), key=lambda i: layout.buffers[i].size_bytes)
        buffer = layout.buffers[i]
        number = len(record.programs) - 1
        shown.locator(f"[data-map='{number}'][data-by='offset'] [data-buffer='{i}']").hover()
        said = shown.locator("#tip").inner_text()
        assert f"{buffer.name}: {format_bytes(buffer.size_bytes)}" in said
        assert buffer.op in said
        assert Places(record)(buffer.place) in said

    def test_what_the_pointer_reads_at_a_step(self, shown: Page, record: Record):
        program = record.programs[0]
        step = len(program.steps) // 2
        picture = shown.locator("[data-run='0']")
        picture.scroll_into_view_if_needed()
        shown.mouse.move(axes_of(picture).x(step + 1), boxes(picture)[0]["y"] + 150)
        said = shown.locator("#tip").inner_text()
        assert f"step {step + 1} of {len(program.steps)}: {program.steps[step].op}" in said
        assert f"{format_bytes(program.steps[step].total_bytes)} held" in said
        assert Places(record)(program.steps[step].place) in said

    def test_the_table_of_the_peak(self, shown: Page, record: Record):
        for number, program in enumerate(record.programs):
            table = shown.locator(f"#held-{number}")
            assert sorted(names_in(table)) == sorted(alive_at(program, program.peak))
            sizes = table.locator("tbody td.number:nth-child(3)").all_text_contents()
            assert sizes == [format_bytes(program.values[i].size_bytes) for i in program.at_peak]


class TestUsedByHand:
    def test_a_click_shows_what_is_held_there(self, attention: Page):
        program = record_of("attention").programs[0]
        step = len(program.steps) // 3
        picture = attention.locator("[data-run='0']")
        picture.scroll_into_view_if_needed()
        attention.mouse.click(axes_of(picture).x(step + 1), boxes(picture)[0]["y"] + 100)
        assert names_in(attention.locator("#held-0")) == alive_at(program, step)
        assert f"step {step + 1} of {len(program.steps)}" in attention.locator("#step-0").inner_text()
        assert f"held at step {step + 1} of" in attention.locator("#held-0 caption").inner_text()

    def test_sorting_by_click_and_by_key(self, attention: Page):
        program = record_of("attention").programs[0]
        table = attention.locator("#held-0")
        held = [program.values[i] for i in program.at_peak]
        head = table.locator("th[data-column='size']")
        assert head.get_attribute("aria-sort") == "descending"
        head.locator("button").click()
        assert head.get_attribute("aria-sort") == "ascending"
        sizes = table.locator("tbody td:nth-child(3)").all_text_contents()
        assert sizes == [format_bytes(v.size_bytes) for v in sorted(held, key=lambda v: v.size_bytes)]
        by_type = table.locator("th[data-column='alive'] button")
        by_type.focus()
        by_type.press("Enter")
        assert table.locator("th[aria-sort]").get_attribute("data-column") == "alive"
        spans = [f"{v.first + 1}" for v in sorted(held, key=lambda v: v.first)]
        assert [text.split("–")[0] for text in table.locator("tbody td:last-child").all_text_contents()] == spans

    def test_filtering(self, attention: Page):
        program = record_of("attention").programs[0]
        kinds = [program.values[i].kind for i in program.at_peak]
        attention.locator("#held-0-filter").fill("A result")
        assert attention.locator("#held-0 tbody tr").count() == kinds.count("output")
        assert f"{kinds.count('output')} of {len(kinds)}" in attention.locator(".count").first.inner_text()

    def test_a_row_lights_its_value_up(self, attention: Page):
        row = attention.locator("#held-0 tbody tr").first
        row.locator("td").first.click()
        value = record_of("attention").programs[0].at_peak[0]
        assert attention.locator("[data-run='0'] .picked").get_attribute("data-picked") == str(value)
        assert row.locator("button").get_attribute("aria-pressed") == "true"
        row.locator("td").first.click()
        assert attention.locator("[data-run='0'] .picked").count() == 0

    def test_a_row_lights_its_buffer_up_in_both_maps_and_back(self, attention: Page):
        attention.locator("#placed-1 tbody tr td").first.click()
        layout = record_of("attention").programs[1].layout
        assert layout is not None
        there = alive(layout, worst(layout))
        biggest = layout.buffers.index(max(there, key=lambda b: b.size_bytes))
        for by in ("offset", "packed"):
            (picked,) = attention.locator(f"[data-map='1'][data-by='{by}'] .picked").all()
            assert picked.get_attribute("data-picked") == str(biggest)
        assert layout.buffers[biggest].name in attention.locator("#buffer-1").inner_text()
        other = layout.buffers.index(sorted(there, key=lambda b: -b.size_bytes)[1])
        attention.locator(f"[data-map='1'][data-by='packed'] [data-buffer='{other}']").click()
        assert attention.locator("#placed-1 tr.picked").get_attribute("data-item") == str(other)

    def test_steps_by_key(self, attention: Page):
        program = record_of("attention").programs[0]
        picture = attention.locator("[data-run='0']")
        picture.focus()
        assert picture.get_attribute("aria-valuenow") == str(program.peak + 1)
        for key, step in (("Home", 0), ("ArrowRight", 1), ("End", len(program.steps) - 1), ("p", program.peak)):
            picture.press(key)
            assert picture.get_attribute("aria-valuenow") == str(step + 1)
            assert format_bytes(program.steps[step].total_bytes) in (picture.get_attribute("aria-valuetext") or "")
            assert f"step {step + 1} of" in attention.locator("#step-0").inner_text()

    def test_looking_closer_and_back(self, attention: Page):
        picture = attention.locator("[data-run='0']")
        picture.focus()
        wide = axes_of(picture)
        picture.press("+")
        near = axes_of(picture)
        assert near.x(2) - near.x(1) == pytest.approx(2 * (wide.x(2) - wide.x(1)), rel=0.05)
        picture.press("0")
        assert axes_of(picture) == wide
        top = boxes(picture)[0]["y"] + 100
        attention.mouse.move(wide.x(10), top)
        attention.mouse.down()
        attention.mouse.move(wide.x(20), top, steps=3)
        attention.mouse.up()
        assert axes_of(picture).x(20) - axes_of(picture).x(10) > 2 * (wide.x(20) - wide.x(10))
        # A drag is no click: what was picked stays.
        assert picture.get_attribute("aria-valuenow") == str(record_of("attention").programs[0].peak + 1)

    def test_buffers_by_key(self, attention: Page):
        layout = record_of("attention").programs[0].layout
        assert layout is not None
        picture = attention.locator("[data-map='0'][data-by='offset']")
        picture.focus()
        in_time = sorted(layout.buffers, key=lambda b: (b.first, b.offset))
        for key, buffer in (("ArrowRight", in_time[0]), ("ArrowRight", in_time[1]), ("End", in_time[-1])):
            picture.press(key)
            assert (picture.get_attribute("aria-valuetext") or "").startswith(f"{buffer.name}: ")
        picture.press("Home")
        picture.press("ArrowUp")
        first = in_time[0]
        beside = [
            b for b in layout.buffers if b.first <= first.last and b.last >= first.first and b.offset > first.offset
        ]
        above = min(beside, key=lambda b: b.offset, default=first)
        assert (picture.get_attribute("aria-valuetext") or "").startswith(f"{above.name}: ")

    def test_arguments_and_results_are_told_whole(self, attention: Page):
        program = record_of("attention").programs[0]
        told = attention.locator("#legend-0").inner_text()
        assert f"arguments and constants: {format_bytes(program.argument_bytes)}" in told
        assert f"results: {format_bytes(program.output_bytes - program.alias_bytes)}" in told

    def test_colours_tell_source_lines(self, attention: Page):
        attention.get_by_label("source lines").check()
        told = attention.locator("#legend-0").inner_text()
        program = record_of("attention").programs[0]
        lines: dict[str, int] = {}
        places = Places(record_of("attention"))
        for i in program.at_peak:
            value = program.values[i]
            if value.kind == "temporary":
                lines[places(value.place)] = lines.get(places(value.place), 0) + value.size_bytes
        line, most_bytes = max(lines.items(), key=lambda item: item[1])
        assert f"{line}: {format_bytes(most_bytes)}" in told


class TestForEveryone:
    def test_axe_finds_nothing(self, browser: Browser, files: dict[str, Path], name: str, tmp_path: Path):
        with opened(browser, files[name]) as there:
            check_access(there, tmp_path / "light.png")

    def test_axe_finds_nothing_in_the_dark(self, browser: Browser, files: dict[str, Path], tmp_path: Path):
        with opened(browser, files["attention"], theme="dark") as there:
            check_access(there, tmp_path / "dark.png")

    def test_the_switch_of_colours(self, attention: Page):
        def page_colour() -> str:
            return attention.evaluate("getComputedStyle(document.body).backgroundColor")

        light = page_colour()
        attention.get_by_label("dark").check()
        dark = page_colour()
        assert light != dark
        attention.emulate_media(color_scheme="dark")
        attention.get_by_label("light", exact=True).check()
        assert page_colour() == light
        attention.get_by_label("auto").check()
        assert page_colour() == dark
        attention.emulate_media(media="print")
        assert page_colour() == light

    def test_tab_reaches_all_and_shows_where_it_is(self, attention: Page):
        wanted = attention.evaluate(
            "[...document.querySelectorAll('[role=slider],input[type=search],thead button,.zoom button,.copy,.scroll,"
            "nav a,summary')].length"
        )
        reached = attention.evaluate_handle("new Set()")
        for _ in range(wanted + 30):
            attention.keyboard.press("Tab")
            style = attention.evaluate(
                "reached => { const e = document.activeElement; reached.add(e);"
                " return e === document.body ? 'solid' : getComputedStyle(e).outlineStyle; }",
                reached,
            )
            assert style != "none"
        missed = attention.evaluate(
            "reached => [...document.querySelectorAll('[role=slider],input[type=search],thead button,.zoom button,"
            ".copy,.scroll,nav a,summary')].filter(e => !reached.has(e)).map(e => e.outerHTML.slice(0, 80))",
            reached,
        )
        assert missed == []

    def test_it_leaves_no_name_in_the_window(self, browser: Browser, files: dict[str, Path], tmp_path: Path):
        (tmp_path / "empty.html").write_text("<!doctype html>", encoding="utf-8")
        names = []
        for file in (tmp_path / "empty.html", files["nearest"]):
            with opened(browser, file) as there:
                names.append(set(there.page.evaluate("Object.getOwnPropertyNames(window)")))
        assert names[0] == names[1]

    def test_rows_by_key(self, attention: Page):
        buttons = attention.locator("#held-0 tbody th button")
        buttons.first.focus()
        attention.keyboard.press("ArrowDown")
        attention.keyboard.press("Enter")
        assert buttons.nth(1).get_attribute("aria-pressed") == "true"

    def test_a_narrow_screen_does_not_scroll_sideways(self, browser: Browser, files: dict[str, Path], name: str):
        with opened(browser, files[name], width=400) as there:
            assert there.page.evaluate("document.documentElement.scrollWidth") <= 400

    def test_the_tables_hold_without_scripts(self, browser: Browser, files: dict[str, Path]):
        context = browser.new_context(java_script_enabled=False)
        there = context.new_page()
        there.goto(files["attention"].as_uri())
        program = record_of("attention").programs[0]
        assert there.locator("#held-0 tbody tr").count() == len(program.at_peak)
        assert there.locator("#scale").is_hidden()
        context.close()


def check_access(there: Opened, picture: Path) -> None:
    there.page.locator("#held-0 tbody td").first.click()
    found = axe.Axe().run(there.page).response["violations"]
    assert [(each["id"], each["impact"], each["nodes"][0]["html"]) for each in found] == []
    there.page.screenshot(path=picture, full_page=True)
    assert picture.stat().st_size > 50_000


class TestAnyRecord:
    def test_names_that_are_markup_do_no_harm(self, browser: Browser, tmp_path: Path):
        record = record_of("attention")
        program = record.programs[1]
        assert program.layout is not None
        place = replace(record.place, file=HOSTILE, function=HOSTILE) if record.place else None
        values = tuple(replace(v, name=HOSTILE, type=HOSTILE, op=HOSTILE, place=place) for v in program.values)
        steps = tuple(replace(step, op=HOSTILE, place=place) for step in program.steps)
        bands = tuple(replace(band, title=HOSTILE) for band in program.bands)
        buffers = tuple(replace(b, name=HOSTILE, op=HOSTILE, place=place) for b in program.layout.buffers)
        layout = replace(program.layout, buffers=buffers)
        program = replace(program, values=values, steps=steps, bands=bands, layout=layout)
        hostile = replace(record, title=HOSTILE, notes=(HOSTILE,), programs=(record.programs[0], program))
        with opened(browser, written(tmp_path, hostile)) as there:
            there.page.locator("#held-1 tbody td").first.click()
            there.page.locator("[data-map='1'][data-by='offset'] [data-buffer]").first.hover()
            assert HOSTILE in there.page.locator("#tip").inner_text()
            there.page.locator("[data-run='1']").hover()
            assert HOSTILE in there.page.locator("#tip").inner_text()
            assert there.page.locator("img").count() == 0

    def test_nothing_at_all(self, browser: Browser, tmp_path: Path):
        with opened(browser, written(tmp_path, replace(record_of("nearest"), programs=()))) as there:
            assert "Nothing is recorded" in there.page.locator(".verdict").inner_text()

    def test_twenty_thousand_nodes(self, browser: Browser, tmp_path: Path):
        record = long_record(20_000)
        with opened(browser, written(tmp_path, record)) as there:
            check_long(there, record)


def check_long(there: Opened, record: Record) -> None:
    peak = format_bytes(record.programs[0].planned_peak_bytes)
    assert there.page.locator("[data-run='0'] text.peak").last.text_content() == f"peak {peak}"
    assert there.page.locator("[data-map='0'][data-by='offset'] rect.buffer").count() == 2500
    assert there.page.locator("[name=by][value=line]").is_checked()
    assert there.page.locator("#held-0 tbody tr").count() == 300
