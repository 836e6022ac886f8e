"""Rules with a pattern of their own: one-hot products, inverses, logarithms. Spellings, near-misses, results."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax import lax

import memline
from memline import Rewrite
from memline.ir.check import check
from memline.ir.emit import evaluate
from memline.ir.graph import Graph
from memline.ir.trace import from_jaxpr
from memline.passes.rewrite import rewrite
from memline.rewrites.find import rewritings
from tests.comparing import assert_same
from tests.families import normal, whole_numbers

N, WIDTH, MANY = 40, 6, 300


def classes(*shape: int, seed: int = 0) -> Any:
    """Classes, some of which are out of range at both ends."""
    return whole_numbers(MANY + 20, *shape, seed=seed) - 10


def well_conditioned(n: int, dtype: Any = jnp.float32) -> Any:
    return normal(n, n).astype(dtype) / n + 2 * jnp.eye(n, dtype=dtype)


def solved(a: Any, b: Any) -> Any:
    return jnp.linalg.solve(a, jnp.eye(a.shape[0], dtype=a.dtype)) @ b


def cholesky_solved(a: Any, b: Any) -> Any:
    factor = jax.scipy.linalg.cho_factor(a @ a.T)
    return jax.scipy.linalg.cho_solve(factor, jnp.eye(a.shape[0], dtype=a.dtype)) @ b


def triangular(a: Any, b: Any) -> Any:
    return jax.scipy.linalg.solve_triangular(a, jnp.eye(a.shape[0], dtype=a.dtype), lower=True) @ b


TABLE, ROWS = normal(MANY, WIDTH, seed=1), normal(N, WIDTH, seed=2)
MATRIX, VECTOR = well_conditioned(N), normal(N, seed=3)
SQUARE = normal(N, 30, seed=4)
CUBE = normal(4, 3, 5)
THREE = (normal(N, N, seed=5), ROWS, normal(N, WIDTH, seed=6))

FIRES: dict[str, dict[str, tuple[Callable[..., Any], tuple[Any, ...]]]] = {
    "one_hot_gather": {
        "one_hot": (lambda i, e: jax.nn.one_hot(i, MANY) @ e, (classes(N), TABLE)),
        "equal to a range": (lambda i, e: (i[:, None] == jnp.arange(MANY)).astype(e.dtype) @ e, (classes(N), TABLE)),
        "where": (lambda i, e: jnp.where(jnp.arange(MANY) == i[:, None], 1.0, 0.0) @ e, (classes(N), TABLE)),
        "several axes": (lambda i, e: jnp.einsum("abv,vd->abd", jax.nn.one_hot(i, MANY), e), (classes(4, 5), TABLE)),
        "classes first": (lambda i, e: jax.nn.one_hot(i, MANY, axis=0).T @ e, (classes(N), TABLE)),
        "on the right": (lambda i, e: e.T @ jax.nn.one_hot(i, MANY).T, (classes(N), TABLE)),
    },
    "one_hot_sum": {
        "one_hot": (lambda i, x: jax.nn.one_hot(i, MANY).T @ x, (classes(N), ROWS)),
        "einsum": (lambda i, x: jnp.einsum("nv,nd->vd", jax.nn.one_hot(i, MANY), x), (classes(N), ROWS)),
        "equal to a range": (
            lambda i, x: (i == jnp.arange(MANY)[:, None]).astype(x.dtype) @ x,
            (classes(N), ROWS),
        ),
        "on the right": (lambda i, x: x.T @ jax.nn.one_hot(i, MANY), (classes(N), ROWS)),
    },
    "solve": {
        "inv": (lambda a, b: jnp.linalg.inv(a) @ b, (MATRIX, VECTOR)),
        "inv with columns": (lambda a, b: jnp.linalg.inv(a) @ b, (MATRIX, ROWS)),
        "inv by einsum": (lambda a, b: jnp.einsum("ij,jk->ik", jnp.linalg.inv(a), b), (MATRIX, ROWS)),
        "solve for the identity": (solved, (MATRIX, ROWS)),
        "Cholesky": (cholesky_solved, (MATRIX, VECTOR)),
        "triangular": (triangular, (MATRIX, VECTOR)),
    },
    "log_of_exp": {
        "det": (lambda a: jnp.log(jnp.linalg.det(a)), (MATRIX,)),
        "softmax": (lambda x: jnp.log(jax.nn.softmax(x)), (SQUARE,)),
        "softmax by hand": (lambda x: jnp.log(jnp.exp(x) / jnp.exp(x).sum(0)), (SQUARE,)),
        "scaled exponential": (lambda x, a: jnp.log(jnp.exp(x) * jnp.abs(a[:, None])), (SQUARE, VECTOR)),
    },
    "transposes": {
        "of matrices": (lambda x: jnp.sin(x.T.T), (SQUARE,)),
        "by swapaxes": (lambda x: jnp.swapaxes(jnp.moveaxis(x, 0, 2), 0, 1), (CUBE,)),
        "by einsum": (lambda x: jnp.einsum("abc->cba", jnp.transpose(x, (1, 0, 2))), (CUBE,)),
        "three times": (lambda x: x.transpose(1, 2, 0).transpose(1, 2, 0).transpose(1, 2, 0), (CUBE,)),
    },
    "common_factor": {
        "from the left": (lambda a, x, y: a @ x + a @ y, THREE),
        "from the right": (lambda a, x, y: x.T @ a - y.T @ a, THREE),
        "three of them": (lambda a, x, y: a @ x + a @ y + a @ jnp.sin(x), THREE),
        "others between": (lambda a, x, y: jnp.cos(y) - a @ x + jnp.sin(x) - (y - a @ y), THREE),
        "by einsum": (lambda a, x, y: jnp.einsum("ij,jk->ik", a, x) - jnp.einsum("ij,jk->ik", a, y), THREE),
    },
}  # fmt: skip
MISSES: dict[str, dict[str, tuple[Callable[..., Any], tuple[Any, ...]]]] = {
    "one_hot_gather": {
        "few classes": (lambda i, e: jax.nn.one_hot(i, 8) @ e[:8], (classes(N), TABLE)),
        "other values": (lambda i, e: jnp.where(i[:, None] == jnp.arange(MANY), 0.9, 0.1) @ e, (classes(N), TABLE)),
        "up to the class": (lambda i, e: (jnp.arange(MANY) <= i[:, None]).astype(e.dtype) @ e, (classes(N), TABLE)),
        "classes that are floats": (
            lambda i, e: (i[:, None] == jnp.arange(MANY, dtype=i.dtype)).astype(e.dtype) @ e,
            (VECTOR, TABLE),
        ),
    },
    "one_hot_sum": {
        "few classes": (lambda i, x: jax.nn.one_hot(i, 8).T @ x, (classes(N), ROWS)),
        "over the classes": (lambda i, e: jax.nn.one_hot(i, MANY) @ e, (classes(N), TABLE)),
        "of a batch": (
            lambda i, x: jnp.einsum("bnv,bnd->bvd", jax.nn.one_hot(i, MANY), x),
            (classes(2, 5), normal(2, 5, 3)),
        ),
    },
    "solve": {
        "the inverse is a result": (lambda a, b: (jnp.linalg.inv(a), jnp.linalg.inv(a) @ b), (MATRIX, VECTOR)),
        "more columns than rows": (lambda a, b: jnp.linalg.inv(a) @ b, (MATRIX, normal(N, N + 1))),
        "solved for something else": (lambda a, b: jnp.linalg.solve(a, a + 1) @ b, (MATRIX, VECTOR)),
        "no solve": (lambda a, b: jnp.eye(N).T @ b, (MATRIX, VECTOR)),
    },
    "log_of_exp": {
        "a sum": (lambda x, a: jnp.log(jnp.exp(x) + jnp.abs(a[:, None])), (SQUARE, VECTOR)),
        "over an exponential": (lambda x, a: jnp.log(a[:, None] / jnp.exp(x)), (SQUARE, VECTOR)),
        "complex": (lambda x, a: jnp.log(jnp.exp(1j * x) * a[:, None]), (SQUARE, VECTOR)),
        "log1p": (lambda x, a: jnp.log1p(jnp.exp(x) * a[:, None] ** 2), (SQUARE, VECTOR)),
    },
    "transposes": {
        "once": (lambda x: x.T, (SQUARE,)),
        "something between": (lambda x: jnp.cumsum(x.T, 0).T, (SQUARE,)),
        "a reshape between": (lambda x: x.transpose(1, 0, 2).reshape(3, 2, 2, 5).transpose(3, 0, 1, 2), (CUBE,)),
    },
    "common_factor": {
        "no factor in common": (lambda a, x, y: a @ x + a.T @ y, THREE),
        "a product that is a result": (lambda a, x, y: (a @ x + a @ y, a @ x), THREE),
        "other precisions": (lambda a, x, y: a @ x + jnp.matmul(a, y, precision="highest"), THREE),
        "on other sides": (lambda a, x, y: a @ a.T + jnp.sin(a) @ a, THREE),
        "a product of both": (lambda a, x, y: (a @ x) * (a @ y), THREE),
    },
}


def trace(fun: Callable[..., Any], *args: Any) -> Graph:
    """The graph as planning begins with it: solvers that JAX calls are part of it."""
    return from_jaxpr(jax.make_jaxpr(fun)(*args), open_bodies=True)


def cases(table: dict[str, dict[str, Any]]) -> list[Any]:
    return [
        pytest.param(rule, *case, id=f"{rule}: {name}") for rule, named in table.items() for name, case in named.items()
    ]


def with_rule(graph: Graph, rule: str) -> Graph | None:
    """The graph after the rule's first rewriting."""
    for scope, found in rewritings(graph):
        if found.rule == rule:
            after = rewrite(scope, found)
            check(after)
            return after
    return None


