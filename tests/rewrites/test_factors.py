"""Long arrays as small matrices times a long array."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.scipy.linalg import solve_triangular

import memline
from memline.ir.trace import trace
from tests.rewrites.rewriting import as_function, found_in, rewritten

M, N = 6, 90


def args(n: int = N, m: int = M) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    q = rng.normal(size=(m, m))
    return {
        "factor": jnp.asarray(np.tril(q) + 3 * np.eye(m), jnp.float32),
        "q": jnp.asarray(q, jnp.float32),
        "c": jnp.asarray(rng.normal(size=(m, n)), jnp.float32),
        "y": jnp.asarray(rng.normal(size=n), jnp.float32),
        "a": jnp.asarray(rng.normal(size=m), jnp.float32),
    }


def long_kinds(fun: Any, rule: str | None) -> list[str]:
    graph = trace(fun, args())
    after, _ = rewritten(graph, rule) if rule else (graph, None)
    kinds = ("dot_general", "triangular_solve")
    return sorted(n.kind for n in after.nodes if n.kind in kinds and any(N in v.shape for v in (*n.inputs, *n.outputs)))


def solve_of_product(p: Any) -> Any:
    return solve_triangular(p["factor"], p["q"] @ p["c"], lower=True)


def with_an_outer_product(p: Any) -> Any:
    return solve_triangular(p["factor"].T, p["q"] @ p["c"] / 2 + jnp.outer(p["a"], p["y"]))


def from_the_right(p: Any) -> Any:
    return jax.lax.linalg.triangular_solve(p["factor"], -(p["q"] @ p["c"]).T, left_side=False, lower=True)


def twice_multiplied(p: Any) -> Any:
    return p["q"] @ (p["q"].T @ p["c"] + 3 * (p["factor"] @ p["c"]))


def gram(p: Any) -> Any:
    return (p["q"] @ p["c"]) @ (p["factor"] @ p["c"]).T


def with_a_vector(p: Any) -> Any:
    return (p["q"] @ p["c"] + jnp.outer(p["a"], p["y"])) @ p["y"] + p["c"] @ p["c"].T @ p["a"]


def sum_of_products(p: Any) -> Any:
    return ((p["q"] @ p["c"] * 2) * p["c"]).sum()


LONG = [solve_of_product, with_an_outer_product, from_the_right, twice_multiplied]
SUMS = [gram, with_a_vector, sum_of_products]


@pytest.mark.parametrize("fun", [*LONG, *SUMS])
def test_what_is_done_to_the_short_side_is_done_to_small_matrices(fun: Any) -> None:
    graph = trace(fun, args())
    after, done = rewritten(graph, "small_factors")
    assert done
    np.testing.assert_allclose(as_function(after)(*jax.tree.leaves(args())), fun(args()), rtol=2e-4, atol=2e-4)


@pytest.mark.parametrize("fun", LONG)
def test_one_long_product_is_left(fun: Any) -> None:
    assert len(long_kinds(fun, None)) > 1
    assert long_kinds(fun, "small_factors") == ["dot_general"]


def test_sums_share_their_products() -> None:
    def both(p: Any) -> Any:
        return gram(p), sum_of_products(p)

    after, done = rewritten(trace(both, args()), "small_factors")
    assert len(done) == 2
    long = [n for n in after.nodes if n.kind == "dot_general" and any(N in v.shape for v in n.inputs)]
    assert len(long) == 1


NEAR_MISSES = {
    "a solve that comes first": lambda p: solve_triangular(p["factor"], p["c"], lower=True),
    "its Gram matrix": lambda p: (lambda s: s @ s.T)(solve_triangular(p["factor"], p["c"], lower=True)),
    "one product": lambda p: p["q"] @ p["c"],
    "square arrays": lambda p: solve_triangular(p["factor"], p["q"] @ p["q"], lower=True),
    "a function in between": lambda p: solve_triangular(p["factor"], jnp.exp(p["q"] @ p["c"]), lower=True),
    "two long arrays": lambda p: (p["q"] @ p["c"]) @ jnp.exp(p["c"]).T,
}


@pytest.mark.parametrize("near_miss", NEAR_MISSES)
def test_what_would_gain_nothing_is_left_alone(near_miss: str) -> None:
    assert found_in(trace(NEAR_MISSES[near_miss], args()), "small_factors") is None


@pytest.mark.parametrize("wrap", ["plain", "jit", "vmap", "grad"])
def test_memline_takes_it_where_all_of_it_pays(wrap: str) -> None:
    given = args(20_000, 40)
    limit = sum(x.nbytes for x in given.values()) + (6 << 20)

    def loss(p: Any) -> Any:
        return jnp.sin(with_an_outer_product(p)).sum(1)

    plan = memline.plan(loss, limit)(given)
    assert any(isinstance(m, memline.Rewrite) and m.rule == "small_factors" for m in plan.moves)
    assert (plan.compiled_peak_bytes or 0) <= limit
    limited = memline.jit(loss, memory_limit=limit * (4 if wrap in ("vmap", "grad") else 1))
    functions = {
        "plain": lambda f: f(given),
        "jit": lambda f: jax.jit(f)(given),
        "vmap": lambda f: jax.vmap(lambda a: f({**given, "a": a}))(jnp.stack([given["a"], 2 * given["a"]])),
        "grad": lambda f: jax.grad(lambda p: f(p).sum())(given),
    }
    found, expected = (jax.tree.leaves(functions[wrap](f)) for f in (limited, loss))
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-3, atol=2e-4 * float(jnp.abs(b).max()))
