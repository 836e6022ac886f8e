"""A share of the sweep, and whether the sweep would notice if something were wrong."""

from __future__ import annotations

import warnings
import zlib
from collections.abc import Iterator
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from memline.ir.graph import Graph, Op
from memline.ir.trace import trace
from memline.rules import folds, table
from memline.rules.elementwise import CHEAP, COSTLY
from tests.sweep import case as judging
from tests.sweep.arrays import LARGE, SMALL, Spec, dyadic, made_inside, sample
from tests.sweep.call import Drawn
from tests.sweep.case import judge, referees
from tests.sweep.chosen import CHOSEN, ONCE_WRONG, UNREACHED
from tests.sweep.compare import differences, turns_open
from tests.sweep.draw import Refusal, draws
from tests.sweep.names import functions
from tests.sweep.programs import Program, programs, with_gradient
from tests.sweep.reordered import reordered
from tests.sweep.report import run
from tests.sweep.splits import drawn_splits, judge_splits, outcomes
from tests.sweep.undrawn import UNDRAWN

FUNCTIONS = functions()
ALL_CHOSEN = sorted({*CHOSEN, *ONCE_WRONG} & {c for c in (*CHOSEN, *ONCE_WRONG) if c.split("#")[0] in FUNCTIONS})


def drawn(call: str) -> Drawn:
    """Returns a call by its name and number, such as `numpy.sort#1`."""
    name, number = call.split("#")
    found = draws(name, FUNCTIONS[name], 0)
    assert not isinstance(found, Refusal), found.why
    return next(each for each in found if each.number == int(number))


def family(name: str) -> str:
    """Returns the module of a function; the many small ones of `scipy.stats` are one."""
    return "scipy.stats" if name.startswith("scipy.stats.") else name.rsplit(".", 1)[0]


class TestChosenCalls:
    @pytest.mark.parametrize("call", ALL_CHOSEN)
    def test_same_results_under_a_limit(self, call: str) -> None:
        for outcome in run(drawn(call), 0, turn=zlib.crc32(call.encode()) % 4):
            assert not outcome.bad, outcome
            assert outcome.verdict in ("split", "rewritten", "whole"), outcome
            assert outcome.finite > 0, "there is nothing to compare"
        jax.clear_caches()

    def test_they_are_of_every_module(self) -> None:
        assert {family(call) for call in ALL_CHOSEN} == {family(name) for name in FUNCTIONS}

    def test_they_reach_every_primitive_with_a_rule(self) -> None:
        reached = set()
        for call in ALL_CHOSEN:
            each = drawn(call)
            args = tuple(sample(spec, SMALL, np.random.default_rng(0)) for spec in each.specs)
            program = Program("alone", lambda *xs, each=each: jax.tree.leaves(each.function(*xs)), args, folded=False)
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                for form in (program, with_gradient(program)):
                    reached |= set() if form is None else set(kinds(trace(form.fun, *args)))
        missing = {p.name for p in table.registered_primitives()} - reached - UNREACHED - {*CHEAP, *COSTLY}
        assert not missing


def kinds(graph: Graph) -> Iterator[str]:
    """Yields the names of a graph's primitives."""
    for node in graph.nodes:
        if isinstance(node, Op):
            yield node.kind
        else:
            yield from kinds(node.body)


