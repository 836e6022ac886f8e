"""Random programs under random limits: plain `jit`'s results inside the limit, or a `MemoryLimitError`."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

import memline
from memline.ir.check import check
from memline.ir.trace import trace
from memline.verify.compiled import compiled_peak
from tests.drawing import Drawn, programs
from tests.drawing_loops import loop_programs

QUIET = settings(
    max_examples=25,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)


def agree(found: Any, expected: Any, wide: Any, nudged: Any) -> None:
    """Integers must be equal; floats no further from float64 than plain `jit` is, with room for the order of sums.

    `wide` are the results in float64, `nudged` those of arguments a little larger.
    """
    trees = (found, expected, wide, nudged)
    for a, b, c, d in zip(*(map(np.asarray, jax.tree.leaves(tree)) for tree in trees), strict=True):
        assert a.shape == b.shape
        assert a.dtype == b.dtype
        if not jnp.issubdtype(a.dtype, np.inexact):
            # Where float64 decides otherwise, or a nudge does, the comparison itself sat on the rounding of a sum.
            sure = (b == c) & (c == d)
            np.testing.assert_array_equal(a[sure], b[sure])
            continue
        scale = float(np.abs(c).max(initial=1e-3))
        error_plain = np.abs(b.astype(np.float64) - c).max(initial=0.0)
        error = np.abs(a.astype(np.float64) - c).max(initial=0.0)
        assert error <= 4 * error_plain + 2e-4 * scale


def same_inside_the_limit_or_a_clear_error(drawn: Drawn, share: float) -> None:
    """Asks for a share of the temporaries that the program has as it is."""
    fun, x, y = drawn.fun, drawn.x, drawn.y
    plain = jax.jit(fun).lower(x, y).compile()
    fixed = x.nbytes + y.nbytes + compiled_peak(plain).output_bytes
    whole = memline.jit(fun, memory_limit=None).trace(x, y).plan().whole_peak_bytes or fixed
    limit_bytes = int(fixed + share * max(whole - fixed, 1))
    check(trace(fun, x, y))
    bounded = memline.jit(fun, memory_limit=limit_bytes)
    floor_bytes: int | None = None
    try:
        compiled = bounded.lower(x, y).compile()
    except memline.MemoryLimitError as error:
        event("does not fit")
        floor_bytes = error.floor_bytes
        compiled = None
    if compiled is None:
        assert floor_bytes is None or floor_bytes > limit_bytes
        return
    check(compiled.graph)
    assert compiled.plan.compiled_peak_bytes <= limit_bytes
    event("split" if compiled.plan.moves else "left whole")
    with jax.enable_x64(True):
        exact = jax.jit(fun, compiler_options={"xla_backend_optimization_level": 0})
        wide, nudged = (
            jax.tree.map(np.asarray, exact(x.astype(np.float64) * scale, y.astype(np.float64)))
            for scale in (1.0, 1.0 + 1e-5)
        )
    agree(bounded(x, y), plain(x, y), wide, nudged)


class TestRandomPrograms:
    @QUIET
    @given(drawn=programs(), share=st.floats(0.05, 1.2))
    def test_same_results_inside_the_limit_or_a_clear_error(self, drawn: Drawn, share: float) -> None:
        same_inside_the_limit_or_a_clear_error(drawn, share)

    @QUIET
    @given(drawn=loop_programs())
    def test_scans_in_a_third_of_their_temporaries(self, drawn: Drawn) -> None:
        same_inside_the_limit_or_a_clear_error(drawn, 1 / 3)
