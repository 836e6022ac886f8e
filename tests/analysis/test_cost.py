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
from memline.ir.trace import from_jaxpr, trace
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


class TestLoopsAndRows:
    """What was measured of XLA:CPU's loops and rows; see `analysis.machine`."""

    @staticmethod
    def per_step(body: Callable[[Any], Any], *sizes: int, steps: int = 10_000) -> float:
        def fun(x):
            return jax.lax.scan(lambda c, _: (body(c), None), x, None, length=steps)[0]

        return seconds_of(from_jaxpr(jax.make_jaxpr(fun)(shape(*sizes)), open_bodies=True)) / steps

    def test_a_step_of_a_tiny_loop_takes_nanoseconds(self):
        assert self.per_step(lambda c: jnp.cumsum(c) * 0.5, 8) < 1e-7

    def test_a_loop_of_small_kernels_calls_them_unless_it_is_compiled_whole(self):
        def chain(count):
            def body(c):
                for _ in range(count):
                    c = jnp.cumsum(c) * 0.5
                return c

            return body

        called, whole = (self.per_step(chain(count), 512) for count in (1, 4))
        assert called > machine.CPU.kernel_s + machine.CPU.loop_s
        assert whole < 4 * called - 3 * machine.CPU.kernel_s

    @pytest.mark.parametrize(("length", "ragged"), [(128, 100), (64, 63), (16, 15)])
    def test_rows_that_vectors_do_not_fill_take_longer(self, length, ragged):
        whole = self.per_step(jnp.exp, 1000, length) / length
        assert self.per_step(jnp.exp, 1000, ragged) / ragged > 1.2 * whole

    @pytest.mark.parametrize("columns", [256, 512, 2048])
    def test_columns_of_rows_that_begin_in_the_same_places_of_a_cache_take_longer(self, columns):
        def read_by_columns(x):
            return jnp.sin(x.T).T + 1

        aligned, other = (self.per_step(read_by_columns, 2000, n) / n for n in (2 * columns, 2 * columns + 8))
        assert aligned > 1.2 * other
        as_rows = (self.per_step(lambda x: jnp.sin(x) + 1, 2000, n) / n for n in (2 * columns, 2 * columns + 8))
        assert next(as_rows) < 1.2 * next(as_rows)

    def test_a_product_over_one_element_costs_as_much_as_a_multiplication(self):
        multiplied = seconds(lambda x, y: x * y.T, shape(500, 1), shape(500, 1))
        assert seconds(product, shape(500, 1), shape(1, 500)) == pytest.approx(multiplied, rel=0.05)

    def test_a_product_with_a_vector_is_slower_than_its_share_of_one_with_a_matrix(self):
        with_vector, with_matrix = (seconds(product, shape(512, 512), shape(512, n)) for n in (1, 512))
        assert with_vector > with_matrix / 128

    def test_slices_of_an_array_that_no_cache_holds_come_from_memory(self):
        def per_element(rows):
            def fun(xs):
                return jax.lax.scan(lambda c, x: (c + x, None), jnp.zeros(1024), xs)[0]

            return seconds_of(from_jaxpr(jax.make_jaxpr(fun)(shape(rows, 1024)), open_bodies=True)) / rows

        assert per_element(1 << 16) > 1.5 * per_element(1 << 7)
