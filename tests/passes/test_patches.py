"""Convolutions over images smaller than their kernels: which become products, that results stay, and in what memory."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax

import memline
from memline.ir.check import check
from memline.ir.emit import evaluate
from memline.ir.graph import Graph, Op
from memline.ir.scopes import loop_bodies
from memline.ir.trace import from_jaxpr, trace
from memline.passes.canonical import canonical_convolutions
from memline.passes.patches import patched_convolutions
from tests.comparing import assert_same
from tests.families import normal

NHWC = ("NHWC", "HWIO", "NHWC")


def kinds(graph: Graph) -> list[str]:
    return [node.kind for scope in (graph, *loop_bodies(graph)) for node in scope.nodes]


def convolve(x, k, **params):
    given = {"window_strides": (1, 1), "padding": "SAME", "dimension_numbers": NHWC, **params}
    return lax.conv_general_dilated(x, k, **given)


@settings(max_examples=15, deadline=None)
@given(
    image=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    kernel=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    strides=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    padding=st.tuples(*[st.tuples(st.integers(-1, 3), st.integers(0, 3))] * 2),
    spread=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    apart=st.tuples(st.integers(1, 2), st.integers(1, 2)),
)
def test_products_of_patches_are_the_convolution(image, kernel, strides, padding, spread, apart):
    x, k = normal(3, *image, 5), normal(*kernel, 5, 2, seed=1)

    def fun(x, k):
        given = {"padding": padding, "lhs_dilation": spread, "rhs_dilation": apart}
        return convolve(x, k, window_strides=strides, **given)

    graph = trace(fun, x, k)
    patched = patched_convolutions(graph)
    check(patched)
    places, taps = int(np.prod(image)), int(np.prod(kernel))
    assert ("conv_general_dilated" not in kinds(patched)) == (1 < places < taps and graph.outputs[0].size_bytes > 0)
    [found] = evaluate(patched, [x, k])
    np.testing.assert_allclose(found, fun(x, k), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "params",
    [
        {"feature_group_count": 4},
        {"batch_group_count": 2},
        {"preferred_element_type": jnp.float32},
    ],
)
def test_groups_stay_and_types_are_kept(params):
    groups = params.get("feature_group_count", 1)
    x, k = normal(4, 2, 2, 8).astype(jnp.bfloat16), normal(3, 3, 8 // groups, 8).astype(jnp.bfloat16)
    graph = trace(lambda x, k: convolve(x, k, **params), x, k)
    patched = patched_convolutions(graph)
    assert (patched is graph) == ("preferred_element_type" not in params)
    assert evaluate(patched, [x, k])[0].dtype == graph.outputs[0].dtype


def network(x, weights):
    """Layers of a deep network over 2 x 2 images."""
    for k in weights:
        x = jax.nn.relu(convolve(x, k)) + x
    return (x**2).mean()


def test_a_gradient_has_none_left_and_runs_inside_its_limit():
    weights = [normal(3, 3, 16, 16, seed=s) * 0.1 for s in range(3)]
    x = normal(2000, 2, 2, 16)
    gradient = jax.value_and_grad(network, argnums=1)
    plain = jax.jit(gradient).lower(x, weights).compile()
    memory = plain.memory_analysis()
    assert memory is not None
    fixed_bytes = memory.argument_size_in_bytes + memory.output_size_in_bytes
    limited = memline.jit(gradient, memory_limit=fixed_bytes + memory.temp_size_in_bytes // 4)
    compiled = limited.lower(x, weights).compile()
    assert compiled.plan.moves
    assert "rhs_reversal" in str(plain.as_text())
    assert "rhs_reversal" not in str(compiled.as_text())
    assert_same(limited(x, weights), gradient(x, weights), rtol=1e-4)
    assert compiled.measure(x, weights, repeats=0).peak_bytes <= fixed_bytes + memory.temp_size_in_bytes // 4 + (
        1 << 19
    )


def test_under_transformations():
    weights, x = [normal(3, 3, 8, 8) * 0.1], normal(3, 600, 2, 2, 8)
    limited = memline.jit(network, memory_limit="500KiB")
    assert_same(jax.jit(limited)(x[0], weights), network(x[0], weights))
    assert_same(jax.vmap(limited, (0, None))(x, weights), jax.vmap(network, (0, None))(x, weights))
    assert_same(jax.grad(limited)(x[0], weights), jax.grad(network)(x[0], weights))


def test_convolutions_in_loops_are_in_order_and_patched_too():
    k = normal(3, 3, 4, 4)

    def fun(x):
        def step(x, _):
            return convolve(x, k) + convolve(x.T, k, dimension_numbers=("CWHN", "HWIO", "CWHN")).T, None

        return lax.scan(step, x, None, 3)[0]

    for size, left in ((2, 0), (5, 2)):
        x = normal(6, size, size, 4)
        graph = from_jaxpr(jax.make_jaxpr(fun)(x), open_bodies=True)
        made = patched_convolutions(canonical_convolutions(graph))
        check(made)
        assert kinds(made).count("conv_general_dilated") == left
        orders = {
            tuple(node.params["dimension_numbers"].lhs_spec)
            for body in loop_bodies(made)
            for node in body.nodes
            if isinstance(node, Op) and node.kind == "conv_general_dilated"
        }
        assert orders <= {(0, 3, 1, 2)}
        np.testing.assert_allclose(evaluate(made, [x])[0], fun(x), rtol=1e-4, atol=1e-5)