@pytest.mark.parametrize(("rule", "fun", "args"), cases(FIRES))
def test_it_fires_and_the_result_is_the_same(rule, fun, args):
    graph = trace(fun, *args)
    after = with_rule(graph, rule)
    assert after is not None
    if rule.startswith("one_hot"):
        assert not any(node.kind == "dot_general" for node in after.nodes)
        assert max(v.size_bytes for node in after.nodes for v in node.outputs) <= TABLE.nbytes
    (found,), (written,) = evaluate(after, args), evaluate(graph, args)
    assert_same(found, written, rtol=0 if rule == "one_hot_gather" else 3e-5)


@pytest.mark.parametrize(("rule", "fun", "args"), cases(MISSES))
def test_it_does_not_fire_on_a_near_miss(rule, fun, args):
    assert with_rule(trace(fun, *args), rule) is None


@settings(max_examples=25, deadline=None)
@given(
    dtype=st.sampled_from(["float16", "bfloat16", "float32", "float64", "complex64"]),
    exponent=st.sampled_from([-6, 0, 6]),
    n=st.sampled_from([0, 1, 7]),
    width=st.sampled_from([1, 3]),
    is_sum=st.booleans(),
)
def test_one_hot_products_are_picked_and_added_in_every_type(dtype, exponent, n, width, is_sum):
    with jax.enable_x64(True):
        scale = 10.0 ** (exponent / 3 if dtype == "float16" else exponent)
        x = jnp.asarray(scale * np.random.default_rng(n).normal(size=(n if is_sum else MANY, width)), dtype)
        i = classes(n)

        def product(i, x):
            hot = jax.nn.one_hot(i, MANY, dtype=x.dtype)
            return (hot.T if is_sum else hot) @ x

        graph = trace(product, i, x)
        after = with_rule(graph, "one_hot_sum" if is_sum else "one_hot_gather")
        assert after is not None
        (found,) = evaluate(after, [i, x])
    hot = np.asarray(i)[:, None] == np.arange(MANY)
    wide = np.asarray(x).astype(np.complex128)
    oracle = (hot.T if is_sum else hot) @ wide
    size = (hot.T if is_sum else hot) @ np.abs(wide)
    assert (np.abs(np.asarray(found).astype(np.complex128) - oracle) <= 4 * float(jnp.finfo(dtype).eps) * size).all()


