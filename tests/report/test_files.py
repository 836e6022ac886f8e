"""Files of a report: each form as others read it, and nothing left half-written."""

import csv
import io
import itertools
import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings

from memline import files
from memline.errors import ReportError
from memline.report.record import Record
from memline.report.report import Report
from memline.report.table import COLUMNS, table_text
from memline.report.trace import trace_text
from tests.report.records import long_record, records

REPORT = Report(long_record(30))


class TestSaving:
    def test_what_is_saved_is_loaded_equal(self, tmp_path: Path):
        for name in ("r.json", "rapport å 報告 🙂.json", "R.JSON"):
            assert REPORT.save(tmp_path / name) == tmp_path / name
            assert Report.load(tmp_path / name) == REPORT
            assert Report.load(str(tmp_path / name)) == REPORT
        assert len(os.listdir(tmp_path)) == 3

    def test_the_name_says_the_form(self, tmp_path: Path):
        begins = {
            "r.html": "<!doctype html>",
            "r.csv": "program,name,",
            "r.trace.json": '{"traceEvents"',
            "r.json": '{"memline_report"',
            "r.txt": "memline report",
        }
        for name, start in begins.items():
            REPORT.save(str(tmp_path / name))
            assert (tmp_path / name).read_text().lower().startswith(start.lower()), name

    @pytest.mark.parametrize("name", ["report", "report.pdf", "json"])
    def test_a_name_that_says_none_is_refused(self, name: str, tmp_path: Path):
        with pytest.raises(ReportError, match=r"end its name in \.trace\.json, \.json, \.html, \.csv, \.txt"):
            REPORT.save(tmp_path / name)
        assert os.listdir(tmp_path) == []

    def test_where_nothing_can_be_written_it_says_where_and_why(self, tmp_path: Path):
        (tmp_path / "file").write_text("")
        (tmp_path / "folder.json").mkdir()
        for path, why in (
            (tmp_path / "none" / "r.json", "No such file or directory"),
            (tmp_path / "file" / "r.json", "Not a directory"),
            (tmp_path / "folder.json", "Is a directory"),
        ):
            with pytest.raises(ReportError) as caught:
                REPORT.save(path)
            assert str(path) in str(caught.value)
            assert why in str(caught.value)
        assert sorted(os.listdir(tmp_path)) == ["file", "folder.json"]

    def test_a_very_long_name_is_told(self, tmp_path: Path):
        with pytest.raises(ReportError, match="File name too long"):
            REPORT.save(tmp_path / ("x" * 300 + ".json"))
        assert os.listdir(tmp_path) == []

    @pytest.mark.parametrize("stop", [KeyboardInterrupt, OSError])
    def test_what_was_there_stays_where_writing_stops(self, stop: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        path = tmp_path / "r.json"
        REPORT.save(path)
        before = path.read_text()

        def stops(*_: Any) -> None:
            raise stop(28, "No space left on device") if stop is OSError else stop

        monkeypatch.setattr(files.os, "replace", stops)
        with pytest.raises(ReportError if stop is OSError else stop):
            Report(long_record(40)).save(path)
        assert path.read_text() == before
        assert os.listdir(tmp_path) == ["r.json"]

    def test_others_may_read_it_as_any_file(self, tmp_path: Path):
        mask = os.umask(0o022)
        try:
            REPORT.save(tmp_path / "r.json")
        finally:
            os.umask(mask)
        assert (tmp_path / "r.json").stat().st_mode & 0o777 == 0o644


class TestLoading:
    def test_a_missing_file(self, tmp_path: Path):
        with pytest.raises(ReportError, match=r"cannot read .*none\.json: No such file"):
            Report.load(tmp_path / "none.json")

    def test_another_file(self, tmp_path: Path):
        (tmp_path / "a.json").write_text('{"memline_report": 9}')
        with pytest.raises(ReportError, match=r"a\.json: a report of a newer memline \(version 9\)"):
            Report.load(tmp_path / "a.json")


class TestTrace:
    """The Trace Event format: what Perfetto and chrome://tracing demand of an event."""

    @settings(max_examples=30, deadline=None)
    @given(records)
    def test_every_event_has_the_fields_of_its_phase(self, record: Record):
        data = json.loads(trace_text(record))
        assert isinstance(data["traceEvents"], list)
        for event in data["traceEvents"]:
            assert isinstance(event["name"], str)
            assert isinstance(event["pid"], int)
            phase = event["ph"]
            assert phase in {"M", "C", "X", "i"}
            if phase == "M":
                assert event["name"] in {"process_name", "thread_name"}
                assert isinstance(event["args"]["name"], str)
                continue
            assert isinstance(event["ts"], int)
            assert event["ts"] >= 0
            if phase == "C":
                assert all(isinstance(number, int) for number in event["args"].values())
            if phase == "X":
                assert event["dur"] >= 1
                assert isinstance(event["tid"], int)
            if phase == "i":
                assert event["s"] in {"g", "p", "t"}

    def test_it_says_what_the_record_says(self):
        events = json.loads(trace_text(REPORT.record))["traceEvents"]
        assert [e["args"]["name"] for e in events if e["name"] == "process_name"] == ["as written", "planned"]
        for number, program in enumerate(REPORT.programs, 1):
            mine = [e for e in events if e["pid"] == number]
            counted = [e["args"]["bytes"] for e in mine if e["ph"] == "C"]
            assert counted == [step.total_bytes for step in program.steps] + [program.steps[-1].total_bytes]
            assert sum(e.get("cat") == "step" for e in mine) == len(program.steps)
            slices = [(e["name"], e["ts"], e["ts"] + e["dur"] - 1) for e in mine if e.get("cat") == "band"]
            assert slices == [(band.title, band.first, band.last) for band in program.bands]
            (peak,) = (e for e in mine if e["ph"] == "i")
            assert peak["ts"] == program.peak

    def test_slices_of_one_row_do_not_cross(self):
        events = json.loads(trace_text(REPORT.record))["traceEvents"]
        rows: dict[tuple[int, int], list[tuple[int, int]]] = {}
        for event in events:
            if event["ph"] == "X" and event["cat"] == "step":
                rows.setdefault((event["pid"], event["tid"]), []).append((event["ts"], event["ts"] + event["dur"]))
        assert len(rows) == 2
        for spans in rows.values():
            assert all(end <= start for (_, end), (start, _) in itertools.pairwise(spans))


class TestTable:
    @settings(max_examples=30, deadline=None)
    @given(records)
    def test_it_is_read_back_row_for_row(self, record: Record):
        text = table_text(record)
        assert text.endswith("\r\n")
        head, *rows = csv.reader(io.StringIO(text, newline=""), strict=True)
        assert tuple(head) == COLUMNS
        assert {len(row) for row in rows} <= {len(COLUMNS)}
        sizes = [int(row[COLUMNS.index("size_bytes")]) for row in rows]
        expected = [sorted((v.size_bytes for v in program.values), reverse=True) for program in record.programs]
        assert sizes == [size for program in expected for size in program]

    def test_its_cells(self):
        rows = list(csv.DictReader(io.StringIO(table_text(REPORT.record), newline="")))
        program = REPORT.programs[0]
        biggest = max(program.values, key=lambda held: held.size_bytes)
        assert rows[0] == {
            "program": "as written",
            "name": biggest.name,
            "label": "",
            "type": biggest.type,
            "kind": biggest.kind,
            "size_bytes": str(biggest.size_bytes),
            "op": biggest.op,
            "file": biggest.place.file if biggest.place else "",
            "line": str(biggest.place.line) if biggest.place else "",
            "function": biggest.place.function if biggest.place else "",
            "first_step": str(biggest.first),
            "last_step": str(biggest.last),
            "is_at_peak": "yes",
        }
        assert sum(row["is_at_peak"] == "yes" for row in rows) == sum(len(p.at_peak) for p in REPORT.programs)

    def test_a_cell_is_no_formula(self):
        hostile = Report.from_json(REPORT.to_json().replace("train.py", "=cmd()"))
        rows = csv.DictReader(io.StringIO(table_text(hostile.record), newline=""))
        assert {row["file"] for row in rows} == {"", "'=cmd()"}
