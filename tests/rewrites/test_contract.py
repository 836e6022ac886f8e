"""Sums of products: what is read as one, in which order it is contracted, and that results stay within rounding."""

from __future__ import annotations

import math
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
from memline import Options, Rewrite
from memline.ir.check import check
from memline.ir.emit import evaluate
from memline.ir.graph import Graph, Op
from memline.ir.trace import trace
from memline.passes.rewrite import rewrite
from memline.rewrites.find import rewritings
from memline.rewrites.order import Problem, best_order, least_bytes, text_of
from tests.comparing import assert_same
from tests.families import normal

Spelling = tuple[Callable[..., Any], str]
"""A program, and what it computes as `np.einsum` says it; several axes of a result may be merged to one."""

CONTRACTIONS: dict[str, Spelling] = {
    "chain": (lambda a, b, v: a @ b @ v, "ij,jk,k->i"),
    "chain from the left": (lambda v, a, b: v @ (a @ b), "i,ij,jk->k"),
    "chain of einsum": (lambda a, b, v: jnp.einsum("ij,jk->ik", a, b) @ v, "ij,jk,k->i"),
    "chain with transpositions": (lambda a, b, v: (b.T @ a.T).T @ v, "ij,jk,k->i"),
    "chain with scalings": (lambda a, b, v: (-(a @ b) * 6 @ (v / -2)) / 3, "ij,jk,k->i"),
    "chain with a batch": (lambda a, b, v: jnp.einsum("bij,bjk->bik", a, b) @ v, "bij,bjk,k->bi"),
    "chain of matmul over a batch": (lambda a, b, v: (a @ b @ v[..., None])[..., 0], "bij,bjk,bk->bi"),
    "long chain": (lambda a, b, c, d, v: a @ b @ c @ d @ v, "ij,jk,kl,lm,m->i"),
    "trace": (lambda a, b: jnp.trace(a @ b), "ij,ji->"),
    "trace by einsum": (lambda a, b: jnp.einsum("ii", a @ b), "ij,ji->"),
    "trace of a diagonal": (lambda a, b: jnp.diagonal(a @ b).sum(), "ij,ji->"),
    "diag": (lambda a, b: jnp.diag(a @ b), "ij,ji->i"),
    "diag by einsum": (lambda a, b: jnp.einsum("ii->i", a @ b), "ij,ji->i"),
    "diagonal of a batch": (lambda a, b: jnp.diagonal(a @ b, axis1=1, axis2=2), "bij,bji->bi"),
    "sum of a product": (lambda a, b: (a @ b).sum(1), "ij,jk->i"),
    "sum of a product in columns": (lambda a, b: (a @ b).sum(0), "ij,jk->k"),
    "sum of all of a product": (lambda a, b: jnp.sum(a @ b), "ij,jk->"),
    "weighted sum of a product": (lambda a, b, c: jnp.sum(a * (b @ c)), "ik,ij,jk->"),
    "rows weighted and summed": (lambda x, y: (x[:, None] * y).sum(0), "i,ij->j"),
    "columns weighted and summed": (lambda x, y: (x * y).sum(-1), "j,ij->i"),
    "weighted and summed over two axes": (lambda x, y: (x[:, :, None] * y).sum((0, 1)), "bi,bij->j"),
    "mask after a product": (lambda m, a, b, v: (m[:, None] * (a @ b)) @ v, "i,ij,jk,k->i"),
    "scaled columns": (lambda a, d, v: (a * d) @ v, "ij,j,j->i"),
    "outer product contracted": (lambda x, y, v: jnp.outer(x, y) @ v, "i,j,j->i"),
    "outer product by broadcasting": (lambda x, y, v: (x[:, None] * y[None, :]) @ v, "i,j,j->i"),
    "outer product summed": (lambda x, y: jnp.outer(x, y).sum(), "i,j->"),
    "kron": (lambda a, b, x, y: jnp.kron(a, b) @ jnp.outer(x, y).reshape(-1), "ij,kl,j,l->ik"),
    "kron transposed": (lambda a, b, x, y: jnp.kron(a, b).T @ jnp.outer(x, y).reshape(-1), "ij,kl,i,k->jl"),
    "kron by einsum": (lambda a, b, x, y: kron_by_einsum(a, b) @ jnp.outer(x, y).reshape(-1), "ij,kl,j,l->ik"),
}
DIAGONALS: dict[str, Spelling] = {
    "diag from the left": (lambda d, a: jnp.diag(d) @ a, "i,ij->ij"),
    "diag from the right": (lambda a, d: a @ jnp.diag(d), "ij,j->ij"),
    "diag by an identity": (lambda d, a: (d[:, None] * jnp.eye(d.shape[0], dtype=d.dtype)) @ a, "i,ij->ij"),
    "masked by an identity": (lambda a, b: (a @ b * jnp.eye(a.shape[0], dtype=a.dtype)).sum(), "ij,ji->"),
    "where on the diagonal": (lambda d, a: jnp.where(on_diagonal(d.size), d[:, None], 0) @ a, "i,ij->ij"),
}


