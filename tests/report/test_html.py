"""The page's structure, without a browser: it loads nothing, runs no text of the user's, and says what is recorded."""

import itertools
import json
import re
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memline.report.html import page
from memline.report.page.places import Places
from memline.report.record import Place, Record
from memline.units import format_bytes
from tests.report.parsed import Node, parsed
from tests.report.records import HOSTILE, ORIGIN, long_record, records

POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
)
EMPTY = Record("f", None, ORIGIN, None, None, None, (), (), (), ())


def column(table: Node, title: str) -> list[str]:
    heads = [head.text for head in table.all("thead")[0].all("th")]
    rows = table.all("tbody")[0].all("tr")
    return [[cell.text for cell in row.all() if cell.tag in ("td", "th")][heads.index(title)] for row in rows]


@pytest.fixture(scope="module")
def medium() -> Record:
    return long_record(200)


@pytest.fixture(scope="module")
def tree(medium: Record) -> Node:
    return parsed(page(medium))


class TestNothingIsLoaded:
    def test_its_policy_forbids_it(self, tree: Node):
        policies = [m.attributes["content"] for m in tree.all("meta") if "http-equiv" in m.attributes]
        assert policies == [POLICY]

    def test_no_element_asks_for_it(self, tree: Node):
        tags = {node.tag for node in tree.all()}
        assert not tags & {"link", "img", "iframe", "object", "embed", "audio", "video", "base", "form", "source"}
        for node in tree.all():
            assert not {"src", "srcset", "data", "action", "background"} & node.attributes.keys()
            assert node.attributes.get("href", "#").startswith("#")
            assert not [name for name in node.attributes if name.startswith("on")]

    def test_no_style_or_script_asks_for_it(self, tree: Node):
        style, script = tree.all("style")[0].text, tree.all("script")[-1].text
        assert not re.search(r"url\(|@import|image\(", style)
        assert not re.search(r"\b(fetch|XMLHttpRequest|WebSocket|EventSource|sendBeacon|import)\b", script)
        # The name of SVG's elements is no address that anything goes to.
        assert re.findall(r"https?://[^'\"\s]+", style + script) == ["http://www.w3.org/2000/svg"]

    def test_the_script_is_strict_and_keeps_to_itself(self, tree: Node):
        script = tree.all("script")[-1].text.strip()
        assert script.startswith("(() => {\n'use strict';")
        assert script.endswith("})();")
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b", script)


class TestWhatItSays:
    def test_limit_peaks_and_floor(self, medium: Record, tree: Node):
        told = tree.with_id("summary").text
        assert medium.limit_bytes is not None
        assert medium.floor_bytes is not None
        for n_bytes in (medium.limit_bytes, medium.floor_bytes):
            assert format_bytes(n_bytes) in told
        peaks = tree.with_id("peaks")
        assert column(peaks, "Program") == ["as written", "planned"]
        assert column(peaks, "Planned peak") == [format_bytes(p.planned_peak_bytes) for p in medium.programs]
        assert column(peaks, "Compiled peak") == [format_bytes(p.compiled_peak_bytes or 0) for p in medium.programs]
        assert column(peaks, "Measured peak") == ["–", "–"]

    def test_what_is_held_at_the_peak(self, medium: Record, tree: Node):
        for number, program in enumerate(medium.programs):
            table = tree.with_id(f"held-{number}")
            held = [program.values[i] for i in program.at_peak]
            assert column(table, "Name") == [value.name for value in held]
            assert column(table, "Size") == [format_bytes(value.size_bytes) for value in held]
            assert column(table, "Steps")[0] == "1–200"

    def test_the_picture_in_words(self, medium: Record, tree: Node):
        program = medium.programs[0]
        said = tree.with_id("run-told-0").text
        assert (
            f"The planned peak is {format_bytes(program.planned_peak_bytes)}, at step {program.peak + 1} of 200" in said
        )
        assert f"{len(program.at_peak)} values are held there" in said

    def test_moves_refusals_notes_and_versions(self, medium: Record, tree: Node):
        assert column(tree.with_id("moves-table"), "Reason") == [move.reason for move in medium.moves]
        assert column(tree.with_id("moves-table"), "Saves") == ["16.00 MiB"] * 40
        assert medium.left_whole[0] in tree.with_id("whole").text
        assert medium.notes[0] in tree.with_id("notes").text
        assert "jax 0.10.2" in tree.all("footer")[0].text

    def test_no_size_is_told_in_raw_bytes(self, medium: Record, tree: Node):
        for node in tree.all("script") + tree.all("style"):
            node.children.clear()
        sizes = {v.size_bytes for p in medium.programs for v in p.values} | {medium.limit_bytes}
        assert not set(re.findall(r"(?<![\[\d.,])\d{5,}", tree.text)) & {str(n) for n in sizes}

    def test_a_record_of_nothing(self):
        tree = parsed(page(EMPTY))
        assert "Nothing is recorded of the program" in tree.text
        assert "The limit is 2.00 KiB" in parsed(page(replace(EMPTY, limit_bytes=2048))).text

    def test_a_plan_without_a_graph(self, medium: Record):
        bare = replace(medium.programs[0], steps=(), bands=(), values=(), at_peak=(), peak=0, layout=None)
        tree = parsed(page(replace(medium, programs=(bare,))))
        assert "The run itself is not recorded" in tree.text
        assert "No program of this record was compiled for its address map" in tree.text


