"""Regions: what one split takes with it, in how many stages, what is stored, and what crosses between stages."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from memline.analysis.axes import Along, Region, grow_region, outside
from memline.ir.graph import Graph, Op, Value
from memline.ir.trace import trace

f32 = jnp.float32


def shape(*sizes: int, dtype: Any = f32) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(sizes, dtype)


def result(graph: Graph, kind: str, number: int = -1) -> Value:
    """The result of the last op of a kind, or of another one of them."""
    return [node.outputs[0] for node in graph.nodes if node.kind == kind][number]


def kinds(values: Any, graph: Graph) -> list[str]:
    return sorted(graph.producer[v].kind for v in values)


def grow(fun: Callable[..., Any], *args: Any, kind: str, axis: int, number: int = -1, small: int = 0) -> Region | None:
    graph = trace(fun, *args)
    return grow_region(graph, result(graph, kind, number), axis, small)


def region(*args: Any, **kwargs: Any) -> Region:
    found = grow(*args, **kwargs)
    assert found is not None
    return found


def folds(found: Region) -> dict[str, str]:
    return {op.kind: dim.fold for op, dim in found.dims.items() if dim.fold is not None}


class TestOneStage:
    def test_a_chain_between_a_broadcast_and_a_sum(self):
        found = region(lambda x: jnp.exp(-((x[:, None] - x) ** 2)).sum(0), shape(9), kind="exp", axis=0)
        assert (found.steps, found.stages) == (9, 1)
        assert [op.kind for op in found.dims] == ["broadcast_in_dim", "sub", "integer_pow", "neg", "exp", "reduce_sum"]
        assert folds(found) == {"reduce_sum": "sum"}
        assert found.crossing == ()
        assert found.escapes == frozenset()
        assert set(found.along.values()) == {Along(0, 1)}

    def test_the_other_axis_is_stacked(self):
        found = region(lambda x: jnp.exp(-((x[:, None] - x) ** 2)).sum(0), shape(9), kind="exp", axis=1)
        assert folds(found) == {}
        assert kinds(found.escapes, found.graph) == ["reduce_sum"]
        assert found.along[result(found.graph, "reduce_sum")] == Along(0, 1)

    def test_attention_over_queries(self):
        def fun(q, k, v):
            return jax.nn.softmax(q @ k.T) @ v

        found = region(fun, *[shape(9, 4)] * 3, kind="exp", axis=0)
        assert found.stages == 1
        assert kinds(found.escapes, found.graph) == ["dot_general"]
        assert result(found.graph, "transpose") not in found.along, "keys are needed whole"

    def test_attention_and_its_gradient_over_queries(self):
        def loss(q, k, v):
            return (jax.nn.softmax(q @ k.T) @ v).sum()

        found = region(jax.grad(loss, (0, 1, 2)), *[shape(9, 4)] * 3, kind="exp", axis=0)
        assert found.stages == 1
        assert set(folds(found).values()) == {"dot"}
        assert len(folds(found)) == 1, "gradients of keys and values are products that sum over queries"

    def test_gradient_accumulation(self):
        def loss(w, x, y):
            return ((jnp.tanh(x @ w) - y) ** 2).sum()

        found = region(jax.value_and_grad(loss), shape(4, 3), shape(9, 4), shape(9, 3), kind="tanh", axis=0)
        assert found.stages == 1
        assert folds(found) == {"reduce_sum": "sum", "dot_general": "dot"}

    def test_several_folds_and_results_of_one_value(self):
        def fun(x):
            h = jnp.tanh(x)
            return h.max(0), jnp.argmin(h, 0), lax.top_k(h.T, 2)[1], (h > 0).any(0), h

        found = region(fun, shape(9, 4), kind="tanh", axis=0)
        assert folds(found) == {"reduce_max": "max", "argmin": "argmin", "top_k": "top_k", "reduce_or": "or"}
        assert kinds(found.escapes, found.graph) == ["tanh"]


class TestStages:
    def test_softmax_along_the_axis_that_is_split(self):
        found = region(lambda x: jax.nn.softmax(jnp.sin(x), axis=0), shape(9, 4), kind="sin", axis=0)
        assert found.stages == 3, "the maximum, the sum, the quotient"
        assert folds(found) == {"reduce_max": "max", "reduce_sum": "sum"}
        assert kinds(found.crossing, found.graph) == ["exp", "sin"]
        assert kinds(found.escapes, found.graph) == ["div"]

    def test_batch_norm(self):
        def fun(x, w):
            h = x @ w
            return jnp.tanh((h - h.mean(0)) / jnp.sqrt(h.var(0) + 1)).sum(0)

        found = region(fun, shape(9, 4), shape(4, 5), kind="dot_general", axis=0)
        assert found.stages == 3, "the mean, the variance, the rest"
        assert "dot_general" in kinds(found.crossing, found.graph)
        assert found.escapes == frozenset()

    def test_a_cholesky_factor_in_between(self):
        def fun(x, z):
            k = jnp.exp(x @ z.T)
            chol = jnp.linalg.cholesky(k.T @ k)
            return (k @ chol).sum(0)

        found = region(fun, shape(99, 4), shape(5, 4), kind="exp", axis=0)
        assert found.stages == 2
        assert kinds(found.crossing, found.graph) == ["exp"]
        assert "cholesky" in [node.kind for node in outside(found)]

    def test_a_value_wanted_in_two_roles_is_stored_whole(self):
        def fun(x):
            h = jnp.tanh(x)
            return (jnp.exp(h @ h.T)).sum(1)

        found = region(fun, shape(9, 4), kind="tanh", axis=0)
        assert found.stages == 2
        assert kinds(found.escapes, found.graph) == ["reduce_sum", "transpose"]
        assert kinds(found.crossing, found.graph) == ["tanh"]

    def test_what_a_stage_runs(self):
        found = region(lambda x: jax.nn.softmax(jnp.sin(x), axis=0), shape(9, 4), kind="sin", axis=0)
        again = [[op.kind for op in found.stage_ops(stage, found.escapes)] for stage in range(3)]
        assert again[0] == ["sin", "reduce_max"]
        assert again[1][0] == again[2][0] == "sin", "computed again"
        assert again[2][-1] == "div"
        exp = result(found.graph, "exp")
        kept = [[op.kind for op in found.stage_ops(stage, found.escapes | {exp})] for stage in range(3)]
        assert "exp" in kept[1]
        assert kept[2] == ["div"], "read back"

    def test_a_side_branch_does_not_wait(self):
        """What needs nothing of the statistics runs in the first loop, though it is written last."""

        def fun(x):
            h = jnp.sin(x)
            scaled = jnp.tanh(h / h.sum(0))
            return scaled.sum(0), h.max(0)

        found = region(fun, shape(9, 4), kind="sin", axis=0)
        stages = {op.kind: stage for op, stage in found.stage.items()}
        assert stages["reduce_max"] == 0
        assert stages["tanh"] == 1


class TestReach:
    def test_two_independent_kernels_are_two_regions(self):
        def mmd(x, y):
            return jnp.exp(x[:, None] - x).mean() + jnp.exp(y[:, None] - y).mean()

        found = region(mmd, shape(9), shape(7), kind="exp", axis=0)
        other = region(mmd, shape(9), shape(7), kind="exp", number=0, axis=0)
        assert {op.kind for op in found.dims} == {op.kind for op in other.dims}
        assert (found.steps, other.steps) == (7, 9)
        first = {v.name for v in found.along}
        assert first.isdisjoint(v.name for v in other.along)

    def test_kernels_that_share_their_points_only_hang_together_by_nothing_big(self):

        def fun(x, y):
            return jnp.exp(x[:, None] - y).sum() + jnp.exp(x[:, None] - x).sum()

        found = region(fun, shape(9), shape(9), kind="exp", number=0, axis=0, small=36)
        assert sum(op.kind == "exp" for op in found.dims) == 1

    def test_small_producers_are_sliced_and_big_ones_belong(self):
        def fun(x, w):
            return jnp.exp(jnp.sin(x) @ w).sum()

        args = shape(100, 2), shape(2, 50)
        assert "sin" in [op.kind for op in region(fun, *args, kind="exp", axis=0).dims]
        assert "sin" not in [op.kind for op in region(fun, *args, kind="exp", axis=0, small=800).dims]

    def test_small_consumers_belong_however_small(self):
        found = region(lambda x: (jnp.exp(x).sum(1) * 2).max(), shape(100, 50), kind="exp", axis=0, small=10**6)
        assert folds(found) == {"reduce_max": "max"}

    def test_an_op_takes_part_along_one_of_its_axes_only(self):
        found = region(lambda x: (lambda h: (h + h.T).sum(0))(jnp.tanh(x)), shape(9, 9), kind="tanh", axis=0)
        assert kinds(found.escapes, found.graph) == ["transpose"], "the other role is stored"
        assert found.stages == 2

    def test_size_one_operands_are_needed_whole(self):
        found = region(lambda x, y: jnp.exp(x * y).sum(1), shape(9, 4), shape(1, 4), kind="exp", axis=0)
        op = found.graph.producer[result(found.graph, "mul")]
        assert isinstance(op, Op)
        assert found.piece(op, 0) == Along(0, 1)
        assert found.piece(op, 1) is None

    def test_what_orders_or_accumulates_along_the_axis_cannot_be_cut(self):
        assert grow(lambda x: jnp.cumsum(x, 0), shape(9, 4), kind="cumsum", axis=0) is None
        assert grow(lambda x: jnp.sort(x, 0), shape(9, 4), kind="sort", axis=0) is None
        assert grow(jnp.linalg.cholesky, shape(9, 9), kind="cholesky", axis=0) is None
        found = region(lambda x: jnp.cumsum(jnp.sin(x), 0).sum(), shape(9, 4), kind="sin", axis=0)
        assert kinds(found.escapes, found.graph) == ["sin"], "stored, then accumulated whole"

    def test_side_effects_and_unknown_ops_are_not_cut(self):
        def fun(x):
            h = jnp.sin(x)
            jax.debug.callback(lambda _: None, h)
            return h.sum()

        found = region(fun, shape(9, 4), kind="sin", axis=0)
        assert kinds(found.escapes, found.graph) == ["sin"]

    def test_an_axis_too_long_for_32_bits(self):
        assert grow(lambda x: jnp.sin(x).sum(), shape(2**32), kind="sin", axis=0) is None


class TestUnits:
    def test_merged_axes_are_made_in_blocks(self):
        found = region(lambda x: jnp.exp(jnp.sin(x).reshape(-1, 5)), shape(9, 4, 5), kind="sin", axis=0)
        assert found.steps == 9
        assert found.along[result(found.graph, "exp")] == Along(0, 4)

    def test_axes_that_are_taken_apart_ask_for_longer_steps(self):
        found = region(lambda x: jnp.exp(jnp.sin(x).reshape(9, 4, 5)), shape(36, 5), kind="sin", axis=0)
        assert found.steps == 9
        assert found.along[result(found.graph, "sin")] == Along(0, 4)
        assert found.along[result(found.graph, "exp")] == Along(0, 1)

    def test_the_minor_part_of_a_merged_axis_does_not_link(self):
        found = region(lambda x: jnp.exp(jnp.sin(x).reshape(-1, 5)), shape(9, 4, 5), kind="sin", axis=1)
        assert kinds(found.escapes, found.graph) == ["sin"]

    def test_steps_grow_to_what_both_sides_divide(self):
        def fun(x):
            h = jnp.sin(x)
            return jnp.exp(h.reshape(6, 6)).sum(1), jnp.cos(h.reshape(4, 9)).sum(1)

        found = region(fun, shape(36), kind="sin", axis=0)
        assert found.steps == 2
        assert {v.unit for v in found.along.values()} == {18, 3, 2}

    def test_windows_side_by_side(self):
        def fun(x):
            return lax.reduce_window(jnp.sin(x), 0.0, lax.add, (3, 1), (3, 1), "VALID")

        found = region(fun, shape(9, 4), kind="sin", axis=0)
        assert (found.steps, found.along[result(found.graph, "sin")]) == (3, Along(0, 3))