def kron_by_einsum(a: Any, b: Any) -> Any:
    return jnp.einsum("ij,kl->ikjl", a, b).reshape(a.shape[0] * b.shape[0], a.shape[1] * b.shape[1])


def on_diagonal(n: int) -> Any:
    return jnp.arange(n)[:, None] == jnp.arange(n)


MISSES: dict[str, Spelling] = {
    "already in the best order": (lambda a, b, v: a @ (b @ v), "ij,jk,k"),
    "the product is a result as well": (lambda a, b, v: (a @ b @ v, a @ b), "ij,jk,k"),
    "the product is read elsewhere": (lambda a, b, v: (lambda c: c @ v + jnp.sin(c)[:, 0])(a @ b), "ij,jk,k"),
    "the transposed product is read elsewhere": (
        lambda a, b, v: (lambda c: v @ c + jnp.sin(c)[0])((a @ b).T),
        "ij,jk,k",
    ),
    "a diagonal of an argument": (lambda a: jnp.diag(a), "ii"),
    "something else than a product between": (lambda a, b, v: jnp.sin(a @ b) @ v, "ij,jk,k"),
    "rounded on purpose": (lambda a, b, v: lax.reduce_precision(a @ b, 5, 10) @ v, "ij,jk,k"),
    "a product of a product is summed at once": (lambda a, b, c: jnp.vdot(a, b @ c), "ik,ij,jk"),
    "one product": (lambda a, b: a @ b, "ij,jk"),
    "maximum of a product": (lambda a, b: (a @ b).max(1), "ij,jk"),
    "scaled rows of a product": (lambda a, b, d: d[:, None] * (a @ b), "ij,jk,i"),
}
DIAGONAL_MISSES: dict[str, Spelling] = {
    "above the diagonal": (lambda a, b: jnp.sum(a @ b * jnp.eye(a.shape[0], k=1, dtype=a.dtype), 1), "ij,ji"),
    "a triangle": (lambda a, b: jnp.tril(a) @ b, "ii,ij"),
    "an identity that is not square": (lambda a: a * jnp.eye(*a.shape, dtype=a.dtype), "ij"),
    "another filling": (
        lambda d, a: jnp.where(on_diagonal(d.size), d[:, None], 1) @ a,
        "i,ij",
    ),
}
BIG = {"b": 3, "i": 96, "j": 80, "k": 64, "l": 48, "m": 72}


def arguments(spec: str, sizes: dict[str, int], dtype: Any, scale: float = 1.0, seed: int = 0) -> list[Any]:
    """Arrays of the sizes that an einsum names."""
    rng = np.random.default_rng(seed)
    args = []
    for names in spec.split("->")[0].split(","):
        shape = tuple(sizes[name] for name in names)
        x = rng.normal(size=shape)
        if np.dtype(dtype).kind == "c":
            x = x + 1j * rng.normal(size=shape)
        args.append(jnp.asarray(rng.integers(0, 9, shape) if np.dtype(dtype).kind in "iu" else scale * x, dtype))
    return args


def found_rules(graph: Graph) -> set[str]:
    return {found.rule for _, found in rewritings(graph)}


