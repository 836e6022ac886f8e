"""Strategies: what they say, how they reach XLA, one program at a time, and which of them are chosen by rule."""

from __future__ import annotations

import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import memline
from memline import Compile, PlanError, compat
from memline.plan.moves import move_from_dict, move_to_dict
from memline.plan.strategies import CPU_STRATEGIES, as_compiler_options, combined, strategies_for
from memline.plan.tried import Tried
from tests.comparing import assert_same

SMALL_LOOPS = "xla_cpu_small_while_loop_byte_threshold"
WHOLE = as_compiler_options(((SMALL_LOOPS, 1 << 16),))


def cell(x: Any) -> Any:
    """A step of several small kernels, in which rounding dies away."""
    return 0.3 * (jnp.sin(jnp.roll(x, 1)) * jnp.cos(jnp.roll(x, 2)) + jnp.exp(-x * x) - jnp.tanh(jnp.roll(x, 3)))


def steps(x: Any) -> Any:
    return lax.fori_loop(0, 100, lambda _, x: cell(x), x)


def argument() -> Any:
    return jnp.asarray(np.random.default_rng(0).standard_normal(400, np.float32))


def is_whole(compiled: Any) -> bool:
    """Whether a loop of the program has become one function."""
    return "xla_cpu_small_call" in compiled.as_text()


class TestOptions:
    def test_jaxlib_takes_every_strategy(self):
        compat.pass_extra_options()
        for strategy in CPU_STRATEGIES:
            compiled = (
                jax.jit(steps, compiler_options=as_compiler_options(strategy.options)).lower(argument()).compile()
            )
            assert_same(compiled(argument()), jax.jit(steps)(argument()), rtol=1e-4)

    def test_they_reach_the_program_they_are_given_to_and_no_other(self):
        compat.pass_extra_options()
        compat.pass_extra_options()
        assert not is_whole(jax.jit(steps).lower(argument()).compile())
        assert is_whole(jax.jit(steps, compiler_options=WHOLE).lower(argument()).compile())
        assert not is_whole(jax.jit(steps).lower(argument()).compile())
        none = as_compiler_options(((SMALL_LOOPS, 0),))
        assert not is_whole(jax.jit(steps, compiler_options=none).lower(argument()).compile())

    def test_programs_in_the_persistent_cache_are_told_apart(self, tmp_path):
        compat.pass_extra_options()
        names = {
            "jax_compilation_cache_dir": str(tmp_path),
            "jax_persistent_cache_min_compile_time_secs": 0.0,
            "jax_persistent_cache_min_entry_size_bytes": -1,
        }
        before = {name: getattr(jax.config, name) for name in names}
        try:
            for name, value in names.items():
                jax.config.update(name, value)
            for _ in range(2):
                jax.clear_caches()
                found = [
                    is_whole(jax.jit(steps, compiler_options=options).lower(argument()).compile())
                    for options in (None, WHOLE)
                ]
                assert found == [False, True]
            assert len([path for path in tmp_path.iterdir() if "steps" in path.name and "-atime" not in path.name]) == 2
        finally:
            for name, value in before.items():
                jax.config.update(name, value)
            jax.clear_caches()

    def test_long_values_survive(self):
        """A length of more than 127 takes two bytes."""
        compat.pass_extra_options()
        padded = as_compiler_options(((SMALL_LOOPS, "0" * 300 + "65536"),))
        assert is_whole(jax.jit(steps, compiler_options=padded).lower(argument()).compile())

    def test_what_the_user_has_set_is_not_tried(self, monkeypatch):
        names = [s.name for s in strategies_for("cpu", {})]
        assert "wide vectors" not in [s.name for s in strategies_for("cpu", {"xla_cpu_prefer_vector_width": 128})]
        monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_prefer_vector_width=128")
        assert [s.name for s in strategies_for("cpu", {})] == [name for name in names if name != "wide vectors"]

    def test_together_they_do_not_contradict_each_other(self):
        small, large = (s for s in CPU_STRATEGIES if SMALL_LOOPS in dict(s.options))
        both = combined([large, CPU_STRATEGIES[0], small])
        assert both.options == (*large.options, *CPU_STRATEGIES[0].options)
        assert small.name not in both.name