class TestDrawing:
    def test_what_cannot_be_drawn_is_what_is_on_record(self) -> None:
        """A function that JAX gains is either drawn by its signature, or fails here until someone looks at it."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = [draws(name, function, 0) for name, function in FUNCTIONS.items()]
        refused = {each.name: each.why for each in found if isinstance(each, Refusal)}
        assert refused == {name: why for name, why in UNDRAWN.items() if name in FUNCTIONS}
        assert len(FUNCTIONS) > 900

    def test_other_seeds_draw_other_types_and_sizes(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = [draws("numpy.add", FUNCTIONS["numpy.add"], seed) for seed in range(1, 7)]
        calls = [each for drawn in found if not isinstance(drawn, Refusal) for each in drawn]
        assert len({str(each.specs) for each in calls}) > 2
        assert len({each.large for each in calls}) > 2

    def test_other_seeds_draw_keywords_and_weak_types(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            sums = [draws("numpy.sum", FUNCTIONS["numpy.sum"], seed) for seed in range(1, 7)]
            fulls = [draws("numpy.full", FUNCTIONS["numpy.full"], seed) for seed in range(1, 7)]
        given = {
            name for drawn in sums if not isinstance(drawn, Refusal) for each in drawn for name, _ in each.keywords
        }
        assert given >= {"axis", "keepdims"}
        assert any(s.weak for drawn in fulls if not isinstance(drawn, Refusal) for each in drawn for s in each.specs)

    @pytest.mark.parametrize("kind", ["x", "+", "u", "v", "w", "r", "N", "i", "j", "B", "b", "c"])
    def test_arrays_made_inside_are_like_those_that_are_drawn(self, kind: str) -> None:
        spec = Spec.parse(f"{kind} n d")
        rng = np.random.default_rng(0)
        one = sample(spec, LARGE, rng)
        other = made_inside(spec, [dyadic(rng, size) for size in spec.shape(LARGE)])
        assert (one.dtype, one.shape) == (other.dtype, other.shape)
        for low, high in zip(*([np.nanmin(a), np.nanmax(a)] for a in map(np.real, (one, other))), strict=True):
            assert abs(float(low) - float(high)) < 0.5 + 0.1 * abs(float(low))


def program() -> Program:
    """One with something to split."""
    return next(p for p in programs(drawn("nn.softmax#0"), 0) if p.name == "made")


class TestJudging:
    def test_a_program_that_is_split(self) -> None:
        outcome = judge("softmax", program())
        assert (outcome.verdict, outcome.finite) == ("split", 1.0)

    def test_a_wrong_result_is_found(self, monkeypatch: pytest.MonkeyPatch) -> None:
        right = judging._run

        def wrong(*args):
            plan, results = right(*args)
            leaves, tree = jax.tree.flatten(results)
            return plan, jax.tree.unflatten(tree, [leaves[0] * 1.001, *leaves[1:]])

        monkeypatch.setattr(judging, "_run", wrong)
        assert judge("softmax", program()).verdict == "wrong"

    def test_an_error_of_another_kind_is_found(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def fails(*args):
            raise KeyError("unknown")

        monkeypatch.setattr(judging, "_run", fails)
        assert judge("softmax", program()).verdict == "error"

    def test_what_plain_jit_cannot_do_is_no_fault(self) -> None:
        def fails(x):
            raise TypeError("no such thing")

        assert judge("none", Program("none", fails, (jnp.ones(3),))).verdict == "plain fails"


class TestSplitting:
    def test_a_fold_that_is_wrong_is_found(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The planner splits the same program along other axes only."""
        right = folds.fold_named("argmax")
        wrong = replace(right, step=lambda op, start, accs, xs: right.step(op, 0 * start, accs, xs))
        found = next(p for p in programs(drawn("lax.argmax#0"), 0) if p.name == "made")
        assert judge_splits("argmax", found, np.random.default_rng(0)).verdict == "split"
        monkeypatch.setitem(folds._folds, "argmax", wrong)
        assert judge_splits("argmax", found, np.random.default_rng(0)).verdict == "wrong"
        assert judge("argmax", found).verdict == "whole"

    @pytest.mark.parametrize("call", ["lax.scatter_add#1", "lax.reduce_window#1", "numpy.cumsum#0", "lax.sort#2"])
    def test_same_results_split_in_drawn_ways(self, call: str) -> None:
        found = list(outcomes(drawn(call), 1))
        assert not [outcome for outcome in found if outcome.bad]
        assert "split" in {outcome.verdict for outcome in found}

    def test_splits_of_a_program_are_unlike(self) -> None:
        made = drawn_splits(program(), np.random.default_rng(0))
        assert len(made) > 2
        assert len({moves for moves, _ in made}) == len(made)


