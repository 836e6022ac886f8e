"""Every program split at values and along axes that are drawn, not planned: a plan is one way of many.

The planner seldom folds the very axis that a function sums or compares along. So several splits of one program are
drawn, with uneven chunks and with values kept or made again, and one more is made inside the last; all are computed
beside the program as written, in one compilation.
"""

from __future__ import annotations

import functools
import gc
import time
import warnings
import zlib
from collections import Counter
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from memline.errors import PlanError
from memline.ir.emit import evaluate
from memline.ir.graph import Graph
from memline.passes.defer import defer
from memline.plan.apply import apply_moves, region_of
from memline.plan.moves import Keep, Move, SplitAxis
from memline.planning import prepared_graph
from tests.sweep.call import Drawn
from tests.sweep.case import Outcome, referees
from tests.sweep.compare import coarsest, differences, turns_open
from tests.sweep.draw import Refusal
from tests.sweep.programs import Program, programs, with_gradient
from tests.sweep.report import conclude, drawn

_SPLITS = 4
"""Of each program, and one more inside the last."""
_CLEAR_AFTER = 60  # programs, before JAX's caches of them fill the memory
_QUICK: dict[str, Any] = {"xla_backend_optimization_level": 0}


def judge_splits(case: str, program: Program, rng: np.random.Generator) -> Outcome:
    """Splits a program in ways that are drawn, and compares each with the program as it is."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            expected = jax.jit(program.fun, compiler_options=_QUICK)(*program.args)
        except Exception as error:  # then memline has nothing to be like
            return Outcome(case, "plain fails", f"{type(error).__name__}: {' '.join(str(error).split())[:200]}")
        made: list[tuple[tuple[Move, ...], Graph]] = []
        try:
            made = drawn_splits(program, rng)
            for how in (_QUICK, {}):
                why = _wrong(program, made, expected, how) if made else None
                if why is None:
                    break
        except Exception as error:
            moves = [[str(m) for m in moves] for moves, _ in made]
            return Outcome(case, "error", f"{type(error).__name__}: {' '.join(str(error).split())[:300]}; {moves}")
    if why is not None:
        return Outcome(case, "wrong", why)
    return Outcome(case, "split" if made else "whole", f"{len(made)} ways")


def drawn_splits(program: Program, rng: np.random.Generator) -> list[tuple[tuple[Move, ...], Graph]]:
    """Returns some splits of a program: the moves of each, and the graph that they make."""
    graph = prepared_graph(jax.make_jaxpr(program.fun)(*program.args), jax.default_backend())
    found: dict[Any, tuple[tuple[Move, ...], Graph]] = {}
    for key, moves, after in _one_more(graph, rng):
        found.setdefault(key, (moves, after))
        if len(found) == _SPLITS:
            break
    made = list(found.values())
    if made:
        before, last = made[-1]
        inside = next(_one_more(last, rng), None)
        made += [((*before, *inside[1]), inside[2])] if inside else []
    return made


def _one_more(graph: Graph, rng: np.random.Generator) -> Iterator[tuple[Any, tuple[Move, ...], Graph]]:
    """Yields splits of a graph in the order of the draw: what they cut, the moves, and the graph after them."""
    spots = [(v, axis) for v in graph.producer for axis in range(v.ndim) if v.shape[axis] > 1]
    for k in rng.permutation(len(spots)):
        value, axis = spots[k]
        region = region_of(graph, value, axis)
        if region is None:
            continue
        region = defer(region)
        steps = region.steps
        chunk = int(rng.choice([1, max(1, steps // 2), steps // 3 + 1, max(1, steps - 1)]))
        kept = [v for v in region.crossing if rng.random() < 0.3]
        split = SplitAxis(value.name, axis, chunk * region.along[value].unit)
        moves = (*(Keep(v.name) for v in kept), split)
        try:
            yield (steps, frozenset(region.dims.items())), moves, apply_moves(graph, moves)
        except PlanError:  # it says that the move does not apply
            continue


def _wrong(
    program: Program, made: list[tuple[tuple[Move, ...], Graph]], expected: Any, how: dict[str, Any]
) -> str | None:
    leaves = jax.tree.leaves(program.args)
    jaxpr = jax.make_jaxpr(program.fun)(*program.args).jaxpr
    unit, widened = coarsest(jaxpr), not turns_open(jaxpr)

    def others() -> list[Any]:
        return list(map(jax.tree.leaves, referees(program, widened=widened)))

    if how != _QUICK:
        expected = jax.jit(program.fun, compiler_options=how)(*program.args)
    for moves, graph in made:
        # Not all in one program: two batched decompositions at once can wait for each other's threads for ever.
        results = jax.jit(functools.partial(evaluate, graph), compiler_options=how)(leaves)
        why = differences(results, jax.tree.leaves(expected), others, unit)
        if why is not None:
            return f"{why}; {[str(m) for m in moves]}"
    return None


def sweep_splits(seed: int, pattern: str, part: tuple[int, int]) -> int:
    """Splits one drawn program of each drawn call, and one with a gradient; returns how many were bad.

    Args:
      seed: see `tests.sweep.report.sweep`; so is `pattern`.
      pattern: which functions, by name.
      part: (k, n) runs the k-th of n equal parts of the functions.
    """
    counts: Counter[str] = Counter()
    bad: list[Outcome] = []
    began, since = time.monotonic(), 0
    for each in drawn(seed, pattern, part):
        if isinstance(each, Refusal):
            continue
        for outcome in outcomes(each, seed):
            since += 1
            counts[outcome.verdict] += 1
            print(f"{outcome.verdict:<11} {outcome.case} {outcome.why}".rstrip(), flush=True)
            bad.extend([outcome] if outcome.bad else [])
        if since >= _CLEAR_AFTER:
            jax.clear_caches()
            gc.collect()
            since = 0
    conclude(bad, counts, began)
    return len(bad)


def outcomes(each: Drawn, seed: int) -> Iterator[Outcome]:
    """Yields what became of a drawn call's splits: of one of its programs, and of one with its gradient."""
    rng = np.random.default_rng([seed, zlib.crc32(str(each).encode())])
    with jax.enable_x64(each.wide):
        plain = programs(each, seed)
        gradients = [g for g in map(with_gradient, plain) if g is not None]
        for some in (plain, gradients):
            if some:
                program = some[rng.integers(len(some))]
                yield judge_splits(f"{each} {program.name}", program, rng)