def all_rewritten(graph: Graph, most: int = 9) -> Graph:
    """The graph after every rewriting there is, one upon another."""
    for _ in range(most):
        found = next(rewritings(graph), None)
        if found is None:
            break
        graph = rewrite(*found)
        check(graph)
    return graph


def flops(graph: Graph) -> float:
    from memline.rules import table as rules

    return sum(rules.flops_of(node) for node in graph.nodes if isinstance(node, Op))


@pytest.mark.parametrize("name", CONTRACTIONS)
def test_it_fires_and_takes_less(name):
    fun, spec = CONTRACTIONS[name]
    graph = trace(fun, *arguments(spec, BIG, jnp.float32))
    assert found_rules(graph) >= {"contract"}
    after = all_rewritten(graph)
    made, was = ([max(v.size_bytes for n in g.nodes for v in n.outputs)] for g in (after, graph))
    assert flops(after) < 0.9 * flops(graph) or made < was


@pytest.mark.parametrize("name", DIAGONALS)
def test_a_diagonal_times_something_is_a_rule_of_its_own(name):
    fun, spec = DIAGONALS[name]
    graph = trace(fun, *arguments(spec, BIG, jnp.float32))
    assert "contract_diagonal" in found_rules(graph)
    assert flops(all_rewritten(graph)) < 0.3 * flops(graph)


@pytest.mark.parametrize("name", MISSES)
def test_near_misses_of_contractions(name):
    fun, spec = MISSES[name]
    assert found_rules(trace(fun, *arguments(spec, BIG, jnp.float32))) == set()


LONG = {"b": 2, "i": 40, "j": 6000, "k": 30}
SMALLER: dict[str, Spelling] = {
    "from the left": (lambda v, a, b: v @ a @ b, "i,ij,jk->k"),
    "by einsum": (lambda v, a, b: jnp.einsum("j,jk->k", jnp.einsum("i,ij->j", v, a), b), "i,ij,jk->k"),
    "transposed": (lambda v, a, b: b.T @ (a.T @ v), "i,ij,jk->k"),
    "several vectors": (lambda v, a, b: 2 * (v @ a) @ b / 2, "bi,ij,jk->bk"),
}
NO_SMALLER: dict[str, Spelling] = {
    "smallest as written": (lambda v, a, b: v @ (a @ b), "i,ij,jk->k"),
    "what is long is a result": (lambda v, a, b: (v @ a @ b, v @ a), "i,ij,jk->k"),
    "something else than a product between": (lambda v, a, b: jnp.sin(v @ a) @ b, "i,ij,jk->k"),
    "fastest order is smallest": (lambda a, b, v: a @ b @ v, "ij,jk,k->i"),
}


@pytest.mark.parametrize("name", SMALLER)
def test_the_order_with_the_smallest_array_in_between_is_offered(name):
    fun, spec = SMALLER[name]
    args = arguments(spec, LONG, jnp.float32)
    graph = trace(fun, *args)
    (found,) = ((scope, found) for scope, found in rewritings(graph) if found.rule == "contract_small")
    after = rewrite(*found)
    check(after)
    largest = [max(v.size_bytes for node in g.nodes for v in node.outputs) for g in (after, graph)]
    assert largest[0] < largest[1] / 4
    assert_same(evaluate(after, args), evaluate(graph, args), rtol=1e-4)


@pytest.mark.parametrize("name", NO_SMALLER)
def test_near_misses_of_smaller_orders(name):
    fun, spec = NO_SMALLER[name]
    assert "contract_small" not in found_rules(trace(fun, *arguments(spec, LONG, jnp.float32)))


@pytest.mark.parametrize("name", DIAGONAL_MISSES)
def test_near_misses_of_diagonals(name):
    fun, spec = DIAGONAL_MISSES[name]
    assert "contract_diagonal" not in found_rules(trace(fun, *arguments(spec, BIG, jnp.float32)))


