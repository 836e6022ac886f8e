"""Reports and plans that were saved as JSON."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from memline.cli.input import read_text
from memline.errors import ArgumentError, MemlineError

if TYPE_CHECKING:
    from memline.report.report import Report


def report_of_file(path: str) -> Report:
    """Returns the report of a file; of a saved plan, the report that has its figures and moves and no program.

    Raises:
      ArgumentError: the file cannot be read, or is neither, or is one of another version; the message names it.
    """
    text = read_text(path)
    try:
        data = json.loads(text)
    except ValueError as error:
        raise ArgumentError(f"cannot read {path}: no JSON: {error}") from error
    try:
        if isinstance(data, dict) and "memline_plan" in data:
            from memline.api import report
            from memline.plan.plan import Plan

            return report(Plan.from_json(text))
        from memline.report.report import Report

        return Report.from_json(text)
    except MemlineError as error:
        raise ArgumentError(f"cannot read {path}: {error}") from error
