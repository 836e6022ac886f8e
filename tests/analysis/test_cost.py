"""Estimates of time rank programs the way machines do: more work, more traffic and more trips cost more."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import pytest

from memline.analysis import cost, machine
from memline.analysis.fusion import CPU, GPU, model_for
from memline.analysis.keep import keep_order
from memline.analysis.peak import peak_of
from memline.ir.graph import Graph
from memline.ir.text import node_name
from memline.ir.trace import trace
from memline.passes.split import split
from memline.plan.apply import region_of


def shape(*sizes: int, dtype: Any = jnp.float32) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(sizes, dtype)


def seconds_of(graph: Graph, platform: str = "cpu") -> float:
    fusion = model_for(platform)
    return cost.seconds(graph, peak_of(graph, fusion), fusion, machine.machine_for(platform))


def seconds(fun: Callable[..., Any], *args: Any, platform: str = "cpu") -> float:
    return seconds_of(trace(fun, *args), platform)


def product(x: Any, y: Any) -> Any:
    return x @ y


@pytest.mark.parametrize("platform", ["cpu", "gpu"])
class TestMonotone:
    def test_in_size(self, platform):
        times = [seconds(product, shape(n, n), shape(n, n), platform=platform) for n in (64, 256, 1024, 4096)]
        assert times == sorted(times)
        assert times[-1] > 30 * times[-2]

    def test_in_the_number_of_ops(self, platform):
        def deep(count):
            def fun(x):
                for _ in range(count):
                    x = jnp.tanh(x @ x)
                return x

            return fun

        times = [seconds(deep(count), shape(200, 200), platform=platform) for count in (1, 2, 4, 8)]
        assert times == sorted(times)
        assert times[-1] > 2 * times[0]

    def test_costly_functions_cost_more(self, platform):
        cheap, dear = (seconds(f, shape(1000, 1000), platform=platform) for f in (jnp.abs, jax.scipy.special.gammaln))
        assert cheap <= dear

    def test_wide_types_cost_more(self, platform):
        with jax.enable_x64(True):
            args = [[shape(999, 999, dtype=dtype)] * 2 for dtype in (jnp.float32, jnp.float64)]
            single, double = (seconds(product, *pair, platform=platform) for pair in args)
        assert single < double


def kernel_sums(x: Any) -> Any:
    return jnp.exp(-((x[:, None] - x) ** 2)).sum(1)


class TestSplitting:
    def test_very_small_chunks_cost_launches(self):
        graph = trace(kernel_sums, shape(1000))
        region = region_of(graph, max(graph.producer, key=lambda v: v.size_bytes), 0)
        assert region is not None
        one_by_one, sensible = (seconds_of(split(region, chunk)) for chunk in (1, 50))
        assert sensible < one_by_one

    def test_chunks_that_fit_a_cache_beat_a_value_that_does_not(self):
        graph = trace(kernel_sums, shape(10_000))
        region = region_of(graph, max(graph.producer, key=lambda v: v.size_bytes), 0)
        assert region is not None
        assert seconds_of(split(region, 20)) < seconds_of(graph)

    def test_a_tail_costs_no_more_than_a_whole_chunk(self):
        graph = trace(kernel_sums, shape(1000))
        region = region_of(graph, max(graph.producer, key=lambda v: v.size_bytes), 0)
        assert region is not None
        with_tail, without = (seconds_of(split(region, chunk)) for chunk in (499, 500))
        assert with_tail < 1.6 * without


class TestKeeping:
    def test_what_is_dear_to_compute_again_comes_first(self):
        def fun(x, w):
            h = jnp.cos(x @ w)
            y = jnp.tanh(h / h.sum(0))
            return jnp.tanh(y / y.sum(0)).sum(0)

        graph = trace(fun, shape(5000, 500), shape(500, 64))
        region = region_of(graph, max(graph.producer, key=lambda v: v.size_bytes), 0)
        assert region is not None
        assert region.stages == 3
        order = keep_order(region, CPU, machine.CPU)
        assert graph.producer[order[0]].kind in ("cos", "dot_general")
        assert set(order) <= set(region.crossing)

    def test_what_is_cheap_is_not_kept(self):
        def fun(x):
            h = x + 1
            return (h / h.sum(0)).max(0)

        graph = trace(fun, shape(5000, 500))
        region = region_of(graph, graph.nodes[0].outputs[0], 0)
        assert region is not None
        assert region.crossing
        assert keep_order(region, GPU, machine.GPU) == []


def test_names_of_nodes_say_where_they_were_written():
    graph = trace(kernel_sums, shape(10))
    assert node_name(graph.nodes[-1]).startswith("reduce_sum (test_cost.py:")