class TestReordered:
    @pytest.mark.parametrize("call", ["nn.softmax#0", "numpy.matmul#0", "numpy.var#1"])
    def test_it_computes_the_same_in_another_order(self, call: str) -> None:
        each = with_gradient(next(p for p in programs(drawn(call), 0) if p.name == "alone"))
        assert each is not None
        one, other = (jax.tree.leaves(fun(*each.args)) for fun in (each.fun, reordered(each.fun, (3,))))
        assert any((a != b).any() for a, b in zip(one, other, strict=True))
        for a, b in zip(one, other, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4 * max(1.0, float(abs(a).max())))

    def test_sums_that_cancel_are_no_fault(self) -> None:
        """The gradient by what `lax.pad` pads with is a difference of two sums, and exactly 0 in the order written."""
        each = with_gradient(next(p for p in programs(drawn("lax.pad#1"), 0) if p.name == "alone"))
        assert each is not None
        assert not judge("pad", each).bad


class TestReferees:
    def test_a_loop_that_its_numbers_end_is_not_run_in_wider_types(self) -> None:
        def halves(x: jax.Array) -> jax.Array:
            """In float64 it takes ten times as many turns; other loops never end there."""
            return lax.while_loop(lambda v: v > 0, lambda v: v / 2, x)

        args = (jnp.float32(3.0),)
        for fun, is_open in ((halves, True), (lambda x: lax.cond(x > 0, halves, jnp.sin, x), True), (jnp.sin, False)):
            assert turns_open(jax.make_jaxpr(fun)(*args).jaxpr) == is_open
        program = Program("halves", lambda x: [halves(x)], args)
        assert len(referees(program, widened=True)) == len(referees(program, widened=False)) + 1


class TestComparing:
    numbers = np.linspace(-1.0, 1.0, 50, dtype=np.float32)

    def wrong(self, found, expected, *others) -> bool:
        found, expected, *others = (jnp.asarray(x) for x in (found, expected, *others))
        return differences([found], [expected], lambda: [[x] for x in others]) is not None

    def test_floats(self) -> None:
        x = self.numbers
        assert not self.wrong(x, x)
        assert not self.wrong(x * np.float32(1 + 1e-6), x, x)
        assert self.wrong(x * np.float32(1.001), x, x)
        assert self.wrong(x.astype(np.float16), x, x)
        assert not self.wrong(x * np.float32(1.001), x, x * np.float32(1.0005)), "no better known than that"

    def test_narrow_floats_are_not_judged_by_their_many_roundings(self) -> None:
        x = self.numbers.astype(jnp.bfloat16)
        assert not self.wrong(x * jnp.bfloat16(1.008), x, x)
        assert self.wrong(x * jnp.bfloat16(1.1), x, x)

    def test_a_sum_that_may_overflow_may_be_no_number(self) -> None:
        x = np.array([0.0, 96.0], jnp.float8_e4m3fn)
        y = np.array([0.0, np.nan], jnp.float8_e4m3fn)
        assert not self.wrong(y, x, np.array([0.0, 400.0], np.float32))
        assert self.wrong(y, x, np.array([0.0, 97.0], np.float32))

    def test_nans_and_infinities(self) -> None:
        x = self.numbers.copy()
        x[3], x[4] = np.nan, np.inf
        assert not self.wrong(x, x.copy())
        for place, other in ((3, 0.0), (4, 0.0), (5, np.nan), (4, -np.inf)):
            y = x.copy()
            y[place] = other
            assert self.wrong(y, x, x)

    def test_integers_flags_and_keys(self) -> None:
        x = np.arange(50)
        assert self.wrong(np.where(x == 7, 8, x), x, x)
        assert not self.wrong(np.where(x == 7, 8, x), x, np.where(x == 7, 9, x)), "the program does not decide"
        assert self.wrong(x > 3, x > 4, x > 4)
        keys = jax.random.split(jax.random.key(0), 3)
        assert not self.wrong(keys, keys)
        assert self.wrong(keys, keys[::-1], keys[::-1])