class TestAccess:
    def test_names_are_unique_and_those_referred_to_are_there(self, tree: Node):
        names = [node.attributes["id"] for node in tree.all() if "id" in node.attributes]
        assert len(names) == len(set(names))
        for node in tree.all():
            for by in ("aria-labelledby", "for", "aria-describedby"):
                assert not node.attributes.get(by) or node.attributes[by] in names
            if (node.attributes.get("href") or "").startswith("#"):
                assert (node.attributes["href"] or "")[1:] in names

    def test_tables_have_captions_and_scopes(self, tree: Node):
        for table in tree.all("table"):
            assert next(node.tag for node in table.all()) == "caption"
            assert all(head.attributes["scope"] in ("col", "row") for head in table.all("th"))

    def test_landmarks_headings_and_captions(self, tree: Node):
        for tag in ("header", "main", "nav", "footer", "h1"):
            assert len(tree.all(tag)) == 1
        levels = [int(node.tag[1]) for node in tree.all() if re.fullmatch("h[1-6]", node.tag)]
        assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
        assert all(figure.all("figcaption")[0].text for figure in tree.all("figure"))


class TestLongPrograms:
    def test_twenty_thousand_nodes_stay_under_two_megabytes_and_it_says_how(self):
        record = long_record(20_000)
        text = page(record)
        assert len(text.encode()) < 2_000_000
        tree = parsed(text)
        said = tree.with_id("run-told-0").text
        assert "20,000 nodes are drawn as 2,000 steps, each of up to 10 nodes" in said
        assert "smallest values" in said
        assert format_bytes(record.programs[0].planned_peak_bytes) in said
        assert "smallest buffers" in tree.with_id("map").text
        assert "The 300 biggest of" in tree.with_id("memory").text

    def test_long_names_do_not_fill_it(self, medium: Record):
        program = medium.programs[0]
        values = tuple(replace(v, type="f32[" + "1," * 50_000 + "]") for v in program.values)
        long = replace(medium, programs=(replace(program, values=values),))
        assert len(page(long)) < len(page(medium)) + 100_000


class TestHostileNames:
    @given(record=records)
    @settings(max_examples=25, deadline=None)
    def test_any_record_makes_a_page_of_our_elements_alone(self, record: Record):
        tree = parsed(page(record))
        assert len(tree.all("script")) == 2
        assert len(tree.all("style")) == 1
        assert not tree.all("img")
        # Names of files and functions come back as they are, but for the line ends that HTML makes one of.
        assert tree.all("h1")[0].all("code")[0].text == record.title
        drawn = json.loads(tree.with_id("record").text)
        assert drawn["limit"] == record.limit_bytes
        assert [p["steps"]["total"] for p in drawn["programs"]] == [
            [step.total_bytes for step in program.steps] for program in record.programs
        ]

    def test_a_file_whose_name_is_no_text(self):
        text = page(replace(EMPTY, place=Place("\udcff.py", 1, "f")))
        assert "?.py:1" in text.encode().decode()

    def test_one_that_ends_the_script(self, medium: Record):
        program = medium.programs[0]
        values = (replace(program.values[0], name=HOSTILE, place=Place(HOSTILE, 1, HOSTILE)), *program.values[1:])
        hostile = replace(medium, title=HOSTILE, notes=(HOSTILE,), programs=(replace(program, values=values),))
        text = page(hostile)
        assert "<img" not in text
        assert parsed(text).with_id("notes").all("li")[0].text == HOSTILE


class TestPlaces:
    def test_files_are_told_by_name_alone_where_that_is_clear(self):
        record = replace(EMPTY, place=Place("/home/me/train.py", 3, "step"))
        assert Places(record)(Place("/home/me/train.py", 5, "loss")) == "train.py:5 (loss)"

    def test_two_files_of_one_name_are_told_in_full(self, medium: Record):
        one, other = Place("/a/model.py", 1, "f"), Place("C:\\b\\model.py", 2, "")
        moves = (replace(medium.moves[0], place=other),)
        places = Places(replace(EMPTY, place=one, moves=moves))
        assert places(one) == "/a/model.py:1 (f)"
        assert places(other) == "C:\\b\\model.py:2"

    @given(name=st.text(alphabet="a/\\.\n", max_size=8))
    def test_any_name_will_do(self, name: str):
        assert Places(EMPTY)(Place(name, 1, "")).endswith(":1")
