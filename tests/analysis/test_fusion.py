"""Which values the fusion model gives a buffer, and in which order it runs kernels; `test_peak` holds it to XLA."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from memline.analysis.fusion import CPU, GPU, FusionModel, is_read_transposed, is_view, model_for
from memline.analysis.schedule import run_order
from memline.ir.graph import Graph
from memline.ir.trace import trace


def shape(*sizes: int) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(sizes, jnp.float32)


def made(model: FusionModel, fun: Callable[..., Any], *args: Any) -> list[str]:
    """The kinds of op whose results get a buffer, results of the program not counted."""
    graph = trace(fun, *args)
    buffers = model.materialised(graph) - set(graph.outputs)
    return [node.kind for node in graph.nodes if not buffers.isdisjoint(node.outputs)]


SQUARE = shape(99, 99)


@pytest.mark.parametrize(
    ("fun", "on_cpu"),
    [
        (lambda x: jnp.exp(x * 2 + 1), []),
        (lambda x: jnp.exp(x * 2).sum(0), ["exp"]),
        (lambda x: jnp.exp(x.reshape(-1, 3)).sum(1) * 2, []),
        (lambda x: jnp.exp(x) @ x, ["exp"]),
        (lambda x: jnp.exp(x @ x) + 1, ["dot_general"]),
        (lambda x: (lambda y: (y * 2, y + x))(jnp.exp(x)), ["exp"]),
        (lambda x: (lambda y: (y * 2, y - x))(x + 1), []),
        (lambda x: jnp.concatenate([x + 1, x * 2]).T * 3, ["add", "mul", "concatenate"]),
        (lambda x: jnp.sort(x + 1)[0] * 2, ["add", "sort"]),
        (lambda x: jnp.argmax(x + 1, 0) * 2, ["argmax"]),
        (lambda x: jnp.cumsum(x + 1, 0) * 2, ["cumsum"]),
        (lambda x: lax.dot_general(x[0], x[1], (((), ()), ((), ()))) * 2, []),
        (lambda x: (x + 1).T @ x, ["add", "transpose"]),
        (lambda x: lax.optimization_barrier(x + 1) * 2, ["add", "optimization_barrier"]),
    ],
)
def test_what_gets_a_buffer(fun, on_cpu):
    assert made(CPU, fun, SQUARE) == on_cpu


def test_a_gpu_computes_operands_of_reductions_inside_them():
    assert made(GPU, lambda x: jnp.exp(x * 2).sum(0), SQUARE) == []
    assert made(GPU, lambda x: jnp.exp(x * 2) @ x, SQUARE) == ["exp"]
    assert (model_for("cpu"), model_for("gpu"), model_for("tpu")) == (CPU, GPU, GPU)


def node_of(graph: Graph, kind: str) -> Any:
    return next(node for node in graph.nodes if node.kind == kind)


def test_views():
    graph = trace(lambda x: (x.reshape(-1), x[None], x.T, jnp.broadcast_to(x, (2, 99, 99))), SQUARE)
    assert [is_view(node) for node in graph.nodes] == [True, True, False, False]
    column = trace(lambda x: x.T, shape(1, 99))
    assert is_view(column.nodes[0])


def test_transpositions_that_readers_see_through():
    graph = trace(lambda x: x.T @ x, SQUARE)
    assert is_read_transposed(graph, node_of(graph, "transpose"))
    for fun in (lambda x: jnp.exp(x.T) @ x, lambda x: (x.T, x.T @ x), lambda x: x.T[::-1] @ x):
        graph = trace(fun, SQUARE)
        assert not is_read_transposed(graph, node_of(graph, "transpose"))


def order(model: FusionModel, fun: Callable[..., Any], *args: Any) -> list[str]:
    graph = trace(fun, *args)
    nodes = run_order(graph, model, model.materialised(graph))
    assert set(nodes) == set(graph.nodes)
    place = {node: index for index, node in enumerate(nodes)}
    assert all(place[graph.producer[v]] < place[n] for n in nodes for v in n.inputs if v in graph.producer)
    return [node.kind for node in nodes if node.kind in ("exp", "sin", "reduce_sum", "dot_general", "iota")]


class TestOrder:
    def test_a_cpu_runs_what_is_ready(self):
        def fun(x):
            return jnp.exp(x).sum() + jnp.sin(x).sum()

        assert order(CPU, fun, SQUARE) == ["exp", "sin", "reduce_sum", "reduce_sum"]
        assert order(GPU, fun, SQUARE) == ["exp", "reduce_sum", "sin", "reduce_sum"]

    def test_what_needs_nothing_comes_first(self):
        def fun(x):
            return jnp.exp(x @ x) @ lax.broadcasted_iota(jnp.float32, (99, 99), 0)

        assert order(CPU, fun, SQUARE) == ["dot_general", "iota", "exp", "dot_general"]

    def test_what_is_computed_inside_a_kernel_comes_just_before_it(self):
        def fun(x):
            return (jnp.exp(x) + jnp.cumsum(x @ x, 0)) @ x

        assert order(CPU, fun, SQUARE) == ["dot_general", "exp", "dot_general"]
        assert order(GPU, lambda x: (jnp.exp(x) + x @ x) @ x, SQUARE)[0] == "exp"

    def test_side_effects_and_results_without_kernels_keep_a_place(self):
        def fun(x):
            jax.debug.callback(lambda _: None, x[0, 0])
            return x.reshape(-1), jnp.exp(x)

        assert order(CPU, fun, SQUARE) == ["exp"]
