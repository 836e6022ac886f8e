"""The command runs programs in fresh processes, records them, and survives their failure."""

import json
from dataclasses import replace

import pytest

from benchmarks.__main__ import main
from benchmarks.others import OTHERS
from benchmarks.programs import PROGRAMS
from benchmarks.rewriting import REWRITING
from benchmarks.row import run_row

SMALL = replace(PROGRAMS["knn"], make_args=lambda seed: PROGRAMS["knn"].warm_args())


def broken(*args):
    raise RuntimeError("does not trace")


BROKEN = replace(SMALL, fun=broken)


def run(name, kinds):
    return run_row(f"tests.benchmarks.test_runner:{name}", kinds, 2, 0, say=lambda text: None)


def test_a_row_of_plain_jit():
    row = run("SMALL", ["plain"])
    assert row.errors == []
    assert row.plain is not None
    assert row.plain["growth_bytes"] >= 0
    assert row.timing is not None
    assert len(row.timing["seconds"]["plain"]) == 2
    assert row.ratio is None
    assert row.limit_held is None


def test_a_program_that_fails_makes_an_error_row():
    row = run("BROKEN", ["plain"])
    assert row.errors == ["account: RuntimeError: does not trace"]


def test_list_names_every_program(capsys):
    assert main(["--list"]) == 0
    listed = capsys.readouterr().out
    assert all(name in listed for name in (*PROGRAMS, *OTHERS))


def test_the_other_suite_is_run_by_reference(monkeypatch, capsys):
    from benchmarks.row import Row

    asked = []
    monkeypatch.setattr("benchmarks.__main__.run_row", lambda name, *_: asked.append(name) or Row(name, "", "", 1.0))
    assert main(["--suite", "others"]) == 0
    assert asked == list(OTHERS.values())
    assert len(set(asked)) == len(asked)
    asked.clear()
    assert main(["rewriting", "knn"]) == 0
    assert asked == [*REWRITING.values(), "knn"]
    asked.clear()
    assert main(["gpjax-sparse", "mlp"]) == 0
    assert asked == [OTHERS["gpjax-sparse"], "mlp"]


def test_unknown_programs_and_bad_repeats_are_refused(capsys):
    assert main(["no-such-program"]) == 2
    assert "no program named no-such-program" in capsys.readouterr().err
    assert main(["knn", "--repeats", "0"]) == 2


def test_results_are_recorded(tmp_path, capsys, monkeypatch):
    def measured(reference, kinds, repeats, seed, say):
        return replace(run_row_template, name=reference)

    from benchmarks.row import Row

    run_row_template = Row("", "", "40 MiB", 1.0, errors=["memline memory: gone"])
    monkeypatch.setattr("benchmarks.__main__.run_row", measured)
    out = tmp_path / "results.json"
    assert main(["knn", "mlp", "--out", str(out)]) == 1
    record = json.loads(out.read_text())
    assert [row["name"] for row in record["rows"]] == ["knn", "mlp"]
    assert record["machine"]["versions"]["jax"]
    assert record["machine"]["cores"] >= 1
    assert "mlp: memline memory: gone" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["SMALL"])
def test_both_kinds_agree(name):
    row = run(name, ["plain", "memline"])
    assert row.errors == []
    assert row.agrees
