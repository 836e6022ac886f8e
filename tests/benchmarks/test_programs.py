"""Every benchmark program runs at a small size and gives finite results."""

import jax
import numpy as np
import pytest

from benchmarks.programs import PROGRAMS, argument_bytes, find
from benchmarks.programs.program import MIB
from benchmarks.rewriting import REWRITING


@pytest.mark.parametrize("name", PROGRAMS)
def test_small_sizes_give_finite_results(name):
    program = PROGRAMS[name]
    with jax.enable_x64(program.x64):
        result = jax.device_get(jax.jit(program.fun)(*program.warm_args()))
    leaves = jax.tree.leaves(result)
    assert leaves
    for leaf in leaves:
        assert np.isfinite(leaf).all()
        assert np.any(leaf != 0)


@pytest.mark.parametrize("name", PROGRAMS)
def test_inputs_are_nonzero_and_of_one_structure(name):
    program = PROGRAMS[name]
    small, again = program.warm_args(), program.warm_args()
    assert all(np.any(leaf != 0) for leaf in jax.tree.leaves(small))
    jax.tree.map(np.testing.assert_array_equal, small, again)


def test_limits():
    assert PROGRAMS["knn"].limit(7 * MIB) == 40 * MIB
    assert PROGRAMS["knn"].limit_text == "40 MiB"
    assert PROGRAMS["knn-database"].limit(7 * MIB) == 39 * MIB
    assert PROGRAMS["knn-database"].limit_text == "arguments + 32 MiB"


def test_argument_bytes():
    assert argument_bytes(({"a": np.zeros((2, 3), np.float32)}, np.float64(1))) == 32


def test_find_takes_names_and_references():
    assert find("mlp") is PROGRAMS["mlp"]
    assert find("benchmarks.programs.mlp:MLP") is PROGRAMS["mlp"]


def test_sgpr_says_which_data_it_has(tmp_path, monkeypatch):
    note = PROGRAMS["sgpr"].note
    assert note is not None
    monkeypatch.setenv("MEMLINE_DATA", str(tmp_path))
    assert "synthetic" in note()
    (tmp_path / "uci").mkdir()
    (tmp_path / "uci" / "keggundirected.csv.gz").touch()
    assert note() == "keggundirected"


def test_knn_is_right():
    queries, points = PROGRAMS["knn"].warm_args()
    distances, indices = jax.device_get(jax.jit(PROGRAMS["knn"].fun)(queries, points))
    expected = ((queries[:, None] - points[None]) ** 2).sum(-1)
    np.testing.assert_array_equal(indices, np.argsort(expected, axis=1)[:, :10])
    np.testing.assert_allclose(distances, np.sort(expected, axis=1)[:, :10], rtol=1e-5)


@pytest.mark.parametrize("name", REWRITING)
def test_programs_to_be_rewritten_give_finite_results(name):
    program = find(REWRITING[name])
    assert program.name == name
    results = jax.tree.leaves(jax.jit(program.fun)(*program.warm_args()))
    assert all(np.isfinite(result).all() and np.any(result != 0) for result in results)


def test_what_temporaries_may_be():
    chain, trace = find(REWRITING["matrix-chain"]), find(REWRITING["trace"])
    assert chain.temp_limit_bytes(500 * MIB) == MIB
    assert trace.temp_limit_bytes(500 * MIB) == 5 * MIB
    assert PROGRAMS["mlp"].temp_limit_bytes(500 * MIB) is None
