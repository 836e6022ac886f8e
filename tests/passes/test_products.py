"""Products in the backend's order: which are swapped and turned, that results stay, and what it takes in memory."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax

import memline
from memline import Plan, PlanError, SplitAxis, TurnProducts
from memline.analysis.machine import CPU, GPU
from memline.analysis.products import product_of, product_seconds, turned_seconds
from memline.ir.check import check
from memline.ir.emit import evaluate
from memline.ir.graph import Graph, Loop, Op
from memline.ir.trace import trace
from memline.passes.products import orient_products, slow_products, turn_products
from memline.plan.apply import apply_moves
from memline.plan.moves import move_from_dict, move_to_dict
from tests.comparing import assert_same
from tests.families import normal

MIB = 2**20


def shape(*sizes: int, dtype: type = jnp.float32) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(sizes, dtype)


def layer(x, w, target):
    """The gradient of one dense layer's loss in its weights: `x.T @ g` and no other product of that order."""
    return jax.grad(lambda w: ((jnp.tanh(x @ w) - target) ** 2).sum())(w)


LAYER = (shape(4096, 512), shape(512, 512), shape(4096, 512))


def products(graph: Graph) -> list[Op]:
    return [node for node in graph.nodes if isinstance(node, Op) and node.kind == "dot_general"]


def kinds(graph: Graph) -> list[str]:
    return [node.kind for node in graph.nodes]


def split_layer(rows: int = 4096, chunk: int = 1024) -> Graph:
    graph = trace(layer, shape(rows, 512), shape(512, 512), shape(rows, 512))
    return apply_moves(graph, [SplitAxis(products(graph)[0].outputs[0].name, 0, chunk)])


def the_loop(graph: Graph) -> Loop:
    (loop,) = (node for node in graph.nodes if isinstance(node, Loop))
    return loop


def test_the_gradient_of_weights_is_turned_in_loops_and_nothing_else():
    graph = split_layer()
    names = slow_products(graph, CPU)
    assert len(names) == 1
    turned, found = turn_products(graph, frozenset(names))
    assert found == set(names)
    check(turned)
    body = the_loop(turned).body
    assert all(product_of(op).is_left_contracted_last for op in products(body))
    assert kinds(body).count("optimization_barrier") == 2
    assert kinds(the_loop(graph).body).count("optimization_barrier") == 0, "the graph given is as it was"
    assert slow_products(turned, CPU) == ()


def test_outside_loops_nothing_is_turned():
    assert slow_products(trace(layer, *LAYER), CPU) == ()


def test_where_every_order_is_equally_fast_nothing_changes():
    graph = split_layer()
    assert slow_products(graph, GPU) == ()
    whole = trace(layer, *LAYER)
    assert orient_products(whole, GPU) is whole


def test_a_remainder_is_turned_with_its_body():
    graph = split_layer(rows=4000)
    turned, _ = turn_products(graph, frozenset(slow_products(graph, CPU)))
    tail = the_loop(turned).tail
    assert tail is not None
    assert all(product_of(op).is_left_contracted_last for op in products(tail))


def test_the_small_operand_comes_first():
    """A tall left operand would be the dearer one to write anew."""
    graph = trace(lambda x, y: lax.dot_general(x, y, (((0,), (0,)), ((), ()))), shape(512, 8192), shape(512, 64))
    (product,) = products(orient_products(graph, CPU))
    assert [v.shape for v in product.inputs] == [(512, 64), (512, 8192)]


def test_a_result_that_is_transposed_anyway_is_not_transposed_twice():
    graph = orient_products(trace(lambda x, g: (g.T @ x).T, shape(8192, 64), shape(8192, 4096)), CPU)
    (product,) = products(graph)
    assert product.inputs[0].shape == (8192, 64)


@pytest.mark.parametrize("rows", [8, 100, 1000])
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64, jnp.bfloat16])
def test_estimates_are_of_the_same_work(rows, dtype):
    with jax.enable_x64(True):
        left, right = shape(256, rows, dtype=dtype), shape(256, 32, dtype=dtype)
        graph = trace(lambda x, y: lax.dot_general(x, y, (((0,), (0,)), ((), ()))), left, right)
        product = product_of(products(graph)[0])
    assert (product.rows, product.columns, product.inner) == (rows, 32, 256)
    assert product.flops == 2 * rows * 32 * 256
    assert product.left_bytes == 256 * rows * jnp.dtype(dtype).itemsize
    assert product_seconds(product.turned(), CPU) < product_seconds(product, CPU)
    assert turned_seconds(product, CPU) > product_seconds(product.turned(), CPU)
    assert product.swapped(True).flops == product.flops


