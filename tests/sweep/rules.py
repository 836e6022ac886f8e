"""Every op that the drawn calls are made of, cut along each axis that its rule lists: pieces equal the whole.

Faster than running programs, and it tries every way to cut, where a plan is one way.
"""

from __future__ import annotations

import gc
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import jax
import numpy as np

from memline.ir.graph import Op
from memline.rules import table
from tests.rules.harness import check
from tests.sweep.arrays import sample
from tests.sweep.call import Drawn
from tests.sweep.draw import Refusal
from tests.sweep.programs import Program, with_gradient
from tests.sweep.report import drawn

_CLEAR_AFTER = 100  # calls


class Novelty:
    """Tells of each op whether one like it was seen before."""

    def __init__(self) -> None:
        self.seen: set[Any] = set()

    def __call__(self, op: Op) -> bool:
        if not table.dims_of(op):
            return False
        key = (op.kind, tuple(v.aval.str_short() for v in (*op.inputs, *op.outputs)), str(sorted(op.params.items())))
        new = key not in self.seen
        self.seen.add(key)
        return new


def problems(each: Drawn, seed: int, is_new: Callable[[Op], bool]) -> Iterator[str]:
    """Yields what is wrong with the rules of the ops, those that are new, of a call and of its gradient."""
    rng = np.random.default_rng(seed)
    with jax.enable_x64(each.wide), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        args = tuple(sample(spec, dict(each.small), rng) for spec in each.specs)
        program = Program("alone", lambda *xs: jax.tree.leaves(each.function(*xs)), args, folded=False)
        for found in (program, with_gradient(program)):
            if found is None:
                continue
            try:
                check(found.fun, *found.args, wanted=is_new)
            except Exception as error:  # of a rule, or of the comparison
                yield f"{each} {found.name}: {type(error).__name__}: {' '.join(str(error).split())[:400]}"


def sweep_rules(seed: int, pattern: str, part: tuple[int, int]) -> int:
    """Tries the rules on all drawn calls whose names match, prints what is wrong, and returns how much is."""
    is_new, count, began = Novelty(), 0, time.monotonic()
    for index, each in enumerate(drawn(seed, pattern, part)):
        if isinstance(each, Refusal):
            continue
        for problem in problems(each, seed, is_new):
            count += 1
            print(problem, flush=True)
        if index % _CLEAR_AFTER == _CLEAR_AFTER - 1:
            jax.clear_caches()
            gc.collect()
    kinds, seconds = {key[0] for key in is_new.seen}, time.monotonic() - began
    print(f"{len(is_new.seen)} unlike ops of {len(kinds)} primitives cut in {seconds:.0f} s; {count} wrong")
    return count