def test_an_infinite_row_stays_in_its_place():
    """As written it makes all other rows NaN: that is what the tag says."""
    table = TABLE.at[3, 2].set(np.inf)
    i = jnp.array([3, 4, 5])
    graph = trace(lambda i, e: jax.nn.one_hot(i, MANY) @ e, i, table)
    after = with_rule(graph, "one_hot_gather")
    assert after is not None
    np.testing.assert_array_equal(evaluate(after, [i, table])[0], table[3:6])
    assert np.isnan(np.asarray(evaluate(graph, [i, table])[0])[1:, 2]).all()
    (found,) = (found for _, found in rewritings(graph) if found.rule == "one_hot_gather")
    assert found.tag.kind == "approximate"


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64, jnp.complex64])
def test_solving_is_at_least_as_near_as_inverting(dtype):
    with jax.enable_x64(True):
        a, b = well_conditioned(60, dtype), normal(60).astype(dtype)
        graph = trace(lambda a, b: jnp.linalg.inv(a) @ b, a, b)
        after = with_rule(graph, "solve")
        assert after is not None
        assert max(v.size_bytes for node in after.nodes for v in node.outputs) <= a.nbytes
        exact = np.linalg.solve(np.asarray(a).astype(np.complex128), np.asarray(b))
        by_solving, by_inverse = (np.abs(np.asarray(evaluate(g, [a, b])[0]) - exact).max() for g in (after, graph))
    assert by_solving <= 4 * max(by_inverse, float(jnp.finfo(dtype).eps))


