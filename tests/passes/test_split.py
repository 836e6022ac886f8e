"""Splitting: the graphs it makes are legal, compute what the program computes, and compile to less memory."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from memline.analysis.axes import Region
from memline.ir.check import check
from memline.ir.emit import evaluate
from memline.ir.graph import Graph, Loop, Value
from memline.ir.trace import trace
from memline.passes.split import split
from memline.plan.apply import region_of
from memline.verify.compiled import compiled_peak
from tests.comparing import assert_same
from tests.families import FAMILIES, normal, whole_numbers

QUICK = {"xla_backend_optimization_level": 0}
# Library calls hide their memory from the compiler's account.
HONEST = {"xla_cpu_experimental_ynn_fusion_type": "", "xla_disable_hlo_passes": "dot-library-rewriter"}


def biggest(graph: Graph) -> Value:
    return max(graph.producer, key=lambda v: v.size_bytes)


def region_at(graph: Graph, seed: Value, axis: int) -> Region:
    region = region_of(graph, seed, axis)
    assert region is not None
    return region


def loops(graph: Graph) -> list[Loop]:
    return [node for node in graph.nodes if isinstance(node, Loop)]


def as_function(graph: Graph) -> Any:
    return lambda *args: tuple(evaluate(graph, jax.tree.leaves(args)))


def leaves_of(fun: Any) -> Any:
    return lambda *args: tuple(jnp.asarray(x) for x in jax.tree.leaves(fun(*args)))


@functools.cache
def case(name: str) -> tuple[Any, Graph, Region]:
    family = FAMILIES[name]
    args = family.args(family.n)
    graph = trace(family.fun, *args)
    return args, graph, region_at(graph, biggest(graph), family.axis)


@pytest.mark.parametrize("name", FAMILIES)
class TestEveryFamily:
    def test_graphs_are_legal_before_and_after(self, name):
        _, graph, region = case(name)
        check(graph)
        assert region.stages == FAMILIES[name].stages
        for chunk in {1, 2, region.steps // 3, region.steps - 1, region.steps}:
            cut = split(region, chunk)
            check(cut)
            assert cut.inputs == graph.inputs
            assert cut.outputs == graph.outputs
            assert len(loops(cut)) == region.stages
            assert all((loop.length, loop.chunk) == (region.steps, chunk) for loop in loops(cut))
            assert all((loop.tail is None) == (region.steps % chunk == 0) for loop in loops(cut))

    def test_results_agree_and_temporaries_shrink(self, name):
        args, _, region = case(name)
        fun = leaves_of(FAMILIES[name].fun)
        whole = jax.jit(fun, compiler_options=HONEST).lower(*args).compile()
        cut = as_function(split(region, region.steps // 7))
        pieces = jax.jit(cut, compiler_options=HONEST).lower(*args).compile()
        assert_same(pieces(*args), whole(*args), rtol=5e-5)
        share = 0.7 if name == "MMD" else 0.35  # MMD has two more matrices of that size, in regions of their own
        temp_bytes = [compiled_peak(program).temp_bytes for program in (pieces, whole)]
        assert temp_bytes[0] < share * temp_bytes[1]

    def test_results_agree_for_chunks_that_leave_one_step_over(self, name):
        args, _, region = case(name)
        cut = as_function(split(region, region.steps - 1))
        expected = jax.jit(leaves_of(FAMILIES[name].fun), compiler_options=QUICK)(*args)
        assert_same(jax.jit(cut, compiler_options=QUICK)(*args), expected, rtol=5e-5)


TRANSFORMED = [
    "kernel product",
    "attention",
    "cumulative",
    "sort",
    "concatenate",
    "layer norm",
    "reshape",
    "pad and slice",
    "x.T @ x",
]


@pytest.mark.parametrize("name", TRANSFORMED)
class TestUnderTransformations:
    def test_grad(self, name):
        args, _, region = case(name)

        def loss(fun):
            return lambda *args: sum((y * jnp.cos(jnp.arange(y.size).reshape(y.shape))).sum() for y in fun(*args))

        cut, whole = as_function(split(region, region.steps // 3)), leaves_of(FAMILIES[name].fun)
        numbers = tuple(range(len(args)))
        found, expected = (jax.jit(jax.grad(loss(f), numbers), compiler_options=QUICK)(*args) for f in (cut, whole))
        assert_same(found, expected, rtol=1e-4)

    def test_vmap(self, name):
        args, _, region = case(name)
        batch = [jnp.stack([x, x[::-1]]) for x in args]
        cut, whole = as_function(split(region, region.steps // 3)), leaves_of(FAMILIES[name].fun)
        found, expected = (jax.jit(jax.vmap(f), compiler_options=QUICK)(*batch) for f in (cut, whole))
        assert_same(found, expected, rtol=1e-4)


def results_agree(fun: Any, *args: Any, kind: str, axis: int, chunk: int, rtol: float = 2e-5) -> Graph:
    """Splits the last result of a kind of op, compares, and returns the split graph."""
    graph = trace(fun, *args)
    seed = [node.outputs[0] for node in graph.nodes if node.kind == kind][-1]
    cut = split(region_at(graph, seed, axis), chunk)
    check(cut)
    found = jax.jit(as_function(cut), compiler_options=QUICK)(*args)
    assert_same(found, jax.jit(leaves_of(fun), compiler_options=QUICK)(*args), rtol)
    return cut


class TestCornersOfIt:
    def test_a_value_in_two_roles_is_stored_and_read_by_a_later_stage(self):
        def fun(x):
            h = jnp.tanh(x)
            return h @ h.T

        cut = results_agree(fun, normal(50, 7), kind="tanh", axis=0, chunk=9)
        assert len(loops(cut)) == 2

    def test_results_are_stacked_and_folded_by_one_loop(self):
        def fun(x):
            h = jnp.tanh(x)
            return h, h.sum(0), h.max(), jnp.argmax(h, 0), (h > 0).all(0), h.sum(1)

        cut = results_agree(fun, normal(50, 7), kind="tanh", axis=0, chunk=9)
        assert len(loops(cut)) == 1

    def test_a_result_that_is_also_read(self):
        def fun(x):
            h = jnp.tanh(x)
            return h, jnp.exp(h - h.max(0)).sum(0)

        cut = results_agree(fun, normal(50, 7), kind="tanh", axis=0, chunk=8)
        assert len(loops(cut)) == 2

    def test_a_result_wanted_twice(self):
        def fun(x):
            h = jnp.tanh(x)
            return h, h.sum(0), h

        results_agree(fun, normal(50, 7), kind="tanh", axis=0, chunk=8)

    def test_counting_goes_on_from_chunk_to_chunk(self):
        def fun(x):
            rows = lax.broadcasted_iota(jnp.int32, (50, 7), 0)
            columns = jnp.arange(7, dtype=jnp.bfloat16)
            return (rows * x).sum(0), (rows * columns.astype(jnp.int32)).sum(1), jnp.where(rows > 30, x, 0).max()

        results_agree(fun, normal(50, 7), kind="mul", axis=0, chunk=9)

    def test_causal_masks(self):
        def fun(q, k, v):
            scores = jnp.where(jnp.tril(jnp.ones((50, 50), bool)), q @ k.T, -jnp.inf)
            return jax.nn.softmax(scores) @ v

        for axis in (0, 1):
            results_agree(fun, *(normal(50, 7, seed=i) for i in range(3)), kind="exp", axis=axis, chunk=9)

    def test_not_a_number_and_infinity_come_through(self):
        def fun(x, y):
            table = x[:, None] + y[None, :]
            return table.sum(0), table.max(0), table.min(0), jnp.argmax(table, 0), jnp.argmin(table, 0), table.prod(0)

        x = normal(50).at[jnp.array([3, 30])].set(jnp.array([jnp.nan, jnp.inf]))
        y = normal(7).at[2].set(-jnp.inf)
        results_agree(fun, x, y, kind="add", axis=0, chunk=9)

    def test_low_precision_sums_are_not_worse(self):
        """Twelve bits would lose every addition of 1 to 4096."""

        def fun(x):
            return jnp.exp(x[:, None] * jnp.zeros(3, jnp.bfloat16)).sum(0)

        x = jnp.ones(5000, jnp.bfloat16)
        graph = trace(fun, x)
        seed = next(node.outputs[0] for node in graph.nodes if node.kind == "exp")
        for chunk in (1, 50, 999):
            [found] = jax.jit(as_function(split(region_at(graph, seed, 0), chunk)))(x)
            assert abs(float(found[0]) - 5000) <= 32

    def test_integers_and_flags_are_bit_equal(self):
        def fun(x, y):
            table = (x[:, None] * y[None, :]) % 1013
            return (
                table.sum(0),
                table.prod(0),
                lax.reduce_xor(table, axes=(0,)),
                (table > 500).any(0),
                lax.top_k(table.T, 4),
                jnp.sort(table, axis=1)[:, :2],
                jnp.cumsum(table, axis=1)[:, -1],
            )

        numbers = whole_numbers(10**6, 50), whole_numbers(10**6, 7, seed=1)
        results_agree(fun, *numbers, kind="mul", axis=0, chunk=9)

    def test_lookups_along_another_axis(self):
        """`take_along_axis` links the batch of the table with that of the places."""

        def fun(x, places):
            return jnp.take_along_axis(jnp.tanh(x), places, axis=1).sum(1)

        results_agree(fun, normal(50, 9), whole_numbers(9, 50, 4), kind="tanh", axis=0, chunk=11)

    def test_axes_merged_with_a_unit(self):
        def fun(x):
            return jnp.tanh(jnp.exp(x).reshape(-1, 5)).sum(1)

        cut = results_agree(fun, normal(30, 4, 5), kind="exp", axis=0, chunk=7)
        [loop] = loops(cut)
        assert loop.length == 30
        assert loop.stacked[0].unit == 4

    def test_axes_taken_apart_make_longer_steps(self):
        def fun(x):
            return jnp.tanh(jnp.exp(x).reshape(30, 4, 5)).sum((1, 2))

        cut = results_agree(fun, normal(120, 5), kind="exp", axis=0, chunk=7)
        [loop] = loops(cut)
        assert loop.length == 30
        assert [s.unit for s in loop.sliced] == [4]

    def test_batched_linear_algebra(self):
        def fun(x):
            gram = x @ jnp.swapaxes(x, 1, 2) + jnp.eye(5)
            return jnp.linalg.slogdet(gram)[1], jnp.linalg.solve(gram, x).sum()

        results_agree(fun, normal(30, 5, 4), kind="dot_general", axis=0, chunk=7, rtol=1e-4)

    def test_what_is_kept_between_stages_is_read_back(self):
        def fun(x, y):
            return jax.nn.softmax(x[:, None] * y[None, :], axis=0).sum(1)

        x, y = normal(50), normal(40, seed=1)
        graph = trace(fun, x, y)
        seed = next(node.outputs[0] for node in graph.nodes if node.kind == "mul")
        region = region_at(graph, seed, 0)
        assert region.crossing
        expected = jax.jit(leaves_of(fun))(x, y)
        for keep in [frozenset(), *(frozenset([v]) for v in region.crossing), frozenset(region.crossing)]:
            cut = split(region, 9, keep)
            check(cut)
            assert_same(jax.jit(as_function(cut))(x, y), expected)
            assert sum(len(loop.stacked) for loop in loops(cut)) >= len(keep)

    def test_what_a_later_stage_compares_is_stored(self):
        """The gradient of a maximum looks for the very number; one computed again may differ in its last bit."""

        def fun(x, w):
            h = x
            for _ in range(2):
                h = jnp.tanh(h @ w)
                h = (h - h.mean(1, keepdims=True)) / jnp.sqrt(h.var(1, keepdims=True) + 0.3)
            return jnp.sin(h.max(0)).sum()

        args = normal(150, 12), normal(12, 12, seed=1)
        graph = trace(jax.grad(fun, (0, 1)), *args)
        (maximum,) = (node.inputs[0] for node in graph.nodes if node.kind == "reduce_max")
        region = region_at(graph, maximum, 0)
        assert maximum in region.escapes
        assert maximum not in region.crossing
        expected = jax.jit(leaves_of(jax.grad(fun, (0, 1))), compiler_options=QUICK)(*args)
        for chunk in (7, 50):
            found = jax.jit(as_function(split(region, chunk)), compiler_options=QUICK)(*args)
            assert_same(found, expected, rtol=1e-4)

    @pytest.mark.parametrize("chunk", [0, -1, 51])
    def test_chunks_out_of_range(self, chunk):
        graph = trace(lambda x: jnp.tanh(x).sum(0), normal(50, 7))
        region = region_at(graph, biggest(graph), 0)
        with pytest.raises(ValueError, match="steps of an axis that has 50"):
            split(region, chunk)

    def test_splitting_again_inside_and_beside(self):
        """Two axes of one matrix, then the region of another."""

        def fun(x, y):
            first = jnp.exp(-((x[:, None] - y[None, :]) ** 2)).sum(1)
            second = jnp.cos(y[:, None] * y[None, :]).sum()
            return first * second

        x, y = normal(50), normal(40, seed=1)
        graph = trace(fun, x, y)
        exp = next(node.outputs[0] for node in graph.nodes if node.kind == "exp")
        graph = split(region_at(graph, exp, 0), 9)
        cos = next(node.outputs[0] for node in graph.nodes if node.kind == "cos")
        graph = split(region_at(graph, cos, 1), 7)
        check(graph)
        [(outer, inner_exp)] = [
            (loop, node.outputs[0]) for loop in loops(graph) for node in loop.body.nodes if node.kind == "exp"
        ]
        body = split(region_at(outer.body, inner_exp, 1), 11)
        check(body)
        assert len({v.name for v in body.values()}) == len(list(body.values()))
        assert_same(jax.jit(as_function(graph))(x, y), jax.jit(leaves_of(fun))(x, y))
        chunk = [np.zeros((), np.int32), *(normal(*v.shape, seed=3) for v in outer.body.inputs[1:])]
        assert_same(jax.jit(as_function(body))(*chunk), jax.jit(as_function(outer.body))(*chunk))
