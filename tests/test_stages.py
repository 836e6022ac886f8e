"""The stages of a limited function are those of `jax.jit`, and know the plan."""

import jax
import jax.numpy as jnp
import pytest

import memline
from memline.ir.check import check
from memline.ir.graph import Loop
from tests.comparing import TIGHT, N, assert_same, kernel_sums, points

BOUNDED = memline.jit(kernel_sums, memory_limit=TIGHT)
SHAPE = jax.ShapeDtypeStruct((N,), jnp.float32)


def test_trace_shows_the_program_as_written():
    traced = BOUNDED.trace(SHAPE)
    check(traced.graph)
    assert [node.kind for node in traced.graph.nodes][-2:] == ["exp", "reduce_sum"]
    assert "test_stages" not in str(traced.graph)
    assert "comparing.py" in str(traced.graph)
    assert traced.jaxpr.in_avals[0].shape == (N,)
    assert traced.out_info.shape == (N,)


def test_tracing_plans_nothing():
    too_little = memline.jit(kernel_sums, memory_limit=10)
    assert too_little.trace(SHAPE).out_info.shape == (N,)
    assert too_little.eval_shape(SHAPE).shape == (N,)
    with pytest.raises(memline.MemoryLimitError):
        too_little.lower(SHAPE)


def test_the_plan_is_the_same_at_every_stage():
    lowered = BOUNDED.trace(SHAPE).lower()
    compiled = lowered.compile()
    assert compiled.plan is lowered.plan is BOUNDED.trace(SHAPE).plan()
    assert compiled.plan.moves


def test_a_lowered_program_has_its_text():
    text = BOUNDED.lower(SHAPE).as_text()
    assert "stablehlo.while" in text
    assert BOUNDED.lower(SHAPE).as_text(dialect="hlo").startswith("HloModule")
    assert BOUNDED.lower(SHAPE).out_info.shape == (N,)


def test_a_compiled_program_runs_and_answers():
    compiled = BOUNDED.lower(SHAPE).compile()
    assert_same(compiled(points()), jax.jit(kernel_sums)(points()))
    stats = compiled.memory_analysis()
    held = stats.argument_size_in_bytes + stats.output_size_in_bytes + stats.temp_size_in_bytes
    assert held == compiled.plan.compiled_peak_bytes
    assert compiled.cost_analysis()["flops"] > N
    assert "while" in compiled.as_text()
    assert compiled.in_tree == jax.jit(kernel_sums).lower(SHAPE).compile().in_tree
    with pytest.raises(AttributeError):
        _ = compiled.no_such_thing
    with pytest.raises(TypeError):
        compiled(points()[:3])


def test_the_graph_of_a_compiled_program_is_the_planned_one():
    graph = BOUNDED.lower(SHAPE).compile().graph
    check(graph)
    [loop] = [node for node in graph.nodes if isinstance(node, Loop)]
    assert loop.length == N


def test_static_and_keyword_arguments():
    def fun(x, n, *, shift):
        return kernel_sums(x) * n + shift

    bounded = memline.jit(fun, memory_limit=TIGHT, static_argnums=1)
    compiled = bounded.lower(SHAPE, 3, shift=1.0).compile()
    assert_same(compiled(points(), shift=2.0), jax.jit(lambda x: fun(x, 3, shift=2.0))(points()))
    assert_same(bounded(points(), 3, shift=2.0), compiled(points(), shift=2.0))


def test_measuring_runs_in_a_fresh_process():
    compiled = BOUNDED.lower(SHAPE).compile()
    found = compiled.measure(points(), repeats=1)
    assert found.peak_bytes <= 8 * 2**20
    assert len(found.times_s) == 1


def test_stages_say_which_arguments_are_wrong():
    with pytest.raises(memline.ArgumentError, match="argument 0 is not an array"):
        BOUNDED.trace("text")
    with pytest.raises(memline.ArgumentError, match="tree"):
        BOUNDED.lower(SHAPE).compile().measure(points(), points())


def test_a_sort_that_has_run_is_measured():
    compiled = memline.jit(lambda x: jnp.sort(x, axis=1)[:, 0], memory_limit="1GiB").lower(jnp.ones((64, 64))).compile()
    compiled(jnp.ones((64, 64)))
    assert compiled.measure(jnp.ones((64, 64)), repeats=0).peak_bytes >= 0
