"""Graphs evaluated: what was traced computes what the function did, and hand-made loops equal numpy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from memline.ir.emit import evaluate, to_jaxpr
from memline.ir.trace import from_jaxpr, trace
from tests.ir.loops import scaled_sums


def replayed(fun, *args):
    """Returns a function that traces `fun` and evaluates the graph."""
    graph = trace(fun, *args)
    tree = jax.tree.structure(jax.eval_shape(fun, *args))
    return lambda *xs: jax.tree.unflatten(tree, evaluate(graph, jax.tree.leaves(xs)))


def loop_arguments(length):
    rng = np.random.default_rng(0)
    shapes = [(length, 3), (2, 2 * length), (3,), (3,)]
    return [rng.normal(size=shape).astype(np.float32) for shape in shapes]


def numpy_scaled_sums(x, y, w, s):
    rows = x * w
    return s + rows.sum(0), (rows + np.arange(len(x))[:, None]).T, 2 * y.T


@pytest.mark.parametrize(("length", "chunk"), [(8, 4), (10, 4), (5, 5), (7, 4), (3, 1)])
def test_loops_equal_numpy(length, chunk):
    graph, args = scaled_sums(length, chunk), loop_arguments(length)
    for run in (evaluate, jax.jit(lambda *a: evaluate(*a), static_argnums=0)):
        for found, expected in zip(run(graph, args), numpy_scaled_sums(*args), strict=True):
            np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_loops_have_gradients_and_batches():
    graph, args = scaled_sums(10, 4), loop_arguments(10)
    whole = scaled_sums(10, 10)

    def loss(graph):
        return lambda *xs: sum(jnp.sum(jnp.sin(out)) for out in evaluate(graph, xs))

    every = tuple(range(len(args)))
    cut, plain = (jax.grad(loss(g), argnums=every)(*args) for g in (graph, whole))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), cut, plain)
    batched = [np.stack([a, 2 * a]) for a in args]
    for found, expected in zip(jax.vmap(lambda *xs: evaluate(graph, xs))(*batched),
                               jax.vmap(numpy_batch)(*batched), strict=True):  # fmt: skip
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def numpy_batch(x, y, w, s):
    rows = x * w
    return s + rows.sum(0), (rows + jnp.arange(len(x))[:, None]).T, 2 * y.T


def mlp(params, x):
    for w, b in params:
        x = jax.nn.gelu(x @ w + b)
    return jnp.sum(x**2)


def attention(q, k, v):
    return jax.nn.softmax(q @ k.T / 3.0) @ v


def loopy(x):
    def step(c, r):
        return c + jnp.sin(r), c

    total, steps = lax.scan(step, x[0], x)
    steps = steps + lax.fori_loop(0, 3, lambda i, c: c * 2 + i, x)
    return lax.cond(total.sum() > 0, jnp.sin, jnp.cos, steps)


def factored(x):
    a = x @ x.T + 9 * jnp.eye(len(x))
    return jnp.linalg.slogdet(a)[1] + jnp.linalg.solve(a, x).sum() + jnp.diag(a).sum()


def drawn(x):
    return x * jax.random.bernoulli(jax.random.key(3), 0.5, x.shape)


def square(seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=(4, 4)), jnp.float32)


PROGRAMS = [
    (mlp, ([(square(1), square(2)[0]), (square(3), square(4)[0])], square())),
    (attention, (square(), square(1), square(2))),
    (loopy, (square(),)),
    (factored, (square(),)),
    (drawn, (square(),)),
]


@pytest.mark.parametrize(("fun", "args"), PROGRAMS)
def test_a_traced_function_computes_the_same(fun, args):
    again = replayed(fun, *args)
    close(again(*args), fun(*args))
    close(jax.jit(again)(*args), jax.jit(fun)(*args))


@pytest.mark.parametrize(("fun", "args"), PROGRAMS)
def test_a_traced_function_can_be_differentiated_and_batched(fun, args):
    again = replayed(fun, *args)
    scalar = lambda f: lambda *xs: jnp.sum(jnp.asarray(f(*xs)))  # noqa: E731
    close(jax.grad(scalar(again))(*args), jax.grad(scalar(fun))(*args))
    batched = jax.tree.map(lambda a: jnp.stack([a, a + 1]), args)
    close(jax.vmap(again)(*batched), jax.vmap(fun)(*batched))


@pytest.mark.parametrize(("fun", "args"), PROGRAMS)
def test_a_gradient_can_be_traced(fun, args):
    grad = jax.grad(lambda *xs: jnp.sum(jnp.asarray(fun(*xs))))
    close(replayed(grad, *args)(*args), grad(*args))


def test_a_graph_goes_to_a_jaxpr_and_back():
    graph = trace(attention, *(square(k) for k in range(3)))
    again = from_jaxpr(to_jaxpr(graph))
    assert [node.kind for node in again.nodes] == [node.kind for node in graph.nodes]


def test_effects_happen_when_a_graph_is_evaluated(capfd):
    def fun(x):
        jax.debug.print("sum {}", x.sum())
        return x + 1

    jax.block_until_ready(replayed(fun, square())(square()))
    jax.effects_barrier()
    assert "sum" in capfd.readouterr().out


def close(found, expected):
    def compare(a, b):
        assert a.dtype == b.dtype
        np.testing.assert_allclose(a, b, rtol=2e-4, atol=1e-4)

    jax.tree.map(compare, found, expected)
