"""What is compared with a selection of itself is stored, not computed again: its bits decide."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import memline
from memline.analysis.axes import Region, grow_region
from memline.analysis.compared import asked_again, compared_later
from memline.ir.graph import Graph, Value
from memline.ir.trace import trace

N, M = 300, 280


def numbers(size: int, seed: int) -> Any:
    return jnp.asarray(np.random.default_rng(seed).normal(size=size), jnp.float32)


def table(x: Any, y: Any) -> Any:
    """Elements whose last bits depend on which multiplications a compiler joins with additions."""
    a = x[:, None] * y
    b = x[:, None] + y
    c = a / (1 + jnp.abs(b))
    d = jnp.log1p(c * c) * a
    e = jnp.sin(d) * 1.3 - c
    return jax.nn.gelu(e) - d * 0.1


def both_extremes(x: Any, y: Any) -> Any:
    values = table(x, y)
    return (values.max(1) ** 2).sum() + (values.max(0) ** 2).sum() + (values.min(0) * jnp.sin(y)).sum()


def weighed_correlations(x: Any, y: Any) -> Any:
    """A sum of clipped numbers, of which those on the diagonal are one but for rounding."""
    return (jnp.corrcoef(jnp.sin(7 * x[:, None] + y)) * jnp.cos(jnp.arange(x.size))).sum()


def clipped_in(graph: Graph) -> Value:
    return next(node for node in graph.nodes if node.kind == "max").outputs[0]


def region_of(fun: Any, axis: int) -> Region:
    graph = trace(fun, *(jax.ShapeDtypeStruct((size,), jnp.float32) for size in (N, M)))
    seed = next(v for v in graph.values() if v.shape == (N, M))
    region = grow_region(graph, seed, axis, 4 * N)
    assert region is not None
    return region


def compared(fun: Any, axis: int) -> set[str]:
    """Returns the kinds of the ops whose results are stored for being compared."""
    region = region_of(fun, axis)
    found = set(compared_later(region))
    assert found <= region.escapes
    return {region.graph.producer[v].kind for v in found}


class TestWhatIsStored:
    @pytest.mark.parametrize("fold", [jnp.max, jnp.min])
    def test_the_operand_of_an_extreme_that_has_a_gradient(self, fold):
        gradient = jax.grad(lambda x, y: fold(jnp.sin(x[:, None] * y), axis=1).sum())
        assert compared(gradient, 1) == {"sin"}
        assert compared(gradient, 0) == set()  # there each piece has its own extreme

    def test_what_a_mask_of_the_largest_is_taken_of(self):
        def masked(x, y):
            values = jnp.exp(x[:, None] - y)
            least = lax.top_k(values, 5)[0][:, -1:]
            return jnp.where(values >= least, values, 0.0).sum(0)

        assert compared(masked, 1) == {"exp"}
        assert compared(masked, 0) == set()

    def test_not_what_is_compared_with_something_else(self):
        def fun(x, y):
            values = jnp.exp(x[:, None] - y)
            means = values.mean(1, keepdims=True)
            return jnp.where(values > means, values, 0.0).sum(0) + (jnp.round(values).astype(int) == 3).sum(0)

        assert compared(fun, 1) == set()

    def test_the_answers_that_several_loops_need(self):
        graph = trace(jax.grad(weighed_correlations, (0, 1)), numbers(37, 1), numbers(18, 2))
        region = grow_region(graph, clipped_in(graph), 0, 0)
        assert region is not None
        answers = set(asked_again(region, frozenset()))
        assert len(answers) == 4  # is it the larger, is the bound; is it the smaller, is the bound
        assert {v.dtype for v in answers} == {np.dtype(bool)}
        assert answers <= region.escapes

    def test_not_the_answers_that_one_loop_needs(self):
        region = region_of(jax.grad(lambda x, y: (jnp.clip(x[:, None] * y, 0, 1).sum(1) ** 2).sum()), 1)
        assert region.stages > 1
        assert not set(asked_again(region, frozenset()))

    def test_not_a_softmax(self):
        assert compared(jax.grad(lambda x, y: (jax.nn.softmax(x[:, None] * y) ** 2).sum()), 1) == set()


class TestResults:
    @pytest.mark.parametrize("axis", [0, 1])
    def test_the_gradient_of_extremes_along_both_axes(self, axis):
        """Of elements computed again a few in a hundred were no maximum any more, and their gradient was lost."""
        gradient = jax.grad(both_extremes, (0, 1))
        plain = jax.jit(gradient)
        traced = memline.jit(gradient).trace(numbers(N, 0), numbers(M, 0))
        seed = next(v for v in traced.graph.values() if v.shape == (N, M))
        split = memline.jit(gradient, plan=memline.Plan.of(memline.SplitAxis(seed.name, axis, 3)))
        for k in range(4):
            x, y = numbers(N, k), numbers(M, 100 + k)
            for a, b in zip(split(x, y), plain(x, y), strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4 * float(jnp.abs(b).max()))

    def test_the_gradient_of_a_clipping_whose_elements_lie_on_the_bound(self):
        """A correlation of one is rounded up here and down there: what one loop adds, another is to take away."""
        gradient = jax.grad(weighed_correlations, (0, 1))
        x, y = numbers(37, 1), numbers(18, 2)
        clipped = clipped_in(memline.jit(gradient).trace(x, y).graph)
        plain = jax.jit(gradient)(x, y)
        for axis in (0, 1):
            split = memline.jit(gradient, plan=memline.Plan.of(memline.SplitAxis(clipped.name, axis, 1)))
            for a, b in zip(split(x, y), plain, strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3 * float(jnp.abs(b).max()))
