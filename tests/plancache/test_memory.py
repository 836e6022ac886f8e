"""A plan that one process found is not searched for by the next; and nothing in the cache can break a call."""

from __future__ import annotations

import copy
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import memline
from memline.ir.check import check
from memline.ir.codec import NotPlain
from memline.plancache.key import sources_digest
from memline.plancache.memory import Memory
from memline.plancache.store import Store
from tests.comparing import TIGHT, N, assert_same, kernel_sums, points

SHAPE = jax.ShapeDtypeStruct((N,), jnp.float32)


def bounded(folder: Any, fun: Any = kernel_sums, limit: Any = TIGHT, **settings: Any) -> Any:
    # A copy, which plans by itself as another process does: what memline.jit makes of a function shares its programs.
    return copy.copy(memline.jit(fun, memory_limit=limit, options=memline.Options(plan_cache=folder), **settings))


def is_recalled(plan: memline.Plan) -> bool:
    return any("found in the plan cache" in note for note in plan.notes)


@pytest.fixture
def no_search(monkeypatch: pytest.MonkeyPatch):
    def search(*args: Any, **kwargs: Any) -> Any:
        raise AssertionError("searched again")

    return lambda: monkeypatch.setattr("memline.planning.search", search)


class TestRecalled:
    def test_the_second_time_nothing_is_searched_for(self, tmp_path, no_search):
        first = bounded(tmp_path).lower(SHAPE).compile()
        assert not is_recalled(first.plan)
        no_search()
        again = bounded(tmp_path)
        second = again.lower(SHAPE).compile()
        assert is_recalled(second.plan)
        assert second.plan.decisions == first.plan.decisions
        assert second.plan.compiled_peak_bytes == first.plan.compiled_peak_bytes
        assert second.plan.compiles == 1
        assert str(second.graph) == str(first.graph)
        check(second.graph)
        assert_same(again(points()), jax.jit(kernel_sums)(points()))
        assert memline.Plan.from_json(second.plan.to_json()) == second.plan

    def test_in_another_process(self, tmp_path):
        root = Path(__file__).parents[2]
        text = (
            "import memline.planning\n"
            "from tests.plancache.test_memory import *\n"
            "if {again}: memline.planning.search = None\n"
            "assert is_recalled(bounded({folder!r}).lower(SHAPE).plan) == {again}\n"
            "assert_same(bounded({folder!r})(points()), jax.jit(kernel_sums)(points()))\n"
        )
        for again in (False, True):
            environment = {**os.environ, "PYTHONPATH": f"{root / 'src'}:{root}", "PYTHONHASHSEED": str(1 + again)}
            code = text.format(again=again, folder=str(tmp_path))
            subprocess.run([sys.executable, "-c", code], env=environment, check=True)

    def test_the_program_left_as_it_is(self, tmp_path, no_search):
        assert bounded(tmp_path, limit="1GiB").lower(SHAPE).plan.moves == ()
        no_search()
        found = bounded(tmp_path, limit="1GiB")
        assert is_recalled(found.lower(SHAPE).plan)
        assert "while" not in found.lower(SHAPE).as_text(), "compiled as it was written"

    def test_inside_another_program(self, tmp_path, no_search, monkeypatch):
        def outer() -> Any:
            options = memline.Options(plan_cache=tmp_path)
            inner = memline.limit(lambda x: kernel_sums(x), TIGHT, options=options)  # a new function, traced anew
            return jax.jit(jax.grad(lambda x: inner(x).sum()))(points())

        found = []
        recall = Memory.recall
        monkeypatch.setattr(Memory, "recall", lambda self: found.append(recall(self)) or found[-1])
        first = outer()
        no_search()
        np.testing.assert_array_equal(outer(), first)
        assert [each is not None for each in found] == [False, True]

    def test_by_its_moves_where_data_cannot_tell_the_program(self, tmp_path, no_search, monkeypatch):
        def cannot(*args: Any) -> Any:
            raise NotPlain("not today")

        monkeypatch.setattr("memline.plancache.memory.encode", cannot)
        first = bounded(tmp_path).lower(SHAPE).compile()
        no_search()
        second = bounded(tmp_path).lower(SHAPE).compile()
        assert is_recalled(second.plan)
        assert str(second.graph) == str(first.graph)

    def test_the_lines_are_those_of_the_program_now(self, tmp_path, no_search):
        def make(blank_lines: int) -> Any:
            space: dict[str, Any] = {"jnp": jnp}
            text = "\n" * blank_lines + "def f(x):\n return jnp.exp(-((x[:, None] - x[None, :]) ** 2)).sum(1)"
            exec(compile(text, "moved.py", "exec"), space)
            return space["f"]

        bounded(tmp_path, make(0)).lower(SHAPE)
        no_search()
        assert "moved.py:42" in str(bounded(tmp_path, make(40)).lower(SHAPE).compile().graph)


