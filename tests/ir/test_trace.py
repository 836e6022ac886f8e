"""Tracing: calls inlined, dead nodes dropped, equal nodes merged, platforms resolved; and the text form."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from memline.ir.check import check
from memline.ir.graph import Op
from memline.ir.trace import trace
from tests.ir.loops import scaled_sums

X = jax.ShapeDtypeStruct((4, 3), "float32")


def kinds(fun, *args, platform=None):
    graph = trace(fun, *args, platform=platform)
    check(graph)
    return [node.kind for node in graph.nodes]


def text(graph):
    """Returns a graph's text without the places in the source."""
    return re.sub(r" +# .*", "", str(graph))


def test_jitted_calls_are_inlined():
    @jax.jit
    def inner(x):
        return jax.jit(jnp.sin)(x) * 2

    assert kinds(lambda x: inner(x) + 1, X) == ["sin", "mul", "add"]


def test_custom_derivatives_are_inlined_as_the_plain_function():
    @jax.custom_jvp
    def f(x):
        return jnp.sin(x)

    f.defjvp(lambda primals, tangents: (f(*primals), tangents[0]))

    @jax.custom_vjp
    def g(x):
        return jnp.cos(x)

    g.defvjp(lambda x: (g(x), None), lambda _, ct: (ct,))
    assert kinds(lambda x: g(f(x)), X) == ["sin", "cos"]


def test_custom_derivatives_hold_when_traced_through_a_gradient():
    @jax.custom_vjp
    def g(x):
        return jnp.cos(x)

    g.defvjp(lambda x: (g(x), None), lambda _, ct: (ct * 7,))
    assert "sin" not in kinds(jax.grad(lambda x: g(x).sum()), X)


def test_checkpointed_calls_are_inlined():
    layer = jax.checkpoint(lambda x: jnp.sin(jnp.sin(x)))
    assert kinds(lambda x: layer(x), X) == ["sin", "sin"]
    assert not {"remat", "checkpoint"} & set(kinds(jax.grad(lambda x: layer(x).sum()), X))


def test_a_barrier_of_several_values_becomes_one_for_each():
    def fun(x):
        held, again = jax.lax.optimization_barrier((x + 1, x * 2))
        return held.sum(), jnp.sin(again)

    assert kinds(fun, X) == ["add", "mul", "optimization_barrier", "optimization_barrier", "reduce_sum", "sin"]


def test_what_a_checkpoint_computes_again_is_not_merged_with_the_first():
    @jax.checkpoint
    def block(x):
        return jnp.sin(jnp.cos(x))

    assert kinds(jax.grad(lambda x: block(x).sum()), X).count("cos") >= 2


def test_dead_nodes_are_dropped_through_calls():
    @jax.jit
    def inner(x):
        return jnp.sin(x), jnp.cos(x)

    assert kinds(lambda x: inner(x)[0], X) == ["sin"]


def test_equal_nodes_are_merged():
    assert kinds(lambda x: jnp.sin(x) + jax.jit(jnp.sin)(x), X) == ["sin", "add"]
    assert kinds(lambda x: jnp.sum(x, 0) + jnp.sum(x, 1)[:3], X).count("reduce_sum") == 2


def test_results_that_are_inputs_or_constants():
    graph = trace(lambda x: (x, x, 3, np.ones(2)), X)
    assert graph.nodes == ()
    assert graph.outputs[0] is graph.outputs[1] is graph.inputs[0]
    assert [v.is_const for v in graph.outputs] == [False, False, True, True]


def test_equal_scalar_constants_are_one_value():
    graph = trace(lambda x: (x + 2.0) * 2.0, X)
    assert graph.nodes[0].inputs[1] is graph.nodes[1].inputs[1]


@pytest.mark.parametrize(("platform", "kind"), [("cpu", "sin"), ("cuda", "cos"), ("tpu", "exp")])
def test_platforms_are_resolved(platform, kind):
    def fun(x):
        return lax.platform_dependent(x, cpu=jnp.sin, cuda=jnp.cos, default=jnp.exp)

    assert kinds(fun, X, platform=platform) == [kind]


def test_the_platforms_of_a_diagonal_leave_no_branches():
    found = kinds(jax.grad(lambda x: jnp.diag(x @ x.T).sum()), X, platform="cpu")
    assert not {"platform_index", "cond"} & set(found)


def test_a_branch_chosen_while_tracing_is_inlined():
    assert kinds(lambda x: lax.cond(True, jnp.sin, jnp.cos, x), X) == ["sin"]
    assert kinds(lambda x: lax.cond(np.bool_(False), jnp.sin, jnp.cos, x), X) == ["cos"]
    assert kinds(lambda x: lax.cond(x[0, 0] > 0, jnp.sin, jnp.cos, x), X)[-1] == "cond"


def test_loops_of_the_user_stay_whole():
    assert kinds(lambda x: lax.scan(lambda c, r: (c + r, c), x[0], x), X)[-1] == "scan"
    assert "while" in kinds(lambda x: lax.while_loop(lambda x: x.sum() < 9, lambda x: x + 1, x), X)


def test_side_effects_are_kept_each_in_its_place():
    def fun(x):
        jax.debug.print("{}", x.sum())
        jax.debug.print("{}", x.sum())
        return x

    graph = trace(fun, X)
    assert len([node for node in graph.nodes if isinstance(node, Op) and node.effects]) == 2


def test_a_trace_remembers_the_line_of_the_user():
    (op,) = trace(lambda x: jnp.sin(x), X).nodes
    assert op.source is not None
    assert op.source.file == __file__
    assert str(op.source).startswith("test_trace.py:")


def test_precision_set_around_an_op_is_kept():
    def fun(x):
        with jax.default_matmul_precision("highest"):
            return x @ x.T

    op = trace(fun, X).nodes[-1]
    assert isinstance(op, Op)
    assert "HIGHEST" in str(op.params["precision"])


def test_text_of_a_graph():
    assert text(trace(lambda x: jnp.sum(jnp.exp(2 * x), axis=0) @ np.ones((3, 2), np.float32), X)) == (
        "inputs %0 float32[4,3]\n"
        "const %c0 float32[3,2]\n"
        "%1 float32[4,3] = mul 2.0 %0\n"
        "%2 float32[4,3] = exp %1\n"
        "%3 float32[3] = reduce_sum[axes=(0,)] %2\n"
        "%4 float32[2] = dot_general[dimension_numbers=(((0,),(0,)),((),()))] %3 %c0\n"
        "return %4"
    )


def test_text_of_a_loop():
    lines = text(scaled_sums(10, chunk=4)).splitlines()
    assert lines[:7] == [
        "inputs %x float32[10,3] %y float32[2,20] %w float32[3] %s float32[3]",
        "%sum float32[3], %rows float32[3,10], %twice float32[20,2] = loop length=10 chunk=4 trips=2 tail=2",
        "  slices %x axis=0, %y axis=1 unit=2",
        "  whole %w",
        "  carries %s",
        "  stacks axis=1, axis=0 unit=2",
        "  inputs %b0 int32[] %b1 float32[4,3] %b2 float32[2,8] %b3 float32[3] %b4 float32[3]",
    ]
    assert lines[-1] == "return %sum %rows %twice"
