"""Lifetimes: with arguments, results and scratch they add up to what each moment holds, whatever the program."""

import itertools

import jax
import jax.numpy as jnp
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from memline.analysis.fusion import CPU, GPU
from memline.analysis.peak import Peak, peak_of
from memline.ir.graph import Graph
from memline.ir.trace import trace
from memline.passes.split import split
from memline.plan.apply import region_of
from memline.planning import prepared_graph
from tests.drawing import Drawn, programs
from tests.drawing_loops import loop_programs
from tests.families import FAMILIES, normal


def assert_adds_up(peak: Peak) -> None:
    changes = [0] * (len(peak.moments) + 1)
    for life in peak.lives:
        changes[life.first] += life.size_bytes
        changes[life.last + 1] -= life.size_bytes
    held = peak.fixed_bytes
    for moment, change in zip(peak.moments, changes, strict=False):
        held += change
        assert held + moment.scratch_bytes == moment.total_bytes, moment.node


def prepared(fun, *args) -> Graph:
    return prepared_graph(jax.jit(fun).trace(*args).jaxpr, "cpu")


@pytest.mark.parametrize("name", FAMILIES)
def test_families_whole_and_split(name):
    family = FAMILIES[name]
    graph = trace(family.fun, *family.args(family.n))
    region = region_of(graph, max(graph.producer, key=lambda v: v.size_bytes), family.axis)
    assert region is not None
    for each in (graph, split(region, 32)):
        for fusion in (CPU, GPU):
            assert_adds_up(peak_of(each, fusion))


@settings(
    max_examples=30,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(st.one_of(programs(), loop_programs()))
def test_random_programs(drawn: Drawn):
    graph = prepared(drawn.fun, drawn.x, drawn.y)
    assert_adds_up(peak_of(graph, CPU))
    assert_adds_up(peak_of(graph, GPU))


def test_loops_and_branches_hold_what_is_around_them():
    def program(x):
        y = jnp.cumsum(x @ x.T, 0)
        z = jax.lax.while_loop(lambda c: c.sum() < 10, lambda c: jnp.sin(c @ c) + 1, y)
        z = jax.lax.cond(z.sum() > 0, lambda z: jnp.sort(z @ z, 0), lambda z: jnp.cos(z) @ z, z)
        return z @ y

    peak = peak_of(prepared(program, normal(60, 60)), CPU)
    assert_adds_up(peak)
    y = next(life for life in peak.lives if peak.moments[life.first].node.kind == "cumsum")
    inside = [index for index, moment in enumerate(peak.moments) if moment.around]
    assert y.first < min(inside)
    assert max(inside) < y.last


def test_a_result_written_over_an_operand_follows_it():
    peak = peak_of(prepared(lambda x: jnp.exp(jnp.sort(x)).cumsum().sum(), normal(1000)), CPU)
    assert_adds_up(peak)
    big = [life for life in peak.lives if life.size_bytes == 4000]
    assert len(big) == len({life.value for life in big}) > 1
    spans = sorted((life.first, life.last) for life in big)
    assert all(first > last for (_, last), (first, _) in itertools.pairwise(spans)), "one place for all"