class TestTheKey:
    """Whatever a plan depends on makes another entry."""

    @pytest.mark.parametrize(
        ("fun", "settings"),
        [
            (kernel_sums, {"limit": TIGHT + 1}),
            (kernel_sums, {"donate_argnums": 0}),
            (kernel_sums, {"compiler_options": {"xla_cpu_enable_fast_math": True}}),
            (lambda x: kernel_sums(x) + 1, {}),
        ],
    )
    def test_other_programs_and_settings(self, tmp_path, fun, settings):
        bounded(tmp_path).lower(SHAPE)
        assert not is_recalled(bounded(tmp_path, fun, **settings).lower(SHAPE).plan)
        assert is_recalled(bounded(tmp_path, fun, **settings).lower(SHAPE).plan)

    def test_other_shapes(self, tmp_path):
        bounded(tmp_path).lower(SHAPE)
        assert not is_recalled(bounded(tmp_path).lower(jax.ShapeDtypeStruct((N + 1,), jnp.float32)).plan)

    def test_other_options(self, tmp_path):
        bounded(tmp_path).lower(SHAPE)
        options = memline.Options(plan_cache=tmp_path, max_compiles=3)
        assert not is_recalled(memline.plan(kernel_sums, TIGHT, options=options)(SHAPE))

    @pytest.mark.parametrize("name", ["own_digest", "thread_count"])
    def test_other_versions_and_machines(self, tmp_path, monkeypatch, name):
        bounded(tmp_path).lower(SHAPE)
        monkeypatch.setattr(f"memline.plancache.key.{name}", lambda: 97)
        assert not is_recalled(bounded(tmp_path).lower(SHAPE).plan)

    def test_another_memline_is_told_by_its_files(self, tmp_path):
        (tmp_path / "part").mkdir()
        for name in ("one.py", "part/two.py", "part/data.txt"):
            (tmp_path / name).write_text("a = 1\n")
        before = sources_digest(str(tmp_path))
        assert sources_digest(str(tmp_path)) == before
        (tmp_path / "part/data.txt").write_text("another text")
        assert sources_digest(str(tmp_path)) == before, "no source"
        changed = tmp_path / "part/two.py"
        stamp = changed.stat().st_mtime_ns
        changed.write_text("a = 2\n")  # of the same length
        os.utime(changed, ns=(stamp, stamp + 1))
        assert sources_digest(str(tmp_path)) != before

    @pytest.mark.parametrize("name", ["jax.__version__", "jaxlib.version.__version__"])
    def test_other_versions_of_jax(self, tmp_path, monkeypatch, name):
        bounded(tmp_path).lower(SHAPE)
        monkeypatch.setattr(name, "99.0")
        assert not is_recalled(bounded(tmp_path).lower(SHAPE).plan)

    def test_what_cannot_be_told_is_not_kept_and_the_plan_says_why(self, tmp_path):
        class Opaque:
            def __call__(self, x: Any) -> Any:
                return np.asarray(x)

        opaque = Opaque()

        def fun(x):
            return kernel_sums(jax.pure_callback(opaque, SHAPE, x))

        plan = bounded(tmp_path, fun).lower(SHAPE).plan
        assert [note for note in plan.notes if "not kept in the plan cache: a Opaque" in note]
        assert list(tmp_path.iterdir()) == []