def test_a_logarithm_of_a_determinant_is_finite_where_the_determinant_is_not():
    a = 50.0 * jnp.eye(60)
    after = with_rule(trace(lambda a: jnp.log(jnp.linalg.det(a)), a), "log_of_exp")
    assert after is not None
    np.testing.assert_allclose(evaluate(after, [a])[0], 60 * np.log(50.0), rtol=1e-5)


@pytest.mark.parametrize("dtype", [jnp.float8_e4m3fn, jnp.float8_e5m2, jnp.int4, jnp.bool_])
def test_types_in_which_nobody_calculates_are_left_alone(dtype):
    a = jnp.ones((20, 20), dtype)
    product = (((1,), (0,)), ((), ()))
    for fun in (
        lambda a: lax.dot_general(lax.dot_general(a, a, product), a[:, 0], product),
        lambda a: lax.dot_general(a, a, product) + lax.dot_general(a, a.T, product),
        lambda a: jnp.where(a.astype(jnp.float32) > 0, 1.0, 0.0) @ jnp.ones(20),
    ):
        assert [found.rule for _, found in rewritings(trace(fun, a))] == []
    floats = trace(lambda a: a.astype(jnp.float32) @ a.astype(jnp.float32) @ jnp.ones(20), a)
    (found,) = (found for _, found in rewritings(floats))
    assert all(v.dtype == jnp.float32 for node in found.nodes for v in node.inputs)


class TestPlans:
    def test_an_embedding_by_one_hot_products_is_planned_as_a_lookup(self):
        i, table = classes(500), normal(MANY, 4, seed=1)
        compiled = memline.jit(lambda i, e: jax.nn.one_hot(i, MANY) @ e, memory_limit="100kB").lower(i, table).compile()
        assert Rewrite in [type(move) for move in compiled.plan.moves]
        assert compiled.plan.compiled_peak_bytes <= 40_000
        assert_same(compiled(i, table), jax.nn.one_hot(i, MANY) @ table, rtol=0)

    def test_its_gradient_adds_rows(self):
        i, table = classes(500), normal(MANY, 4, seed=1)
        fun = lambda i, e: jnp.sin(jax.nn.one_hot(i, MANY) @ e).sum()  # noqa: E731
        compiled = memline.jit(jax.grad(fun, 1), memory_limit="100kB").lower(i, table).compile()
        rules = [move.rule for move in compiled.plan.moves if isinstance(move, Rewrite)]
        assert sorted(rules) == ["one_hot_gather", "one_hot_sum"]
        assert_same(compiled(i, table), jax.grad(fun, 1)(i, table), rtol=1e-5)

    @pytest.mark.parametrize("transform", ["jit", "grad", "vmap"])
    def test_results_are_those_of_plain_jax(self, transform):
        plain = lambda a, b: jnp.linalg.inv(a) @ b  # noqa: E731
        fun = memline.limit(plain, "1MiB")
        if transform == "jit":
            assert_same(jax.jit(fun)(MATRIX, VECTOR), plain(MATRIX, VECTOR), rtol=1e-4)
        elif transform == "grad":
            cost = lambda f: lambda a, b: (f(a, b) ** 2).sum()  # noqa: E731
            found = jax.grad(cost(fun), (0, 1))(MATRIX, VECTOR)
            assert_same(found, jax.grad(cost(plain), (0, 1))(MATRIX, VECTOR), rtol=1e-3)
        else:
            many = jnp.stack([VECTOR, 2 * VECTOR])
            assert_same(jax.vmap(lambda b: fun(MATRIX, b))(many), jax.vmap(lambda b: plain(MATRIX, b))(many), rtol=1e-4)


def test_inside_a_scan_a_rule_is_taken_as_well():
    def steps(a, v):
        return lax.scan(lambda v, _: (jnp.tanh(a @ a @ v), None), v, None, length=3)[0]

    a, v = normal(200, 200) / 20, normal(200, seed=1)
    compiled = memline.jit(steps, memory_limit="3MB").lower(a, v).compile()
    assert any(isinstance(move, Rewrite) for move in compiled.plan.moves)
    assert_same(compiled(a, v), jax.jit(steps)(a, v), rtol=1e-4)
