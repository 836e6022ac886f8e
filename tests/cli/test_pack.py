"""`memline pack`: what it prints, writes and returns."""

import json

import pytest

from memline.cli.main import main
from memline.packing import Buffer, Packing, Pool, Problem, read, write
from tests.packing.native import needs_solver

ROWS = "id,lower,upper,size\nb1,0,3,4\nb2,3,9,4\nb3,0,9,4\nb4,9,21,4\nb5,0,21,4\n"


@pytest.fixture
def example(tmp_path):
    path = tmp_path / "in.csv"
    path.write_text(ROWS)
    return path


@needs_solver
def test_it_fits(example, tmp_path, capsys):
    out, page = tmp_path / "out.csv", tmp_path / "out.html"
    words = ["--capacity", "12", "--check", "--out", str(out), "--html", str(page)]
    assert main(["pack", str(example), *words]) == 0
    assert "fits 12" in capsys.readouterr().out
    problem, packing = read(out, 12)
    assert packing is not None
    assert len(problem.buffers) == 5
    text = page.read_text()
    assert text.count("<rect") == 5
    assert "b4: " in text
    assert "http" not in text


@needs_solver
def test_it_does_not_fit(example, capsys):
    assert main(["pack", str(example), "--capacity", "11", "--check"]) == 1
    assert "at time 0 12 is alive, and there is room for 11" in capsys.readouterr().out


@needs_solver
def test_the_smallest_arena(example, tmp_path, capsys):
    out = tmp_path / "out.json"
    assert main(["pack", str(example), "--minimize", "--threads", "2", "--time-limit", "10s", "--out", str(out)]) == 0
    captured = capsys.readouterr()
    assert "arena 12 (12 B): proved the smallest" in captured.out
    assert "best 12  bound 12" in captured.err
    problem, packing = read(out)
    assert packing is not None
    assert problem.capacity is None


@needs_solver
def test_an_answer_for_programs(example, capsys):
    def told(*words):
        status = main(["pack", str(example), "--json", "--quiet", *words])
        return status, json.loads(capsys.readouterr().out)

    status, row = told("--minimize")
    assert (status, row["status"], row["arena"], row["bound"], row["gap"]) == (0, "proved", 12, 12, 0)
    assert row["offsets"].keys() == {"b1", "b2", "b3", "b4", "b5"}
    assert row["seconds"] > 0
    status, row = told("--capacity", "16", "--check")
    assert (status, row["status"], row["bound"]) == (0, "fits", 12)
    assert 12 <= row["arena"] <= 16
    status, row = told("--capacity", "11")
    assert (status, row["status"], row["arena"], row["offsets"]) == (1, "infeasible", None, None)
    assert row["certificate"] == {"time": 0, "load": 12, "capacity": 11}


def test_a_file_that_cannot_be_written_is_refused_before_the_search(example, tmp_path, capsys):
    for option in ("--out", "--png", "--html"):
        assert main(["pack", str(example), "--minimize", option, str(tmp_path / "no" / "out.csv")]) == 2
        error = capsys.readouterr().err
        assert error == f"memline pack: cannot write {tmp_path}/no/out.csv: there is no folder {tmp_path}/no\n"


def test_a_packing_in_a_file_is_checked_without_a_solver(tmp_path, capsys):
    path = tmp_path / "packed.json"
    problem = Problem((Buffer("a", 0, 3, 4), Buffer("b", 2, 9, 4)), pools=(Pool("p", 8), Pool("q", 8)))
    write(path, problem, Packing((0, 3), ("p", "q")))
    assert main(["pack", str(path), "--check"]) == 0
    assert "takes 7" in capsys.readouterr().out
    assert main(["pack", str(path), "--check", "--json"]) == 0
    row = json.loads(capsys.readouterr().out)
    assert (row["status"], row["arena"], row["pools"]) == ("valid", 7, {"a": "p", "b": "q"})
    write(path, problem, Packing((0, 3), ("p", "p")))
    assert main(["pack", str(path), "--check"]) == 2
    assert "share bytes at time 2" in capsys.readouterr().err


def test_what_is_asked_has_to_be_one_thing(example, capsys):
    assert main(["pack", str(example)]) == 2
    assert "no capacity" in capsys.readouterr().err
    assert main(["pack", str(example), "--capacity", "12", "--minimize"]) == 2
    assert "only one of them" in capsys.readouterr().err


def test_errors_name_file_and_line(example, capsys):
    example.write_text(ROWS + "b5,0,21,4\n")
    assert main(["pack", str(example), "--capacity", "12"]) == 2
    assert f"{example}:7: buffer 'b5' is there twice" in capsys.readouterr().err
