"""The page of a run says what its record says, and what it lacks."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from benchmarks.machine import describe
from benchmarks.page import NOT_RECORDED, page_of
from tests.benchmarks.test_table import GOOD


def written(tmp_path, **changes):
    record = {"format": 1, "machine": describe(), "repeats": 5, "rows": [GOOD.to_json()]}
    path = tmp_path / "record.json"
    path.write_text(json.dumps(record | changes))
    return path


def test_it_shows_every_row_with_peaks_that_include_the_arguments(tmp_path):
    page = page_of(written(tmp_path))
    assert "| knn | 40.0 | 402.0 | 32.0 | 0.500 | 0.400 | 0.80 | 1 | 2e-07 | pass |" in page.splitlines()


def test_a_run_records_all_that_the_page_asks_for(tmp_path):
    assert NOT_RECORDED not in page_of(written(tmp_path))


def test_what_is_not_recorded_is_said_and_what_was_not_measured_is_a_dash(tmp_path):
    bare = replace(GOOD, plain=None, timing=None).to_json()
    page = page_of(written(tmp_path, machine={}, rows=[bare]))
    assert f"| memline | {NOT_RECORDED} |" in page
    assert f"| processor | {NOT_RECORDED} |" in page
    assert "| knn | 40.0 | - | 32.0 | - | - | - | 1 | - | - |" in page


def test_remarks_are_shown(tmp_path):
    page = page_of(written(tmp_path, rows=[replace(GOOD, notes=["synthetic data"], errors=["it crashed"]).to_json()]))
    assert "- knn: synthetic data" in page
    assert "- knn: it crashed" in page


def test_a_record_of_another_format_is_refused(tmp_path):
    with pytest.raises(ValueError, match="format 2"):
        page_of(written(tmp_path, format=2))