class TestRule:
    def test_several_small_kernels_are_compiled_whole_and_the_plan_says_why(self):
        lowered = memline.jit(steps, memory_limit="1GiB").lower(argument())
        assert lowered.plan.moves == (Compile({SMALL_LOOPS: 1 << 16}),)
        assert "small kernels a step" in lowered.plan.decisions[0].reason
        assert is_whole(lowered.compile())
        assert lowered.plan.compiles == 1
        assert_same(lowered.compile()(argument()), jax.jit(steps)(argument()), rtol=1e-4)

    def test_under_grad_and_vmap(self):
        def loss(x):
            return lax.scan(lambda x, _: (cell(x), x.sum()), x, None, length=40)[1].sum()

        for make in (jax.grad, lambda f: jax.vmap(jax.grad(f))):
            x = argument() if make is jax.grad else argument().reshape(4, 100)
            lowered = memline.jit(make(loss), memory_limit="1GiB").lower(x)
            assert is_whole(lowered.compile())
            assert_same(lowered.compile()(x), jax.jit(make(loss))(x), rtol=1e-4)

    def test_without_a_limit_the_program_is_compiled_as_jax_does(self):
        lowered = memline.jit(steps).lower(argument())
        assert lowered.plan.moves == ()
        assert not is_whole(lowered.compile())

    def test_the_plan_is_replayed_with_it(self):
        plan = memline.plan(steps, "1GiB")(argument())
        again = memline.jit(steps, plan=memline.Plan.from_json(plan.to_json())).lower(argument())
        assert again.plan.moves == plan.moves
        assert is_whole(again.compile())

    def test_the_users_own_setting_counts(self, monkeypatch):
        monkeypatch.setenv("XLA_FLAGS", f"--xla_backend_extra_options={SMALL_LOOPS}=0")
        assert memline.plan(steps, "1GiB")(argument()).moves == ()

    def test_tuning_may_take_it_back(self):
        plan = memline.plan(steps, "1GiB", options=memline.Options(tune_seconds=20))(argument())
        tried = {t.strategy for t in plan.tried}
        assert "XLA's defaults" in tried
        assert "small loops whole" not in tried
        assert len([move for move in plan.moves if isinstance(move, Compile)]) == 1

    @pytest.mark.slow
    def test_the_limit_holds_in_a_fresh_process(self):
        """Four thousand steps, whose tape takes tens of MiB, in loops that are one function each."""

        def loss(x):
            return (lax.scan(lambda x, _: (cell(x), None), x, None, length=4000)[0] ** 2).sum()

        compiled = memline.jit(jax.grad(loss), memory_limit="1GiB").lower(argument()).compile()
        assert is_whole(compiled)
        peak_bytes = compiled.plan.compiled_peak_bytes
        assert peak_bytes > 20 * 2**20
        assert compiled.measure(argument(), repeats=0).peak_bytes <= 1.05 * peak_bytes + 8 * 2**20


class TestCompile:
    @pytest.mark.parametrize("options", [{}, {"a": 1}, {"a": True, "b": "x,y=z"}, (("a", 1),), [["a", 1]]], ids=str)
    def test_survives_json(self, options):
        move = Compile(options)
        assert move_from_dict(json.loads(json.dumps(move_to_dict(move)))) == move
        assert hash(move) == hash(Compile(move.options))

    @pytest.mark.parametrize(
        "wrong", [3, "abc", None, [1], {"a": 1.5}, {"a": None}, {3: 1}, (("a", 1), ("a", 2)), {"a b": 1}]
    )
    def test_what_is_no_option(self, wrong):
        with pytest.raises(PlanError):
            Compile(wrong)


class TestTried:
    @pytest.mark.parametrize(
        "tried",
        [Tried("a", "no time"), Tried("a", "chosen", 0.5, 7, 100, "why"), Tried("as planned", "base", 1, 1, 0)],
        ids=str,
    )
    def test_records_survive(self, tried):
        assert Tried.from_dict(tried.to_dict()) == tried

    @pytest.mark.parametrize(
        "change",
        [
            {"verdict": "splendid"},
            {"seconds": -1},
            {"seconds": "x"},
            {"seconds": float("inf")},
            {"rounds": 1.5},
            {"rounds": -1},
            {"compiled_peak_bytes": True},
            {"strategy": 3},
            {"more": 1},
        ],
        ids=str,
    )
    def test_what_is_no_record(self, change):
        with pytest.raises(PlanError):
            Tried.from_dict({**Tried("a", "chosen", 0.5, 7, 100).to_dict(), **change})
        with pytest.raises(PlanError):
            Tried.from_dict(None)