SIZES = {"i": 5, "j": 4, "k": 7, "l": 3, "m": 2, "b": 2}
DTYPES = ("float16", "bfloat16", "float32", "float64", "complex64", "complex128", "int32", "uint8")


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from(sorted({**CONTRACTIONS, **DIAGONALS})),
    dtype=st.sampled_from(DTYPES),
    exponent=st.sampled_from([-6, 0, 6]),
    odd=st.sampled_from(["", "i", "j", "k"]),
    size=st.sampled_from([1, 0]),
    seed=st.integers(0, 5),
)
def test_results_are_within_rounding_of_an_oracle_in_double_precision(name, dtype, exponent, odd, size, seed):
    fun, spec = {**CONTRACTIONS, **DIAGONALS}[name]
    scale = 10.0 ** (exponent / 3 if dtype == "float16" else exponent)
    sizes = {**SIZES, **({odd: size} if odd else {})}
    with jax.enable_x64(True):
        args = arguments(spec, sizes, dtype, scale, seed)
        if np.dtype(dtype).kind in "iu" and "scalings" in name:
            return  # division rounds integers
        graph = trace(fun, *args)
        after = all_rewritten(graph)
        (found,) = evaluate(after, args)
        assert (found.shape, found.dtype) == (graph.outputs[0].shape, graph.outputs[0].dtype)
        if np.dtype(dtype).kind in "iu":
            np.testing.assert_array_equal(found, evaluate(graph, args)[0])
            return
    wide = [np.asarray(x).astype(np.complex128) for x in args]
    oracle, terms = (np.einsum(spec, *xs).reshape(found.shape) for xs in (wide, [np.abs(x) for x in wide]))
    limits = jnp.finfo(dtype)
    is_inside = terms < float(limits.max) / 8
    apart = np.abs(np.asarray(found).astype(np.complex128) - oracle)[is_inside]
    below = 64 * float(limits.tiny) * max(1.0, scale) ** 4
    assert (apart <= 16 * float(limits.eps) * terms[is_inside] + below).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", ["chain", "trace", "diag", "sum of a product", "kron", "outer product contracted"])
def test_what_is_not_finite_stays_so_where_terms_are_only_reordered(name, bad):
    fun, spec = CONTRACTIONS[name]
    args = arguments(spec, SIZES, jnp.float32)
    args[0] = args[0].at[(1,) * args[0].ndim].set(bad)
    graph = trace(fun, *args)
    (written,) = evaluate(graph, args)
    (found,) = evaluate(all_rewritten(graph), args)
    np.testing.assert_array_equal(np.isfinite(found), np.isfinite(written))
    if np.isnan(bad):
        np.testing.assert_array_equal(np.isnan(found), np.isnan(written))


def test_a_diagonal_leaves_out_zeros_times_infinities_and_says_so():
    fun, spec = DIAGONALS["diag from the left"]
    d, a = arguments(spec, SIZES, jnp.float32)
    a = a.at[2, 1].set(np.inf)
    graph = trace(fun, d, a)
    (written,) = evaluate(graph, [d, a])
    (found,) = evaluate(all_rewritten(graph), [d, a])
    assert np.isnan(np.asarray(written)[:, 1]).sum() == d.size - 1, "zero times infinity, as written"
    assert np.isnan(np.asarray(found)).sum() == 0
    (rewriting,) = (r for _, r in rewritings(graph))
    assert rewriting.tag.kind == "approximate"


def test_a_mask_that_selects_is_exact_about_infinities():
    """`trace` picks the diagonal: what is infinite beside it is in no term."""
    a, b = arguments("ij,ji", SIZES, jnp.float32)
    a = a.at[0, 0].set(np.inf)
    a, b = a[:4], b[:, :4].at[:, 1].set(0.0)  # infinity times zero beside the diagonal
    graph = trace(lambda a, b: jnp.trace(a @ b), a, b)
    (found,) = evaluate(all_rewritten(graph), [a, b])
    np.testing.assert_array_equal(found, jnp.trace(a @ b))


@pytest.mark.parametrize("narrow", ["float16", "bfloat16"])
def test_sums_of_narrow_products_are_made_in_the_wider_type(narrow):
    a, b = arguments("ij,jk", {"i": 200, "j": 100, "k": 300}, narrow)
    graph = trace(lambda a, b: (a @ b).sum(1), a, b)
    after = all_rewritten(graph)
    assert after is not graph
    for node in after.nodes:
        if node.kind in ("dot_general", "reduce_sum"):
            assert node.outputs[0].dtype == jnp.float32
    (found,) = evaluate(after, [a, b])
    exact = (np.asarray(a).astype(np.float64) @ np.asarray(b).astype(np.float64)).sum(1)
    written = np.asarray(evaluate(graph, [a, b])[0]).astype(np.float64)
    assert np.abs(np.asarray(found).astype(np.float64) - exact).max() <= np.abs(written - exact).max() * 1.01


