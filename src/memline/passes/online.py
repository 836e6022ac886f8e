"""Sums under a maximum that still runs: what the body of a loop does for the folds that `passes.defer` freed.

With m the maximum before a chunk, m' that after it, and r the value subtracted in the exponents:

    r, r' = the ops from the maximum to the exponent, on m and on m'
    sum   = sum * exp(r - r') + the chunk's summands, taken with r'

(Milakov and Gimelshein 2018; with a contraction as the sum it is Rabe and Staats 2021, Dao et al. 2022.)

Infinities behave as they do in the program as written. Until something above -inf is met, zero is
subtracted in the place of -inf, so that a chunk that a mask hides altogether adds exp(-inf) = 0 rather than
exp(-inf + inf) = NaN; where nothing is met in the end, the sum is made the NaN that it would have been.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from memline.analysis.axes import Region
from memline.analysis.running import Rescale, Running
from memline.ir.build import Builder
from memline.ir.graph import Op, Value
from memline.passes.defer import spread


class RunningMaxima:
    """The running maxima of one loop's body, under construction."""

    def __init__(self, region: Region, builder: Builder, whole: dict[Value, Value]) -> None:
        self.region = region
        self.builder = builder
        self.whole = whole
        self.before: dict[Op, Value] = {}
        self.after: dict[Op, Value] = {}
        self._made: dict[tuple[Value, bool], Value] = {}
        self._factors: dict[tuple[Value, int], Value] = {}

    def advance(self, op: Op, before: Sequence[Value], after: Sequence[Value]) -> None:
        """Notes a fold's accumulators before and after the chunk."""
        if op.kind == "reduce_max":
            (self.before[op],), (self.after[op],) = before, after

    def read(self, running: Running) -> Value:
        """Returns a running value as it is after the chunk."""
        return self._value(running, self.after[running.maximum], guarded=True)

    def rescaled(self, op: Op, accumulators: list[Value]) -> list[Value]:
        """Returns a fold's accumulators brought to the maxima after the chunk."""
        if op not in self.region.rescaled:
            return accumulators
        (acc,) = accumulators
        for rescale in self.region.rescaled[op]:
            factor = self._factor(rescale)

            def scale(acc: Any, factor: Any, rescale: Rescale = rescale) -> Any:
                return acc * spread(factor, rescale.axes, acc.ndim).astype(acc.dtype)

            scaled = ("scale", rescale.axes), scale
            [acc] = self.builder.call(scaled, acc, factor, source=op.source, memo=self.region.memo)
        return [acc]

    def _factor(self, rescale: Rescale) -> Value:
        running = rescale.root
        key = (running.root, rescale.power)
        if key not in self._factors:
            m, m_new = self.before[running.maximum], self.after[running.maximum]
            r, r_new = (self._value(running, v, guarded=False) for v in (m, m_new))
            grown = (running, rescale.power), _growth(running, rescale.power)
            [factor] = self.builder.call(grown, m, r, r_new, source=running.maximum.source, memo=self.region.memo)
            self._factors[key] = factor
        return self._factors[key]

    def _value(self, running: Running, m: Value, guarded: bool) -> Value:
        """Runs the ops that lead from a maximum to a running value; zero stands in for -inf if `guarded`."""
        env: dict[Value, Value] = {running.maximum.outputs[0]: m}
        for v in (running.maximum.outputs[0], *(v for op in running.ops for v in op.outputs)):
            if v not in env:
                env[v] = self._op(running, v, env)
            if v is running.root and guarded:
                env[v] = self._guarded(running, env[v])
        return env[running.value]

    def _op(self, running: Running, v: Value, env: dict[Value, Value]) -> Value:
        op = next(op for op in running.ops if v in op.outputs)
        inputs = tuple(env[x] if x in env else self.whole.get(x, x) for x in op.inputs)
        result = self.builder.value(v.aval)
        self.builder.add(Op(op.primitive, op.params, inputs, (result,), op.source, op.context))
        return result

    def _guarded(self, running: Running, root: Value) -> Value:
        if never_minus_infinity(running):
            return root
        [safe] = self.builder.call(_zero_for_minus_infinity, root, source=running.maximum.source, memo=self.region.memo)
        return safe


def settled(region: Region, op: Op, finish: Callable[..., Any]) -> tuple[Callable[..., Any], list[Value]]:
    """Returns a fold's `finish` after NaN was put where all exponents were -inf + inf, and what it reads beside."""
    rescales = [r for r in region.rescaled.get(op, ()) if not r.masked and not never_minus_infinity(r.root)]
    if not rescales:
        return finish, []

    def finish_settled(acc: Any, *roots: Any) -> Any:
        for rescale, root in zip(rescales, roots, strict=True):
            nothing_met = spread(_like_maximum(rescale.root, root) == -np.inf, rescale.axes, acc.ndim)
            acc = jnp.where(nothing_met, jnp.asarray(np.nan, acc.dtype), acc)
        return finish(acc)

    return finish_settled, [r.root.value for r in rescales]


def never_minus_infinity(running: Running) -> bool:
    """Whether the program itself sees to it that -inf is never subtracted, as `logsumexp` does."""
    # A conversion after the guard may overflow.
    kinds = [op.kind for op in running.ops if op.kind in ("select_n", "convert_element_type")]
    return kinds[-1:] == ["select_n"]


def _like_maximum(running: Running, x: Any) -> Any:
    """Returns a running value's array with its axes in the order of the maximum's."""
    homes = {axis: home for home, axis in enumerate(running.axes) if axis is not None}
    return spread(x, [homes.get(axis) for axis in range(x.ndim)], running.maximum.outputs[0].ndim)


def _growth(running: Running, power: int) -> Callable[..., Any]:
    """Returns the function for what a sum is to be scaled by when the maximum goes from m on."""

    def growth(m: Any, r: Any, r_new: Any) -> Any:
        wide = jnp.float32 if r.dtype.itemsize < 4 else r.dtype
        r, r_new = (_like_maximum(running, x).astype(wide) for x in (r, r_new))
        # Nothing to scale where nothing was met; and inf - inf is to be no NaN where the maximum stays.
        stays = (m == -np.inf) | (jnp.isinf(r) & (r == r_new))
        grown = jnp.where(stays, jnp.zeros_like(r), r - r_new)
        return jnp.exp(grown if power == 1 else power * grown)

    return growth


def _zero_for_minus_infinity(root: Any) -> Any:
    return jnp.where(root == -np.inf, jnp.zeros_like(root), root)
