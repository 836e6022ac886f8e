"""The checker passes legal graphs, and names the fault of each illegal one."""

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from memline import compat
from memline.ir.check import IllegalGraph, check
from memline.ir.graph import Graph, Loop, Op, Stack, Value
from memline.ir.trace import trace
from tests.ir.loops import scaled_sums


def value(name: str, *shape: int, dtype: Any = np.float32) -> Value:
    return Value(compat.shaped(shape, np.dtype(dtype)), name)


def exp(x, y):
    return Op(lax.exp_p, {"accuracy": None}, (x,), (y,))


@pytest.mark.parametrize(
    "fun",
    [
        lambda x: x,
        lambda x: jnp.sin(x) @ x.T,
        lambda x: lax.scan(lambda c, r: (c + r, r * 2), x[0], x),
        lambda x: lax.while_loop(lambda c: c.sum() < 9, lambda c: c + 1, x),
        lambda x: lax.cond(x[0, 0] > 0, jnp.sin, jnp.cos, x),
        lambda x: jax.random.normal(jax.random.key(0), (3,)) + x[:, :3],
        lambda x: jax.grad(lambda x: jnp.sort(x, axis=0)[0].sum())(x),
        lambda x: (x, 3, np.ones(3), jax.debug.print("{}", x)),
        lambda x: jnp.linalg.svd(x),
    ],
)
def test_traced_graphs_are_legal(fun):
    check(trace(fun, jnp.ones((4, 4))))


@pytest.mark.parametrize("length", [8, 10])
def test_loops_are_legal(length):
    check(scaled_sums(length, chunk=4))


def illegal(graph, message):
    with pytest.raises(IllegalGraph, match=message):
        check(graph)


def test_use_before_made():
    x, y, z = value("%x", 3), value("%y", 3), value("%z", 3)
    illegal(Graph((x,), (exp(y, z), exp(x, y)), (z,)), r"node 0 \(exp\).*uses %y.*before it is made")
    illegal(Graph((x,), (), (y,)), "output list of graph uses %y")


def test_made_twice():
    x, y = value("%x", 3), value("%y", 3)
    illegal(Graph((x,), (exp(x, y), exp(x, y)), (y,)), "made before")
    illegal(Graph((x,), (exp(x, x),), (x,)), "made before")
    illegal(Graph((x, x), (), (x,)), "input list.*made before")


def test_names_taken():
    x, y, z = value("%x", 3), value("%y", 3), value("%y", 3)
    illegal(Graph((x,), (exp(x, y), exp(x, z)), (y, z)), "name is taken by %y")
    one, two = (Value(compat.shaped((2,), np.dtype(np.float32)), "%c", np.full(2, k, np.float32)) for k in (1, 2))
    illegal(Graph((), (), (one, two)), "name is taken")
    check(Graph((), (), (one, one)))


def test_constants_are_not_made_and_match_their_data():
    x = value("%x", 3)
    c = Value(x.aval, "%c", np.ones(3, np.float32))
    illegal(Graph((x,), (exp(x, c),), (c,)), "which is a constant")
    illegal(Graph((c,), (), (c,)), "which is a constant")
    illegal(Graph((), (), (replace(c, const=np.ones(4, np.float32)),)), r"whose data is float32\[4\]")


def test_results_are_those_jax_infers():
    x = value("%x", 3)
    wrong = r"has results float32\[4\], JAX infers float32\[3\]"
    y = value("%y", 4)
    illegal(Graph((x,), (exp(x, y),), (y,)), wrong)
    y = value("%y", 3, dtype=np.int32)
    illegal(Graph((x,), (exp(x, y),), (y,)), r"results int32\[3\]")
    i, y = value("%i", 3, dtype=np.int32), value("%y", 3)
    illegal(Graph((i,), (exp(i, y),), (y,)), "JAX refuses")
    y, z = value("%y", 3), value("%z", 3)
    illegal(Graph((x,), (Op(lax.exp_p, {"accuracy": None}, (x,), (y, z)),), (y,)), "has results")


def the_loop(graph):
    (loop,) = graph.nodes
    assert isinstance(loop, Loop)
    return loop


def with_loop(change):
    """Returns the sample graph with its loop changed."""
    graph = scaled_sums(10, chunk=4)
    loop = change(the_loop(graph))
    return Graph(graph.inputs, (loop,), loop.outputs)


def with_body(change, part="body"):
    return with_loop(lambda loop: replace(loop, **{part: change(getattr(loop, part))}))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda loop: replace(loop, length=0), "has length 0"),
        (lambda loop: replace(loop, chunk=0), "has chunk 0"),
        (lambda loop: replace(loop, chunk=11), "has chunk 11"),
        (lambda loop: replace(loop, tail=None), "lacks a tail, with 2 steps"),
        (lambda loop: replace(loop, chunk=5), "has a tail, with 0 steps"),
        (lambda loop: replace(loop, sliced=(replace(loop.sliced[0], axis=2), *loop.sliced[1:])), "slices axis 2"),
        (lambda loop: replace(loop, sliced=(replace(loop.sliced[0], axis=1), *loop.sliced[1:])), "3 elements for 10"),
        (lambda loop: replace(loop, sliced=(replace(loop.sliced[0], unit=0), *loop.sliced[1:])), "with unit 0"),
        (lambda loop: replace(loop, sliced=loop.sliced[:1]), "the body.*takes"),
        (lambda loop: replace(loop, whole=()), "the body.*takes"),
        (lambda loop: replace(loop, stacked=(*loop.stacked, Stack(0, 1))), "has 3 outputs for 1 carried and 3"),
        (lambda loop: replace(loop, stacked=(replace(loop.stacked[0], unit=2), *loop.stacked[1:])), "stacks"),
        (lambda loop: replace(loop, carried=(value("%s", 3),)), "uses %s"),
        (lambda loop: replace(loop, carried=(loop.sliced[0].value,)), "carries"),
        (lambda loop: replace(loop, body=loop.tail), "the body.*takes"),
        (lambda loop: replace(loop, tail=loop.body), "the tail.*takes"),
    ],
)
def test_loops_that_do_not_fit_their_axis(change, message):
    illegal(with_loop(change), message)


@pytest.mark.parametrize("part", ["body", "tail"])
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda body: replace(body, outputs=body.outputs[::-1]), "gives"),
        (lambda body: replace(body, outputs=body.outputs[:1]), "gives"),
        (lambda body: replace(body, inputs=(value("%i", dtype=np.uint32), *body.inputs[1:])), "takes uint32"),
        (lambda body: replace(body, inputs=(value("%i", dtype=np.int32), *body.inputs[1:])), "from outside"),
        (lambda body: replace(body, nodes=body.nodes[1:]), "from outside"),
    ],
)
def test_bodies_that_do_not_fit_their_loop(change, message, part):
    illegal(with_body(change, part), f"the {part} of.*{message}")


def test_a_body_sees_nothing_of_the_graph_around_it():
    graph = scaled_sums(8, chunk=4)
    loop, outer = the_loop(graph), graph.inputs[2]
    inside = loop.body.inputs[3]
    nodes = [
        replace(node, inputs=tuple(outer if v is inside else v for v in node.inputs))
        for node in loop.body.nodes
        if isinstance(node, Op)
    ]
    body = replace(loop.body, nodes=tuple(nodes))
    illegal(Graph(graph.inputs, (replace(loop, body=body),), graph.outputs), "from outside")