def test_a_product_that_wrapped_before_it_was_widened_is_left_alone():
    a, b = arguments("ij,jk", BIG, jnp.int8)
    narrow = trace(lambda a, b: lax.dot_general(a, b, (((1,), (0,)), ((), ()))).astype(jnp.int32).sum(1), a, b)
    assert found_rules(narrow) == set()
    wide = trace(
        lambda a, b: lax.dot_general(a, b, (((1,), (0,)), ((), ())), preferred_element_type=jnp.int32).sum(1), a, b
    )
    assert "contract" in found_rules(wide)
    np.testing.assert_array_equal(evaluate(all_rewritten(wide), [a, b])[0], evaluate(wide, [a, b])[0])


def test_products_of_other_precisions_are_not_mixed():
    a, v = arguments("ii,i", BIG, jnp.float32)
    mixed = trace(lambda a, v: jnp.dot(jnp.dot(a, a, precision="highest"), v, precision="default"), a, v)
    assert found_rules(mixed) == set()
    same = trace(lambda a, v: jnp.dot(jnp.dot(a, a, precision="highest"), v, precision="highest"), a, v)
    products = [node for node in all_rewritten(same).nodes if isinstance(node, Op) and node.kind == "dot_general"]
    assert len(products) == 2
    assert {str(lax.Precision.HIGHEST)} == {str(p) for node in products for p in node.params["precision"]}


class TestOrder:
    def chain(self, *sizes: int) -> Problem:
        factors = tuple(frozenset([n, n + 1]) for n in range(len(sizes) - 1))
        return Problem(factors, frozenset([0, len(sizes) - 1]), sizes, 4)

    def test_the_textbook_chain(self):
        """Cormen et al., Introduction to Algorithms, chapter 15.2; sizes scaled, for small ones are all alike."""
        order = best_order(self.chain(*(64 * n for n in (30, 35, 15, 5, 10, 20, 25))))
        assert text_of(order) == "(0(12))((34)5)"

    @settings(max_examples=60, deadline=None)
    @given(st.lists(st.sampled_from([1, 40, 90, 300, 1000]), min_size=3, max_size=6))
    def test_no_bracketing_of_a_chain_is_better(self, sizes):
        problem = self.chain(*sizes)

        def costs(first: int, last: int):
            if first == last:
                yield problem.leaf(first)
                return
            kept = frozenset([first, last + 1])
            for middle in range(first, last):
                for a in costs(first, middle):
                    for b in costs(middle + 1, last):
                        yield problem.pair(a, b, kept, last - first + 2 == len(sizes))

        least = min(term.work.cost for term in costs(0, len(sizes) - 2))
        assert math.isclose(best_order(problem).work.cost, least, rel_tol=1e-9, abs_tol=1.0)
        smallest = min(term.work.largest_bytes for term in costs(0, len(sizes) - 2))
        assert best_order(problem, least_bytes).work.largest_bytes == smallest

    def test_long_chains_and_many_factors_of_one_index_are_ordered_in_a_moment(self):
        assert text_of(best_order(self.chain(*([50] * 32), 1))).count("(") == 30
        star = Problem(tuple(frozenset([0, n]) for n in range(1, 15)), frozenset([0]), (9,) * 15, 4)
        assert best_order(star).indices == {0}

    def test_what_nothing_connects_is_multiplied_last(self):
        problem = Problem((frozenset([0]), frozenset([1]), frozenset([0])), frozenset([1]), (90, 90), 4)
        assert text_of(best_order(problem)) == "(02)1"


