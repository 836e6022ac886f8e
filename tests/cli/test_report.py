"""`memline report` and `memline diff`: of functions and of files, in every form."""

import importlib
import json
import os

import pytest

from memline import Report
from memline.cli.main import main
from tests.cli.programs import module

__all__ = ["module"]

ARGS = ("--args", "f32[2000]", "f32[2000]", "--no-layout")


def told(capsys, command, *words):
    """Runs a command with words that are wrong; returns its one line."""
    assert main([command, *words]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(f"memline {command}: ")
    assert err.count("\n") == 1
    return err


def test_a_function_in_every_form(module, capsys, tmp_path):
    files = ["--html", "a.html", "--trace", "a.trace.json", "--csv", "a.csv", "--out", "a.json"]
    assert main(["report", f"{module}:kernel_sum", *ARGS, "--limit", "1MiB", *files]) == 0
    out, err = capsys.readouterr()
    assert "kernel_sum" in out
    assert "\x1b" not in out  # no colours where nobody watches
    assert err == ""
    report = Report.load("a.json")
    assert [program.name for program in report.programs] == ["as written", "planned"]
    assert (tmp_path / "a.html").read_text().startswith("<!doctype html>")
    assert json.loads((tmp_path / "a.trace.json").read_text())["traceEvents"]
    assert "f32[2000,2000]" in (tmp_path / "a.csv").read_text()

    assert main(["report", "a.json", "--json"]) == 0
    assert Report.from_json(capsys.readouterr().out) == report


def test_differences(module, capsys, tmp_path):
    for name, limit in (("a", "1MiB"), ("b", "100KiB")):
        assert main(["report", f"{module}:kernel_sum", *ARGS, "--limit", limit, "--out", f"{name}.json"]) == 0
        assert main(["plan", f"{module}:kernel_sum", *ARGS[:3], "--limit", limit, "--out", f"{name}-plan.json"]) == 0
    capsys.readouterr()
    assert main(["diff", "a.json", "b.json"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert any("limit" in line and "1.00 MiB -> 100.00 KiB (-90.2%)" in line for line in lines)
    assert any(line.startswith("    - SplitAxis(") for line in lines)
    assert any(line.startswith("    + SplitAxis(") for line in lines)
    assert any(line.startswith("    - ") and "KiB" in line and f"{module}.py:7" in line for line in lines)

    peaks = [Report.load(f"{name}.json").programs[-1].compiled_peak_bytes for name in "ab"]
    for pair in (["a.json", "b.json"], ["a-plan.json", "b-plan.json"], ["a.json", "b-plan.json"]):
        assert main(["diff", *pair, "--json"]) == 0
        found = json.loads(capsys.readouterr().out)
        assert found["programs"]["as it runs"]["compiled_peak_bytes"] == peaks
        assert (len(found["moves_removed"]), len(found["moves_added"])) == (1, 1)

    assert main(["diff", "a.json", "a.json", "--json"]) == 0
    same = json.loads(capsys.readouterr().out)
    assert same["moves_kept"] == 1
    assert not any(same[f"{what}_{way}"] for what in ("moves", "values") for way in ("removed", "added"))


def test_files_that_are_none(module, capsys, tmp_path):
    (tmp_path / "torn.json").write_text('{"memline_report": ')
    (tmp_path / "other.json").write_text("[1, 2]")
    (tmp_path / "newer.json").write_text('{"memline_report": 99}')
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe")
    (tmp_path / "newer-plan.json").write_text('{"memline_plan": 99}')
    for command, rest in (("report", []), ("diff", ["torn.json"])):
        assert "none.json: No such file" in told(capsys, command, "none.json", *rest)
        assert "torn.json: no JSON" in told(capsys, command, "torn.json", *rest)
        assert "other.json: " in told(capsys, command, "other.json", *rest)
        assert "newer memline (version 99)" in told(capsys, command, "newer.json", *rest)
        assert "another version" in told(capsys, command, "newer-plan.json", *rest)
        assert "no UTF-8" in told(capsys, command, "binary.json", *rest)


def test_calls_that_are_wrong(module, capsys, tmp_path):
    (tmp_path / "a.json").write_text("{}")
    assert "is a saved report" in told(capsys, "report", "a.json", "--limit", "1MiB")
    assert "there is no folder" in told(capsys, "report", f"{module}:kernel_sum", *ARGS, "--html", "none/a.html")
    assert "there is no module" in told(capsys, "report", "no_such_module:f")
    assert "column 7" in told(capsys, "report", f"{module}:kernel_sum", "--args", "f32[2,x]")
    assert "the limit is 17.00 KiB" in told(capsys, "report", f"{module}:kernel_sum", *ARGS, "--limit", "17KiB")


def test_an_interrupt_leaves_what_was_there(module, capsys, tmp_path, monkeypatch):
    (tmp_path / "a.html").write_text("old")

    def interrupted(record):
        raise KeyboardInterrupt

    monkeypatch.setattr(importlib.import_module("memline.report.html"), "page", interrupted)
    assert main(["report", f"{module}:model.scaled", "--args", "f32[5]", "--no-layout", "--html", "a.html"]) == 130
    assert capsys.readouterr().err == "memline report: interrupted\n"
    assert (tmp_path / "a.html").read_text() == "old"
    assert not [name for name in os.listdir(tmp_path) if name.startswith(".")]


@pytest.mark.parametrize("command", ["report", "diff", "plan", "curve", "run", "demo", "doctor"])
def test_help_has_examples(command, capsys):
    with pytest.raises(SystemExit) as ended:
        main([command, "--help"])
    assert ended.value.code == 0
    assert f"examples:\n  memline {command}" in capsys.readouterr().out
