"""The file of a record: read back as it was written, and refused where anything in it is not as it should be."""

import json
import math
from typing import Any

import pytest
from hypothesis import given, settings

from memline.errors import ReportError
from memline.report.codec import from_json, to_json
from memline.report.record import Record
from memline.report.schema import schema
from tests.report.records import long_record, records

jsonschema = pytest.importorskip("jsonschema", reason="jsonschema, of the test extra, is not installed")
VALIDATOR = jsonschema.Draft202012Validator(schema())
SMALL = long_record(12)


def data() -> Any:
    return json.loads(to_json(SMALL))


@settings(max_examples=60, deadline=None)
@given(records)
def test_what_is_written_is_read_back_equal_and_keeps_to_the_schema(record: Record):
    text = to_json(record)
    assert from_json(text) == record
    assert from_json(text.encode()) == record
    VALIDATOR.validate(json.loads(text))


def test_the_schema_is_one():
    jsonschema.Draft202012Validator.check_schema(schema())


def _set(path: list[Any], value: Any) -> Any:
    record = data()
    at = record
    for key in path[:-1]:
        at = at[key]
    if value is ...:
        del at[path[-1]]
    else:
        at[path[-1]] = value
    return record


PROGRAM = ["programs", 0]
VALUE = [*PROGRAM, "values", 3]
WRONG = [
    (["title"], 3, "title is text, not 3"),
    (["title"], ..., "the report has no title"),
    (["extra"], 1, "the report has the unknown 'extra'"),
    (["origin"], [], "origin is an object with fields"),
    (["origin", "jax"], None, "origin.jax is text, not None"),
    (["limit_bytes"], -1, "limit_bytes is a whole number from 0, not -1"),
    (["limit_bytes"], 1.0, "limit_bytes is a whole number from 0, not 1.0"),
    (["limit_bytes"], True, "limit_bytes is a whole number from 0, not True"),
    (["planning_seconds"], "1", "planning_seconds is a number from 0, not '1'"),
    (["planning_seconds"], -0.5, "planning_seconds is a number from 0, not -0.5"),
    (["notes"], "a note", "notes is a list, not 'a note'"),
    (["notes"], [None], r"notes\[0\] is text, not None"),
    (["moves", 1, "reason"], ..., r"moves\[1\] has no reason"),
    ([*PROGRAM, "steps"], None, r"programs\[0\].steps is a list"),
    ([*PROGRAM, "peak"], 12, r"programs\[0\].peak is a number of its 12 steps, not 12"),
    ([*VALUE, "kind"], "rented", r"programs\[0\].values\[3\].kind is one of argument, .*, not 'rented'"),
    ([*VALUE, "last"], 12, r"programs\[0\].values\[3\] goes from first to last inside of 12 steps"),
    ([*VALUE, "first"], 12, r"programs\[0\].values\[3\] goes from first to last inside of 12 steps"),
    ([*PROGRAM, "bands", 0, "last"], 99, r"programs\[0\].bands\[0\] goes from first to last"),
    ([*PROGRAM, "at_peak"], [99], r"programs\[0\].at_peak\[0\] is a number of its 13 values, not 99"),
    ([*PROGRAM, "layout", "is_proved"], 1, r"programs\[0\].layout.is_proved is true or false, not 1"),
    ([*PROGRAM, "layout", "buffers", 2, "last"], 12, r"layout.buffers\[2\] goes from first to last"),
    ([*PROGRAM, "layout", "buffers", 2, "offset"], 2**60, r"layout.buffers\[2\].offset ends within the .* its arena"),
    ([*PROGRAM, "layout", "packed_bytes"], None, r"layout.buffers\[0\].packed_offset ends within the None bytes"),
]


@pytest.mark.parametrize(("path", "value", "message"), WRONG, ids=[f"{path[-1]}={value}" for path, value, _ in WRONG])
def test_what_is_off_is_refused_and_named(path: list[Any], value: Any, message: str):
    with pytest.raises(ReportError, match=message):
        from_json(json.dumps(_set(path, value)))


def test_a_value_that_is_not_alive_is_not_at_the_peak():
    program = SMALL.programs[0]
    dead = next(k for k, v in enumerate(program.values) if not v.first <= program.peak <= v.last)
    with pytest.raises(ReportError, match=rf"at_peak\[0\] is alive at step {program.peak}, the peak, not {dead}"):
        from_json(json.dumps(_set([*PROGRAM, "at_peak"], [dead])))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not a report: Expecting value"),
        ("[]", "not a report: it has no field 'memline_report'"),
        ('{"memline_plan": 2}', "not a report: it has no field"),
        (b"\xff\xfe\x00", "not a report"),
        ("[" * 100_000, "not a report"),
        ('{"memline_report": 1}', "the report has no floor_bytes"),
        ('{"memline_report": 2}', "a report of a newer memline .version 2.; this one reads version 1"),
        ('{"memline_report": true}', "is the number of a version, not True"),
        ('{"memline_report": 0}', "is the number of a version, not 0"),
        ('{"memline_report": 1, "title": "a", "title": "b"}', "the field 'title' is given twice"),
    ],
)
def test_what_is_no_report_is_refused(text: str | bytes, message: str):
    with pytest.raises(ReportError, match=message):
        from_json(text)


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_what_json_has_no_number_for_is_refused(number: float):
    with pytest.raises(ReportError, match="is no number"):
        from_json(json.dumps(_set(["planning_seconds"], number)))


def test_a_number_too_large_for_a_float_is_refused():
    text = to_json(SMALL).replace('"planning_seconds":4.5', '"planning_seconds":1e999')
    with pytest.raises(ReportError, match="planning_seconds is a number from 0, not inf"):
        from_json(text)