class TestPlans:
    ARGS = (normal(600, 500, seed=1), normal(500, 400, seed=2), normal(400, seed=3))

    @staticmethod
    def chain(a: Any, b: Any, v: Any) -> Any:
        return a @ b @ v

    def test_a_chain_never_makes_the_product(self):
        held = sum(x.nbytes for x in self.ARGS)
        compiled = memline.jit(self.chain, memory_limit=held + 2_200_000).lower(*self.ARGS).compile()
        assert [type(move) for move in compiled.plan.moves] == [Rewrite]
        assert compiled.plan.compiled_peak_bytes <= held + 10_000
        assert_same(compiled(*self.ARGS), self.chain(*self.ARGS), rtol=1e-4)

    def test_the_plan_tells_the_rule_its_tag_the_line_and_what_it_saves_and_is_replayed(self):
        compiled = memline.jit(self.chain, memory_limit="8MiB").lower(*self.ARGS).compile()
        (decision,) = compiled.plan.decisions
        for part in ("contract (test_contract.py:", "reassociates", "935.55 KiB less made", "fewer operations", " -> "):
            assert part in decision.reason
        again = memline.jit(self.chain, plan=memline.Plan.from_json(compiled.plan.to_json())).lower(*self.ARGS)
        assert again.plan.moves == compiled.plan.moves
        assert str(again.compile().graph) == str(compiled.graph)

    def test_what_the_options_do_not_allow_is_left_and_told(self):
        options = Options(rewrites=("exact", "approximate"))
        plan = memline.jit(self.chain, memory_limit="8MiB", options=options).lower(*self.ARGS).compile().plan
        assert plan.decisions == ()
        assert any("is reassociates, which the options do not allow" in note for note in plan.notes)

    @pytest.mark.parametrize("transform", ["jit", "grad", "vmap"])
    def test_results_are_those_of_plain_jax(self, transform):
        a, b, v = self.ARGS
        fun = memline.limit(lambda a, b, v: jnp.trace(a @ b @ jnp.outer(v, a[:, 0])), "8MiB")
        plain = lambda a, b, v: jnp.trace(a @ b @ jnp.outer(v, a[:, 0]))  # noqa: E731
        if transform == "jit":
            assert_same(jax.jit(fun)(a, b, v), plain(a, b, v), rtol=1e-4)
        elif transform == "grad":
            assert_same(jax.grad(fun, (0, 2))(a, b, v), jax.grad(plain, (0, 2))(a, b, v), rtol=1e-4)
        else:
            many = jnp.stack([v, 2 * v])
            assert_same(jax.vmap(lambda v: fun(a, b, v))(many), jax.vmap(lambda v: plain(a, b, v))(many), rtol=1e-4)

    def test_an_order_that_is_faster_and_needs_more_is_taken_only_where_there_is_room(self):
        v, b, c = normal(50, seed=1), normal(50, 20_000, seed=2), normal(20_000, 50, seed=3)
        fun = lambda v, b, c: v @ (b @ c)  # noqa: E731
        roomy = memline.jit(fun, memory_limit="16MiB").lower(v, b, c).compile().plan
        assert [move.rule for move in roomy.moves if isinstance(move, Rewrite)] == ["contract"]
        assert roomy.planned_peak_bytes > roomy.whole_peak_bytes + 40_000
        limit_bytes = (roomy.planned_peak_bytes + roomy.whole_peak_bytes) // 2
        tight = memline.jit(fun, memory_limit=limit_bytes).lower(v, b, c).compile()
        assert not any(isinstance(move, Rewrite) for move in tight.plan.moves)
        assert any("does not pay" in note and "contract of" in note for note in tight.plan.notes)
        assert_same(tight(v, b, c), fun(v, b, c), rtol=1e-4)

    def test_under_a_limit_that_a_rewritten_program_breaks_it_is_split_as_well(self):
        a, b = normal(700, 500, seed=1), normal(500, 700, seed=2)
        held = a.nbytes + b.nbytes
        compiled = memline.jit(lambda a, b: jnp.trace(a @ b), memory_limit=held + 300_000).lower(a, b).compile()
        assert [type(move).__name__ for move in compiled.plan.moves] == ["Rewrite", "SplitAxis"]
        assert compiled.plan.compiled_peak_bytes <= held + 300_000
        assert_same(compiled(a, b), jnp.trace(a @ b), rtol=1e-3)
