"""Plans: made without allocating, read as a page and as JSON, replayed, written by hand; and when none fits."""

import dataclasses
import json
import pickle
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import memline
from memline import Keep, Plan, PlanError, Recompute, SplitAxis
from memline.ir.graph import Loop
from memline.units import format_bytes
from tests.comparing import TIGHT, N, assert_same, kernel_sums, points


def shape(*sizes: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(sizes, jnp.float32)


def names(fun: Any, *args: Any) -> dict[str, str]:
    """The last value of each kind of op, by the names that moves use."""
    graph = memline.jit(fun).trace(*args).graph
    return {node.kind: node.outputs[0].name for node in graph.nodes}


class TestPlanning:
    def test_the_plan_says_what_was_done_and_why(self):
        plan = memline.plan(kernel_sums, TIGHT)(points())
        assert [type(move) for move in plan.moves] == [SplitAxis]
        assert "test_plan.py" not in plan.decisions[0].reason, "the value is made in comparing.py"
        assert "comparing.py" in plan.decisions[0].reason
        assert plan.decisions[0].saved_bytes > 900_000
        assert plan.limit_bytes == TIGHT
        assert plan.argument_bytes == plan.output_bytes == 4 * N
        assert plan.compiled_peak_bytes is not None
        assert plan.argument_bytes + plan.output_bytes < plan.compiled_peak_bytes <= TIGHT
        assert plan.floor_bytes == plan.compiled_peak_bytes
        assert plan.whole_peak_bytes is not None
        assert plan.whole_peak_bytes > 1_000_000
        assert 1 <= plan.compiles <= 4
        assert plan.planning_seconds >= 0
        assert plan.compile_seconds > 0
        assert plan.signature == (f"float32[{N}]",)

    def test_nothing_is_allocated(self):
        """The value in between would take four million tebibytes, and four tebibytes the arguments."""
        plan = memline.plan(lambda x: jnp.sin(x[:, None] * x[None, :]).sum(1), "9GiB")(shape(2**30))
        assert plan.moves
        plan = memline.plan(lambda x, w: jnp.tanh(x @ w).sum(), "4097GiB")(shape(2**30, 1024), shape(1024, 1024))
        assert plan.argument_bytes > 2**42
        assert plan.moves

    def test_an_axis_too_long_to_count_in_32_bits_is_not_cut(self):
        plan = memline.plan(lambda x: jnp.outer(x, jnp.arange(64.0)).sum(1), "40GiB")(shape(2**32))
        assert [move for move in plan.moves if isinstance(move, SplitAxis) and move.axis == 0] == []
        assert plan.moves

    def test_arrays_and_shapes_plan_alike(self):
        planned = memline.plan(kernel_sums, TIGHT)
        assert planned(points()).moves == planned(shape(N)).moves == planned(np.asarray(points())).moves

    def test_the_function_keeps_its_name(self):
        assert memline.plan(kernel_sums, TIGHT).__name__ == "kernel_sums"

    def test_settings_of_jit_are_taken(self):
        planned = memline.plan(lambda x, n: x * n, "1MiB", static_argnums=1, donate_argnums=0)
        assert planned(points(), 3).alias_bytes == 4 * N

    def test_options_reach_the_search(self):
        options = memline.Options(max_compiles=1)
        assert memline.plan(kernel_sums, TIGHT, options=options)(points()).compiles == 1
        with pytest.raises(memline.ArgumentError, match="max_compiles"):
            memline.Options(max_compiles=0)

    def test_a_program_that_fits_is_left_alone_when_asked(self):
        def fun(x):
            return jnp.tanh(x @ x.T).sum(1)

        options = memline.Options(split_for_speed=0)
        assert memline.plan(fun, "1GiB", options=options)(shape(4000, 8)).moves == ()

    def test_unknown_compile_options_of_memlines_own_are_skipped_and_told(self, monkeypatch):
        known = "xla_disable_hlo_passes"
        monkeypatch.setattr("memline.compiling.HONEST_CPU", {known: "dot-library-rewriter", "xla_cpu_of_tomorrow": ""})
        plan = memline.plan(kernel_sums, TIGHT)(points())
        assert any("xla_cpu_of_tomorrow" in note for note in plan.notes)
        assert not any(known in note for note in plan.notes)
        assert plan.moves


class TestPage:
    def test_a_plan_prints_as_a_readable_page(self):
        page = str(memline.plan(kernel_sums, TIGHT)(points()))
        assert page.startswith("memline plan\n")
        for word in ("limit", "97.66 KiB", "as written", "this plan", "floor", "compile", "SplitAxis", "comparing.py"):
            assert word in page
        assert max(map(len, page.splitlines())) < 200

    def test_a_plan_without_moves_says_so(self):
        page = str(memline.plan(kernel_sums)(points()))
        assert "no moves: the program is left as it is" in page
        assert "limit          none" in page

    def test_what_is_left_whole_is_on_it(self):
        def fun(x):
            table = jnp.exp(-((x[:, None] - x[None, :]) ** 2))
            drawn = jax.random.normal(jax.random.key(0, impl="rbg"), table.shape)
            return jax.lax.approx_max_k(drawn, 3)[0].sum(1) + table.sum(1)

        page = str(memline.plan(fun, "100MiB")(points()))
        assert "left whole" in page
        assert "random_bits (test_plan.py" in page
        assert "cannot be cut; up to 976.56 KiB whole" in page
        assert "has no rule" in page


class TestJson:
    @pytest.mark.parametrize("limit", [None, TIGHT])
    def test_round_trip(self, limit):
        plan = memline.plan(kernel_sums, limit)(points())
        assert Plan.from_json(plan.to_json()) == plan
        assert Plan.from_json(plan.to_json().encode()) == plan

    def test_of_moves_written_by_hand(self):
        plan = Plan.of(Keep("%3"), Recompute("%4"), SplitAxis("%5", axis=1, chunk=7))
        assert Plan.from_json(plan.to_json()) == plan
        assert plan.moves == (Keep("%3"), Recompute("%4"), SplitAxis("%5", 1, 7))

    @pytest.mark.parametrize("text", ["", "{", "[]", "3", "null", '{"a": 1}', b"\xff\xfe", None, 3])
    def test_what_is_no_plan(self, text):
        with pytest.raises(PlanError, match="not a plan"):
            Plan.from_json(text)

    @pytest.mark.parametrize(
        "change",
        [
            {"memline_plan": 999},
            {"extra": 1},
            {"limit_bytes": -1},
            {"limit_bytes": "1MiB"},
            {"argument_bytes": 1.5},
            {"argument_bytes": True},
            {"compile_seconds": "fast"},
            {"platform": 3},
            {"signature": "float32[3]"},
            {"notes": [3]},
            {"decisions": {}},
            {"decisions": [3]},
            {"decisions": [{"move": "SplitAxis"}]},
            {"decisions": [{"move": "Explode", "value": "%1", "reason": "", "saved_bytes": 0}]},
            {"decisions": [{"move": "Keep", "value": "%1", "axis": 0, "reason": "", "saved_bytes": 0}]},
            {"decisions": [{"move": "Keep", "value": "%1", "reason": 3, "saved_bytes": 0}]},
            {"decisions": [{"move": ["Keep"], "value": "%1", "reason": "", "saved_bytes": 0}]},
        ],
        ids=str,
    )
    def test_wrong_fields(self, change):
        data = {**json.loads(Plan().to_json()), **change}
        with pytest.raises(PlanError):
            Plan.from_json(json.dumps(data))

    @pytest.mark.parametrize("field", [f.name for f in dataclasses.fields(Plan)])
    def test_missing_fields(self, field):
        data = json.loads(Plan().to_json())
        del data[field]
        with pytest.raises(PlanError, match=field):
            Plan.from_json(json.dumps(data))

    @pytest.mark.parametrize("constant", ["NaN", "Infinity"])
    def test_numbers_that_are_none(self, constant):
        with pytest.raises(PlanError):
            Plan.from_json(Plan().to_json().replace('"planning_seconds": 0.0', f'"planning_seconds": {constant}'))


class TestReplay:
    def test_a_replayed_plan_gives_the_same_program(self):
        plan = memline.plan(kernel_sums, TIGHT)(points())
        again = memline.jit(kernel_sums, plan=Plan.from_json(plan.to_json()))
        assert np.array_equal(again(points()), memline.jit(kernel_sums, memory_limit=TIGHT)(points()))
        replayed = again.lower(points()).plan
        assert replayed.moves == plan.moves
        assert replayed.compiled_peak_bytes == plan.compiled_peak_bytes
        assert replayed.compiles == 1

    def test_a_plan_of_several_moves(self):
        def fun(x, y):
            kernels = [jnp.exp(-((a[:, None] - b[None, :]) ** 2)).sum() for a, b in ((x, x), (x, y), (y, y))]
            return sum(kernels)

        plan = memline.plan(fun, "200KiB")(points(), points())
        assert sum(isinstance(move, SplitAxis) for move in plan.moves) >= 3
        again = memline.jit(fun, plan=Plan.of(*plan.moves))
        assert again.lower(points(), points()).plan.compiled_peak_bytes == plan.compiled_peak_bytes
        assert_same(again(points(), points()), jax.jit(fun)(points(), points()))

    def test_a_plan_with_a_limit_is_held_to_it(self):
        moves = memline.plan(kernel_sums, TIGHT)(points()).moves
        assert memline.jit(kernel_sums, memory_limit=TIGHT, plan=Plan.of(*moves))(points()).shape == (N,)
        with pytest.raises(memline.MemoryLimitError):
            memline.jit(kernel_sums, memory_limit=TIGHT, plan=Plan())(points())

    def test_an_empty_plan_leaves_the_program_as_it_is(self):
        assert memline.jit(kernel_sums, plan=Plan()).lower(points()).plan.moves == ()


class TestByHand:
    def test_splits_along_either_axis_and_with_a_remainder(self):
        exp = names(kernel_sums, points())["exp"]
        for axis in (0, 1):
            for chunk in (1, 37, 250, N):
                bounded = memline.jit(kernel_sums, plan=Plan.of(SplitAxis(exp, axis=axis, chunk=chunk)))
                assert_same(bounded(points()), jax.jit(kernel_sums)(points()))
            peak = bounded.lower(points()).plan.compiled_peak_bytes
            assert peak > 1_000_000, "one chunk is the whole"

    def test_values_kept_between_stages(self):
        def shares(x):
            table = jnp.exp(x[:, None] * x[None, :])
            return jnp.tanh(table / table.sum(1, keepdims=True)).sum(0)

        named = names(shares, points())
        seed, kept = named["mul"], named["exp"]
        again = Plan.of(SplitAxis(seed, axis=1, chunk=50))
        keep = Plan.of(Keep(kept), SplitAxis(seed, axis=1, chunk=50))
        back = Plan.of(Keep(kept), Recompute(kept), SplitAxis(seed, axis=1, chunk=50))
        peaks = []
        for plan in (again, keep, back):
            bounded = memline.jit(shares, plan=plan)
            assert_same(bounded(points()), jax.jit(shares)(points()))
            peaks.append(bounded.lower(points()).plan.compiled_peak_bytes)
        assert peaks[0] == peaks[2]
        assert peaks[1] > peaks[0] + 900_000, "what is kept takes a megabyte"

    def test_splits_inside_a_split(self):
        exp = names(kernel_sums, points())["exp"]
        first = SplitAxis(exp, axis=0, chunk=60)
        inner = memline.jit(kernel_sums, plan=Plan.of(first)).lower(points()).compile().graph
        loop = next(node for node in inner.nodes if isinstance(node, Loop))
        name = next(node.outputs[0].name for node in loop.body.nodes if node.kind == "exp")
        bounded = memline.jit(kernel_sums, plan=Plan.of(first, SplitAxis(name, axis=1, chunk=90)))
        assert_same(bounded(points()), jax.jit(kernel_sums)(points()))
        assert bounded.lower(points()).plan.compiled_peak_bytes < 60 * 90 * 4 * 2 + 8 * N + 2000

    @pytest.mark.parametrize(
        ("move", "said"),
        [
            (SplitAxis("%999", 0, 5), "no value %999"),
            (SplitAxis("%0", 0, 5), "no value %0"),
            (SplitAxis("%{exp}", 2, 5), "has 2 axes"),
            (SplitAxis("%{exp}", 0, N + 1), f"at most {N}"),
            (SplitAxis("%{reduce_sum}", 1, 5), "has 1 axes"),
            (Keep("%{exp}"), "not followed by the SplitAxis"),
        ],
        ids=str,
    )
    def test_moves_that_do_not_apply(self, move, said):
        name = move.value.format_map(names(kernel_sums, points())).replace("%%", "%")
        move = dataclasses.replace(move, value=name)
        with pytest.raises(PlanError, match=said):
            memline.jit(kernel_sums, plan=Plan.of(move))(points())

    def test_keeping_what_no_stage_reads(self):
        named = names(kernel_sums, points())
        with pytest.raises(PlanError, match="no stage of"):
            memline.jit(kernel_sums, plan=Plan.of(Keep("%1"), SplitAxis(named["exp"], 0, 5)))(points())

    @pytest.mark.parametrize(
        "make",
        [
            lambda: SplitAxis("7", 0, 5),
            lambda: SplitAxis("%7", -1, 5),
            lambda: SplitAxis("%7", 0, 0),
            lambda: SplitAxis("%7", 0, 2.5),  # type: ignore[arg-type]
            lambda: SplitAxis("%7", True, 5),
            lambda: Keep(7),  # type: ignore[arg-type]
            lambda: Recompute(""),
        ],
    )
    def test_moves_that_mean_nothing(self, make):
        with pytest.raises(PlanError):
            make()

    def test_chunks_of_merged_axes_are_multiples_of_their_unit(self):
        def fun(x):
            return jnp.tanh(x[:, :, None] * jnp.arange(1.0, 6.0)).reshape(x.shape[0], -1).sum(1)

        seed = names(fun, shape(100, 4))["reshape"]
        plan = Plan.of(SplitAxis(seed, axis=1, chunk=5))
        x = jnp.ones((100, 4))
        assert_same(memline.jit(fun, plan=plan)(x), jax.jit(fun)(x))
        with pytest.raises(PlanError, match="multiple of 5"):
            memline.jit(fun, plan=Plan.of(SplitAxis(seed, axis=1, chunk=3)))(x)


def needs_a_square(x):
    table = jnp.exp(-((x[:, None] - x[None, :]) ** 2))  # the biggest value
    return jnp.linalg.cholesky(table + jnp.eye(len(x)))[-1]


class TestMemoryLimitError:
    def test_it_says_all_there_is_to_say(self):
        with pytest.raises(memline.MemoryLimitError) as caught:
            memline.jit(needs_a_square, memory_limit="500 kB")(points())
        error = caught.value
        assert error.limit_bytes == 500_000
        assert error.needed_bytes >= 4 * N * N
        assert error.floor_bytes is not None
        assert 4 * N * N <= error.floor_bytes <= error.needed_bytes
        assert f"float32[{N},{N}] ({format_bytes(4 * N * N)})" in error.largest
        lines = re.findall(r"test_plan\.py:(\d+) \(needs_a_square\)", error.largest)
        first = needs_a_square.__code__.co_firstlineno
        assert [first < int(line) <= first + 2 for line in lines] == [True]
        assert error.options[0] == f"raise the limit to {format_bytes(error.floor_bytes, up=True)}"
        assert len(error.options) == 1, "what it returns is small"
        text = str(error)
        assert f"short by {format_bytes(error.needed_bytes - 500_000)}" in text
        assert error.largest in text
        assert isinstance(pickle.loads(pickle.dumps(error)), memline.MemoryLimitError)

    @pytest.mark.parametrize("loop", ["scan", "while"])
    def test_what_a_loop_holds_is_to_be_made_inside_it(self, loop):
        def iterated(x):
            table = jnp.exp(-((x[:, None] - x[None, :]) ** 2))
            if loop == "scan":
                return jax.lax.scan(lambda v, _: (table @ v / N, None), x, None, length=9)[0]
            return jax.lax.while_loop(lambda v: v.sum() > 1, lambda v: table @ v / N, x)

        with pytest.raises(memline.MemoryLimitError) as caught:
            memline.jit(iterated, memory_limit=100_000)(points())
        _, way, *_ = caught.value.options
        first = iterated.__code__.co_firstlineno
        made = rf"make float32\[{N},{N}\] \(.*\) from (.*:{first + 1} .*)"
        assert re.match(rf"{made} inside the loop at (.*:\d+ .*) that reads it", way)
        assert way in str(caught.value)

        def inside(x):
            def step(v, _):
                return jnp.exp(-((x[:, None] - x[None, :]) ** 2)) @ v / N, None

            return jax.lax.scan(step, x, None, length=9)[0]

        if loop == "scan":  # as advised
            x = points()
            assert_same(memline.jit(inside, memory_limit=100_000)(x), jax.jit(iterated)(x), rtol=1e-4)

    def test_return_less_where_that_is_much(self):
        with pytest.raises(memline.MemoryLimitError) as caught:
            memline.jit(lambda x: jnp.outer(x, x), memory_limit=500_000)(points())
        assert caught.value.options[-1] == "return less"

    @pytest.mark.parametrize(("fun", "limit"), [(needs_a_square, 5_000), (kernel_sums, 4_010)])
    def test_raising_the_limit_to_the_floor_is_enough(self, fun, limit):
        with pytest.raises(memline.MemoryLimitError) as caught:
            memline.jit(fun, memory_limit=limit)(points())
        floor = caught.value.options[0].removeprefix("raise the limit to ")
        assert_same(memline.jit(fun, memory_limit=floor)(points()), jax.jit(fun)(points()), rtol=1e-4)

    def test_arguments_alone_are_too_big(self):
        with pytest.raises(memline.MemoryLimitError, match="arguments and results take by") as caught:
            memline.jit(jnp.sum, memory_limit=1000)(points())
        assert "argument leaf 0" in caught.value.largest
        assert caught.value.floor_bytes is None, "no plan was tried"

    def test_it_comes_before_anything_runs(self):
        ran = []

        def fun(x):
            jax.debug.callback(lambda: ran.append(1))
            return needs_a_square(x)

        bounded = memline.jit(fun, memory_limit="500 kB")
        with pytest.raises(memline.MemoryLimitError):
            bounded(points())
        with pytest.raises(memline.MemoryLimitError):
            bounded.lower(points())
        with pytest.raises(memline.MemoryLimitError):
            memline.plan(fun, "500 kB")(points())
        jax.effects_barrier()
        assert not ran

    def test_donating_is_a_way_out_where_it_is_one(self):
        def step(x):
            return x + kernel_sums(x)

        with pytest.raises(memline.MemoryLimitError) as caught:
            memline.jit(step, memory_limit=3_000)(points())
        assert any(option.startswith("donate argument leaf 0") for option in caught.value.options)


class TestPlainBelow:
    """`Options.plain_below`: what is far below the limit is not searched, and what is not is planned all the same."""

    def test_a_small_program_is_compiled_as_it_is(self):
        x = jnp.linspace(0.0, 1.0, 100)
        options = memline.Options(plain_below=1 / 16)
        bounded = memline.jit(kernel_sums, memory_limit="4MiB", options=options)
        plan = bounded.trace(x).plan()
        assert (plan.moves, plan.compiles, plan.limit_bytes) == ((), 1, 2**22)
        assert any("not searched" in note for note in plan.notes)
        np.testing.assert_array_equal(bounded(x), jax.jit(kernel_sums)(x))
        gradient = jax.grad(lambda x: bounded(x).sum())(x)
        np.testing.assert_allclose(gradient, jax.grad(lambda x: kernel_sums(x).sum())(x), rtol=1e-5)
        assert "memline" not in str(jax.make_jaxpr(bounded)(x))

    def test_the_same_function_is_planned_for_more(self):
        bounded = memline.jit(kernel_sums, memory_limit="4MiB", options=memline.Options(plain_below=1 / 16))
        bounded(jnp.linspace(0.0, 1.0, 100))
        plan = bounded.trace(jnp.linspace(0.0, 1.0, 2000)).plan()
        assert plan.moves
        assert plan.compiled_peak_bytes is not None
        assert plan.compiled_peak_bytes <= 2**22

    @pytest.mark.parametrize("share", [-0.1, 1.1, "much"])
    def test_a_share_is_from_0_to_1(self, share):
        with pytest.raises(memline.ArgumentError, match="plain_below is a share"):
            memline.Options(plain_below=share)
