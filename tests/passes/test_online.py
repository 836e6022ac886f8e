"""Online folds: softmax, logsumexp and attention along a split axis take one loop, and give what they gave."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import memline
from memline.ir.check import check
from memline.ir.emit import evaluate
from memline.ir.graph import Loop
from memline.ir.trace import trace
from memline.passes.defer import defer
from memline.passes.split import split
from tests.families import normal
from tests.passes.folding import assert_agree, cut, deferred, loops, region_along, stages

H, Q, K, D = 2, 5, 48, 8
INF = jnp.inf
QKV = (normal(H, Q, D), normal(H, K, D, seed=1), normal(H, K, D, seed=2))


def scores(q, k):
    return jnp.einsum("hqd,hkd->hqk", q, k) / 3


def attend(s, v):
    return jnp.einsum("hqk,hkd->hqd", jax.nn.softmax(s, axis=-1), v)


def attention(q, k, v):
    return attend(scores(q, k), v)


def causal(q, k, v, hidden=-INF):
    s = scores(q, k)
    seen = 9 * jnp.arange(Q)[:, None] >= jnp.arange(K)
    return attend(jnp.where(seen, s, hidden), v)


def late_window(q, k, v):
    """The first chunks are hidden altogether."""
    s = scores(q, k)
    return attend(jnp.where(jnp.arange(K) > 30, s, -INF), v)


def by_hand(q, k, v):
    s = scores(q, k)
    m = s.max(-1, keepdims=True)
    e = jnp.exp(s - m)
    total = e.sum(-1, keepdims=True)
    return e @ v / total, (m + jnp.log(total))[..., 0]


def guarded_by_hand(q, k, v):
    s = jnp.where(scores(q, k) > 0.2, scores(q, k), -INF)
    m = s.max(-1, keepdims=True)
    m = jnp.where(m == -INF, 0.0, m)
    e = jnp.exp(s - m)
    return e @ v / jnp.maximum(e.sum(-1, keepdims=True), 1e-6)


def with_sink(q, k, v):
    """One more key, of score 0, that carries nothing."""
    s = scores(q, k)
    m = s.max(-1, keepdims=True, initial=0.0)
    e = jnp.exp(s - m)
    return e @ v / (e.sum(-1, keepdims=True) + jnp.exp(-m))


def where_softmax(q, k, v):
    s = scores(q, k)
    p = jax.nn.softmax(s, axis=-1, where=jnp.arange(K) % 3 == 0)
    return p @ v


def two_softmaxes(q, k, v):
    s = scores(q, k)
    return (jax.nn.softmax(s, -1) * jax.nn.softmax(-2 * s, -1)) @ v


def side_by_side(q, k, v):
    """The difference of two attentions (Ye et al., Differential Transformer, 2024)."""
    return attend(scores(q, k), v) - 0.3 * attend(scores(2 * q, k), v)


def spread_maximum(q, k, v):
    s = scores(q, k)
    e = jnp.exp(s - jnp.broadcast_to(s.max(-1, keepdims=True), s.shape))
    return (e / jnp.broadcast_to(e.sum(-1, keepdims=True), s.shape)) @ v


def library(q, k, v, **options):
    q, k, v = (x.transpose(1, 0, 2)[None] for x in (q, k, v))
    return jax.nn.dot_product_attention(q, k, v, **options)


def logsumexp(q, k, v):
    return jax.nn.logsumexp(scores(q, k), axis=-1)


def weighted_logsumexp(q, k, v):
    return jax.nn.logsumexp(scores(q, k), axis=-1, b=v[:, None, :, 0])


def partial_logsumexp(q, k, v):
    return jax.nn.logsumexp(scores(q, k), axis=-1, where=v[:, None, :, 0] > 0)


def cross_entropy(q, k, v):
    logits = scores(q, k)
    labels = jax.nn.one_hot(jnp.arange(Q) * 7, K)
    return jnp.mean(jax.nn.logsumexp(logits, -1) - (labels * logits).sum(-1))


ONE_LOOP = {
    "attention": (attention, 3),
    "causal": (causal, 3),
    "causal, finite": (functools.partial(causal, hidden=-6e4), 3),
    "late window": (late_window, 3),
    "by hand": (by_hand, 2),
    "guarded by hand": (guarded_by_hand, 2),
    "with a sink": (with_sink, 2),
    "softmax with where": (where_softmax, 3),
    "two softmaxes": (two_softmaxes, 3),
    "side by side": (side_by_side, 3),
    "spread maximum": (spread_maximum, 3),
    "library attention": (library, 3),
    "library attention, causal": (functools.partial(library, is_causal=True), 3),
    "logsumexp": (logsumexp, 2),
    "logsumexp with b": (weighted_logsumexp, 2),
    "logsumexp with where": (partial_logsumexp, 2),
    "cross-entropy": (cross_entropy, 2),
}


@pytest.mark.parametrize("name", ONE_LOOP)
class TestOneLoop:
    def test_does(self, name):
        fun, before = ONE_LOOP[name]
        assert stages(fun, QKV, K) == (before, 1)

    @pytest.mark.parametrize("chunk", [7, K])
    def test_gives_the_same(self, name, chunk):
        assert_agree(ONE_LOOP[name][0], QKV, K, chunk)

    def test_of_large_scores(self, name):
        q, k, v = QKV
        assert_agree(ONE_LOOP[name][0], (q * -1e4, k, v), K, chunk=7, rtol=2e-3)

    def test_of_infinities_and_nan(self, name):
        q, k, v = QKV
        bad = k.at[0, 3].set(INF).at[0, 9].set(-INF).at[1, 20, 0].set(jnp.nan)
        assert_agree(ONE_LOOP[name][0], (q, bad, v), K, chunk=7)

    def test_gradients_are_right(self, name):
        fun = ONE_LOOP[name][0]

        def loss(*args):
            return sum(jnp.sum(jnp.square(x)) for x in jax.tree.leaves(fun(*args)))

        assert_agree(jax.grad(loss, (0, 1, 2)), QKV, K, chunk=11, rtol=1e-5)


REFUSED = {(name, "float16") for name in ONE_LOOP if name.startswith("library")}
"""What XLA:CPU has no product for: `dot_product_attention` asks for one that multiplies float16 and sums in it."""
HALVES = {(name, dtype) for name in ONE_LOOP for dtype in ("bfloat16", "float16")} - REFUSED


@pytest.mark.parametrize(("name", "dtype"), sorted(HALVES))
def test_half_precision_gives_the_same(name, dtype):
    args = tuple(x.astype(dtype) for x in QKV)
    assert_agree(ONE_LOOP[name][0], args, K, chunk=7, rtol=4e-2 if dtype == "bfloat16" else 6e-3)


@pytest.mark.parametrize(("name", "dtype"), sorted(REFUSED))
def test_what_plain_jit_refuses_is_refused_alike(name, dtype):
    fun, args = ONE_LOOP[name][0], tuple(x.astype(dtype) for x in QKV)
    for jitted in (jax.jit(fun), memline.jit(fun, memory_limit="20KiB")):
        with pytest.raises(ValueError, match="'F16_F16_F32' is not supported by dot_general on CPU"):
            jitted(*args)


def hidden(s):
    """Everything in one row, all but the last key in another, all but the first in a third."""
    return s.at[:, 0].set(-INF).at[:, 1, :-1].set(-INF).at[:, 2, 1:].set(-INF)


@pytest.mark.parametrize(
    "fun",
    [
        lambda s, v: attend(s * 1, v),
        lambda s, v: jax.nn.logsumexp(s * 1, -1),
        lambda s, v: by_hand_of(s * 1)[1],
        lambda s, v: jnp.exp(s - by_hand_of(s * 1)[0]).sum(-1),
    ],
    ids=["attention", "logsumexp", "logsumexp by hand", "bare sum"],
)
@pytest.mark.parametrize("special", [-INF, INF, jnp.nan])
def test_rows_that_are_hidden(fun, special):
    s = hidden(scores(*QKV[:2])).at[:, 3, 17].set(special)
    for chunk in (1, 5, 47, 48):
        assert_agree(fun, (s, QKV[2]), K, chunk)


def by_hand_of(s):
    m = s.max(-1, keepdims=True)
    return m, (m + jnp.log(jnp.exp(s - m).sum(-1, keepdims=True)))[..., 0]


def exponent(change):
    """A sum of exponentials of something made of the scores s and their maximum m."""

    def program(q, k, v):
        s = scores(q, k)
        return jnp.exp(change(s, s.max(-1, keepdims=True))).sum(-1)

    return program


def summand(change):
    """A sum of something made of the exponentials e and the maximum m."""

    def program(q, k, v):
        s = scores(q, k)
        m = s.max(-1, keepdims=True)
        return change(jnp.exp(s - m), m).sum(-1)

    return program


NEAR_MISSES = {
    "twice the maximum": exponent(lambda s, m: s - 2 * m),
    "the maximum, twice": exponent(lambda s, m: s - m - m),
    "plus the maximum": exponent(lambda s, m: s + m),
    "less half of it": exponent(lambda s, m: s / 2 - m / 2),
    "the maximum first": exponent(lambda s, m: m - s),
    "another array": exponent(lambda s, m: jnp.sin(s) - m),
    "a larger array": exponent(lambda s, m: s + 1 - m),
    "the maximum of other rows": exponent(lambda s, m: s - m[:, ::-1]),
    "the minimum": exponent(lambda s, m: s - s.min(-1, keepdims=True)),
    "not an exponential": lambda q, k, v: jnp.tanh(scores(q, k) - scores(q, k).max(-1, keepdims=True)).sum(-1),
    "a summand of 1": summand(lambda e, m: e + 1),
    "a root": summand(lambda e, m: jnp.sqrt(e)),
    "one over": summand(lambda e, m: 1 / (e + 0.1)),
    "chosen by size": summand(lambda e, m: jnp.where(e > 0.5, e, 0)),
    "ones for zeros": summand(lambda e, m: jnp.where(jnp.arange(K) < 9, 1.0, e)),
    "the maximum in the summand": summand(lambda e, m: e * jnp.sin(jnp.arange(K) + m)),
    "a maximum of them": lambda q, k, v: jnp.exp(scores(q, k) - scores(q, k).max(-1, keepdims=True)).max(-1),
    "a sum over rows too": lambda q, k, v: jnp.exp(scores(q, k) - scores(q, k).max(-1, keepdims=True)).sum((1, 2)),
}


@pytest.mark.parametrize("name", NEAR_MISSES)
def test_near_misses_wait_for_the_maximum(name):
    before, region = deferred(NEAR_MISSES[name], QKV, K)
    assert region is before
    assert before.stages == 2
    assert_agree(NEAR_MISSES[name], QKV, K, chunk=7, rtol=1e-5)


def test_square_scores_and_the_maximum_of_the_other_axis():
    """Sizes alone do not tell that the maximum of row i is taken from column i."""

    def crossed(x, y):
        s = jnp.einsum("abd,kd->abk", x, y)
        return jnp.exp(s - s.max(-1).T[..., None]).sum(-1)

    args = normal(4, 4, 3), normal(K, 3)
    before, region = deferred(crossed, args, K)
    assert region is before
    assert_agree(crossed, args, K, chunk=7)


def test_backward_of_attention_needs_two_loops_for_four():
    def both(q, k, v, do):
        o, back = jax.vjp(attention, q, k, v)
        return o, back(do)

    args = (*QKV, normal(H, Q, D, seed=3))
    assert stages(both, args, K) == (4, 2)
    assert_agree(both, args, K, chunk=7, rtol=1e-5)


def test_what_is_returned_is_made_with_the_final_maximum():
    def both(q, k, v):
        p = jax.nn.softmax(scores(q, k), -1)
        return p, p @ v

    assert stages(both, QKV, K) == (3, 2)
    assert_agree(both, QKV, K, chunk=7)


def test_under_vmap():
    many = jax.vmap(attention, in_axes=(0, None, None))
    args = (normal(3, H, Q, D), *QKV[1:])
    assert stages(many, args, K) == (3, 1)
    assert_agree(many, args, K, chunk=7)
    _, region = deferred(attention, QKV, K)
    pieces = jax.vmap(cut(region, 7), in_axes=(0, None, None))
    np.testing.assert_allclose(jax.jit(pieces)(*args)[0], many(*args), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("fun", [attention, by_hand, late_window, logsumexp, with_sink, where_softmax])
def test_pieces_can_be_differentiated(fun):
    """Whether the maximum is behind a `stop_gradient` or not, and where a later chunk only equals it."""
    q, k, v = QKV
    args = q, jnp.tile(k[:, : K // 2], (1, 2, 1)), v
    _, region = deferred(fun, args, K)
    pieces = cut(region, 7)

    def loss(fun, *args):
        return sum(jnp.sum(jnp.sin(x)) for x in jax.tree.leaves(fun(*args)))

    forward = jax.jvp(lambda *x: loss(pieces, *x), args, QKV)[1]
    np.testing.assert_allclose(forward, jax.jvp(lambda *x: loss(fun, *x), args, QKV)[1], rtol=1e-4, atol=1e-5)
    found, expected = (jax.grad(functools.partial(loss, f), (0, 1, 2))(*args) for f in (pieces, fun))
    for a, b in zip(found, expected, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("length", [12, Q], ids=["the same axis again", "the queries"])
def test_loops_in_loops(length):
    graph = trace(late_window, *QKV)
    outer = split(defer(region_along(graph, K)), 12)
    [loop] = loops(outer)
    inner = split(defer(region_along(loop.body, length)), 2)
    check(inner)
    assert len(loops(inner)) == 1
    nested = Loop(**{**vars(loop), "body": inner})
    nodes = tuple(nested if node is loop else node for node in outer.nodes)
    whole = type(outer)(outer.inputs, nodes, outer.outputs)
    check(whole)
    found = jax.jit(lambda *args: evaluate(whole, args))(*QKV)
    np.testing.assert_allclose(found[0], late_window(*QKV), rtol=1e-5, atol=1e-6)


def test_the_planner_uses_it_and_a_plan_replays_it():
    def long(q, k, v):
        return jax.nn.softmax(q @ k.T, axis=-1) @ v

    args = normal(32, 16), normal(8192, 16, seed=1), normal(8192, 16, seed=2)
    bytes_in = sum(x.nbytes for x in args)
    plan = memline.plan(long, bytes_in + 400_000)(*args)
    assert "1 stage" in str(plan)
    replayed = memline.jit(long, plan=memline.Plan.from_json(plan.to_json()))
    for fun in (memline.jit(long, memory_limit=bytes_in + 400_000), replayed):
        np.testing.assert_allclose(fun(*args), long(*args), rtol=1e-4, atol=1e-5)


def test_the_same_region_always_gives_the_same_graph():
    graph = trace(causal, *QKV)
    assert len({str(defer(region_along(graph, K)).graph) for _ in range(3)}) == 1
    assert len({str(split(defer(region_along(graph, K)), 7)) for _ in range(3)}) == 1


@settings(max_examples=12, deadline=None)
@given(data=st.data())
def test_any_size_chunk_and_mask(data):
    draw = data.draw
    rows, keys, depth = draw(st.integers(1, 4)), draw(st.integers(9, 40)), draw(st.integers(1, 5))
    chunk = draw(st.integers(1, keys))
    scale = draw(st.sampled_from([0.0, 1.0, 100.0]))
    fill = draw(st.sampled_from([-INF, -1e9, 0.0]))
    keep = np.random.default_rng(draw(st.integers(0, 99))).random((rows, keys)) < draw(st.sampled_from([0.0, 0.2, 1.0]))

    def program(q, k, v):
        s = jnp.where(keep, q @ k.T, fill)
        return jax.nn.softmax(s, -1) @ v, jax.nn.logsumexp(s, -1)

    args = scale * normal(rows, depth), normal(keys, depth, seed=1), normal(keys, 3, seed=2)
    assert stages(program, args, keys)[1] == 1
    assert_agree(program, args, keys, chunk, rtol=1e-5)