class TestTrouble:
    """The call goes on, and the plan says what was wrong."""

    def test_a_peak_that_does_not_hold_any_more(self, tmp_path, monkeypatch):
        bounded(tmp_path).lower(SHAPE)
        monkeypatch.setattr("memline.compiling.compiled_peak", _larger_at_first())
        plan = bounded(tmp_path).lower(SHAPE).plan
        assert any("searched again" in note for note in plan.notes)
        assert plan.compiled_peak_bytes is not None
        assert plan.compiled_peak_bytes <= TIGHT
        monkeypatch.undo()
        assert is_recalled(bounded(tmp_path).lower(SHAPE).plan), "the entry was replaced"

    @pytest.mark.parametrize("body", [b"", b"nonsense", None])
    def test_damaged_entries(self, tmp_path, body):
        bounded(tmp_path).lower(SHAPE)
        [path] = tmp_path.iterdir()
        if body is None:  # whole, but of another kind
            Store(tmp_path).write(path.stem, b"not compressed")
        else:
            path.write_bytes(body)
        again = bounded(tmp_path)
        assert_same(again(points()), jax.jit(kernel_sums)(points()))
        assert any("the plan cache was of no use" in note for note in again.lower(SHAPE).plan.notes)
        assert is_recalled(bounded(tmp_path).lower(SHAPE).plan), "it was replaced"

    def test_an_entry_of_a_program_that_does_not_compile(self, tmp_path, monkeypatch):
        """Another program's, put there under the right key and checksum."""
        other = bounded(tmp_path / "other", lambda x: kernel_sums(x[:-1]), TIGHT).lower(SHAPE).compile()
        bounded(tmp_path / "mine").lower(SHAPE)
        [path] = (tmp_path / "mine").iterdir()
        recalled = Memory._recalled

        def wrong(self: Memory, entry: Any) -> Any:
            good = recalled(self, entry)
            return type(good)(good.plan, type(other.graph)((), other.graph.nodes, other.graph.outputs), good.peak)

        monkeypatch.setattr(Memory, "_recalled", wrong)
        plan = bounded(tmp_path / "mine").lower(SHAPE).plan
        assert any("does not compile" in note for note in plan.notes)
        assert path.exists()

    def test_a_folder_that_cannot_be_written_to(self, tmp_path):
        (tmp_path / "file").write_text("")
        again = bounded(tmp_path / "file" / "cache")
        assert_same(again(points()), jax.jit(kernel_sums)(points()))
        assert any("cannot be written to" in note for note in again.lower(SHAPE).plan.notes)


class TestWhere:
    def test_off_unless_asked_for(self, monkeypatch):
        monkeypatch.delenv("MEMLINE_PLAN_CACHE", raising=False)
        monkeypatch.setattr(Store, "read", None)
        monkeypatch.setattr(Store, "write", None)
        assert memline.plan(kernel_sums, TIGHT)(SHAPE).moves

    def test_the_environment_names_a_folder_and_options_another_or_none(self, tmp_path, monkeypatch):
        monkeypatch.setenv("MEMLINE_PLAN_CACHE", str(tmp_path / "env"))
        bounded("").lower(SHAPE)
        bounded(tmp_path / "mine").lower(SHAPE)
        assert not (tmp_path / "env").exists()
        assert memline.plan(kernel_sums, TIGHT)(SHAPE).moves
        assert len(list((tmp_path / "env").iterdir())) == 1

    def test_a_file_is_no_folder(self, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises(memline.ArgumentError, match="not a folder"):
            bounded(tmp_path / "file")
        with pytest.raises(memline.ArgumentError, match="plan_cache is the path of a folder, not 3"):
            memline.Options(plan_cache=3)  # type: ignore[arg-type]

    def test_the_home_folder_may_be_written_short(self, tmp_path, monkeypatch):
        monkeypatch.setenv("HOME", str(tmp_path))
        bounded("~/plans").lower(SHAPE)
        assert list((tmp_path / "plans").iterdir())


def _larger_at_first() -> Any:
    """A compiled peak that is over every limit the first time it is asked for."""
    from dataclasses import replace

    from memline.verify.compiled import compiled_peak

    asked: list[None] = []

    def peak(*args: Any) -> Any:
        asked.append(None)
        found = compiled_peak(*args)
        return replace(found, temp_bytes=found.temp_bytes + (1 << 40)) if len(asked) == 1 else found

    return peak