@settings(max_examples=25, deadline=None)
@given(
    batch=st.sampled_from([(), (3,), (2, 2)]),
    sizes=st.tuples(*[st.integers(1, 70)] * 3),
    right_last=st.booleans(),
    back=st.booleans(),
)
def test_swapped_and_turned_products_are_the_same_products(batch, sizes, right_last, back):
    rows, columns, inner = sizes
    k = len(batch)
    x = normal(*batch, inner, rows, seed=1)
    y = normal(*batch, *((columns, inner) if right_last else (inner, columns)), seed=2)
    numbers = (((k,), (k + right_last,)), (tuple(range(k)), tuple(range(k))))

    def fun(x, y):
        product = lax.dot_general(x, y, numbers)
        return jnp.swapaxes(product, -1, -2) if back else product

    graph = trace(fun, x, y)
    expected = fun(x, y)
    fast = orient_products(graph, CPU)
    check(fast)
    np.testing.assert_allclose(evaluate(fast, [x, y])[0], expected, rtol=1e-4, atol=1e-4)
    turned, found = turn_products(graph, frozenset(op.outputs[0].name for op in products(graph)))
    check(turned)
    assert len(found) == 1
    np.testing.assert_allclose(evaluate(turned, [x, y])[0], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("transform", ["jit", "grad", "vmap"])
def test_results_are_those_of_plain_jax(transform):
    x, w, target = normal(2000, 512, seed=1), 0.05 * normal(512, 512, seed=2), normal(2000, 512, seed=3)
    fun = memline.limit(layer, 22 * MIB)
    if transform == "jit":
        assert_same(jax.jit(fun)(x, w, target), layer(x, w, target), rtol=1e-4)
    elif transform == "grad":
        found = jax.grad(lambda w: jnp.sin(fun(x, w, target)).sum())(w)
        assert_same(found, jax.grad(lambda w: jnp.sin(layer(x, w, target)).sum())(w), rtol=1e-4)
    else:
        many = jnp.stack([w, 2 * w])
        assert_same(
            jax.vmap(lambda w: fun(x, w, target))(many), jax.vmap(lambda w: layer(x, w, target))(many), rtol=1e-4
        )


def test_the_plan_says_so_and_is_replayed():
    x, w, target = normal(16_384, 512, seed=1), 0.05 * normal(512, 512, seed=2), normal(16_384, 512, seed=3)
    compiled = memline.jit(layer, memory_limit="84MiB").lower(x, w, target).compile()
    (decision,) = (d for d in compiled.plan.decisions if isinstance(d.move, TurnProducts))
    assert "transposed" in decision.reason
    again = memline.jit(layer, plan=Plan.from_json(compiled.plan.to_json())).lower(x, w, target).compile()
    assert again.plan.moves == compiled.plan.moves
    assert again.plan.compiled_peak_bytes == compiled.plan.compiled_peak_bytes
    assert_same(again(x, w, target), layer(x, w, target), rtol=1e-4)


@pytest.mark.slow
def test_growth_stays_under_the_limit_less_the_arguments():
    args = normal(40_000, 512, seed=1), 0.05 * normal(512, 512, seed=2), normal(40_000, 512, seed=3)
    held = sum(x.nbytes for x in args)
    compiled = memline.jit(layer, memory_limit=held + 24 * MIB).lower(*args).compile()
    assert any(isinstance(move, TurnProducts) for move in compiled.plan.moves)
    assert compiled.measure(*args, repeats=0).peak_bytes <= 1.05 * 24 * MIB + 8 * MIB


def test_moves_are_written_and_read():
    move = TurnProducts(("%7", "%9@0"))
    assert move_from_dict(move_to_dict(move)) == move


@pytest.mark.parametrize("values", [(), "%7", ("7",), (3,), None])
def test_moves_that_name_nothing_are_refused(values):
    with pytest.raises(PlanError, match="TurnProducts"):
        TurnProducts(values)


def test_a_product_that_lies_well_cannot_be_turned():
    graph = trace(lambda x, y: x @ y, shape(8, 8), shape(8, 8))
    with pytest.raises(PlanError, match="no matrix product %2"):
        apply_moves(graph, [TurnProducts(("%2",))])
