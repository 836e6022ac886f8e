"""JAX's own settings mean under `memline.jit` what they mean under `jax.jit`."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import memline
from memline.compat import Tracer
from tests.comparing import TIGHT, N, assert_same, kernel_sums, limited, points
from tests.families import FAMILIES

JAX: Any = jax  # the settings that are contexts have no types
SETTINGS: dict[str, Callable[[], AbstractContextManager[Any]]] = {
    "debug_nans": lambda: JAX.debug_nans(True),
    "debug_infs": lambda: JAX.debug_infs(True),
    "rank promotion": lambda: JAX.numpy_rank_promotion("raise"),
    "strict types": lambda: JAX.numpy_dtype_promotion("strict"),
    "leaks": lambda: JAX.checking_leaks(),
    "x64": lambda: JAX.enable_x64(True),
    "matmul precision": lambda: JAX.default_matmul_precision("highest"),
}


@pytest.mark.parametrize("setting", SETTINGS)
class TestSettings:
    def test_it_may_change_between_calls(self, setting):
        bounded, plain = limited(kernel_sums), jax.jit(kernel_sums)
        for _ in range(2):
            assert_same(bounded(points()), plain(points()))
            with SETTINGS[setting]():
                assert_same(bounded(points()), plain(points()))
                assert bounded.lower(points()).plan.moves

    def test_a_spliced_gradient_keeps_to_it(self, setting):
        with SETTINGS[setting]():
            bounded = memline.limit(kernel_sums, 300_000)
            found, expected = (jax.jit(jax.grad(lambda x, f=f: f(x).sum()))(points()) for f in (bounded, kernel_sums))
            assert_same(found, expected)


@pytest.mark.parametrize("name", ["attention gradient", "cross entropy gradient", "k-NN", "cumulative"])
def test_several_at_once_on_a_larger_program(name):
    family = FAMILIES[name]
    args = family.args(101)
    expected = jax.jit(family.fun)(*args)
    plain = memline.plan(family.fun)(*args)
    assert plain.compiled_peak_bytes is not None
    fixed = plain.argument_bytes + plain.output_bytes
    with ExitStack() as stack:
        for setting in ("debug_nans", "rank promotion", "strict types", "leaks"):
            stack.enter_context(SETTINGS[setting]())
        bounded = memline.jit(family.fun, memory_limit=fixed + (plain.compiled_peak_bytes - fixed) * 2 // 3)
        assert_same(bounded(*args), expected, rtol=1e-4)
        assert bounded.lower(*args).plan.moves


def logarithms(x: Any) -> Any:
    return jnp.log(x[:, None] - x[None, :] - 10).sum(1)


def exponentials(x: Any) -> Any:
    return jnp.exp(100 * x[:, None] * x[None, :]).sum(1)


@pytest.mark.parametrize(
    ("setting", "fun", "match"),
    [
        ("debug_nans", logarithms, r"\(nan\) encountered in log"),
        ("debug_infs", exponentials, r"\(inf\) encountered in exp"),
    ],
)
class TestWhatIsInvalid:
    """JAX looks for the operation at fault by running the function op by op: the user's own, not the planned one."""

    def test_the_users_own_operation_is_named(self, setting, fun, match):
        for make in (jax.jit, limited):
            with SETTINGS[setting](), pytest.raises(FloatingPointError, match=match):
                make(fun)(points())

    def test_also_when_it_was_planned_before(self, setting, fun, match):
        for make in (jax.jit, limited):
            function = make(fun)
            assert not np.isfinite(function(points())).all()
            with SETTINGS[setting](), pytest.raises(FloatingPointError, match=match):
                function(points())

    def test_inside_other_code(self, setting, fun, match):
        with SETTINGS[setting](), pytest.raises(FloatingPointError):
            jax.jit(lambda x: memline.limit(fun, 200_000)(x) + 1)(points())


class TestRefusals:
    """What a setting makes `jax.jit` refuse is refused alike."""

    @pytest.mark.parametrize(
        ("setting", "fun"),
        [("rank promotion", lambda x: x[:, None] + x), ("strict types", lambda x: x + jnp.arange(N))],
    )
    def test_of_the_users_own_program(self, setting, fun):
        for make in (jax.jit, limited):
            with SETTINGS[setting](), pytest.raises((ValueError, TypeError), match=r"promotion|broadcast"):
                make(fun)(points())

    def test_a_leaked_tracer(self):
        kept = []

        def leaky(x):
            kept.append(x * 2)
            return kernel_sums(x)

        for make in (jax.jit, limited):
            with JAX.checking_leaks(), pytest.raises(Exception, match="Leaked"):
                make(leaky)(points())


class TestWithoutJit:
    def test_a_function_that_was_planned_before_runs_as_it_is_written(self):
        seen = []

        def fun(x):
            seen.append(isinstance(x, Tracer))
            return kernel_sums(x)

        bounded = limited(fun)
        expected = bounded(points())
        seen.clear()
        with jax.disable_jit():
            assert_same(bounded(points()), expected)
        assert seen == [False]
        assert_same(bounded(points()), expected)

    def test_inside_other_code(self):
        bounded = memline.limit(kernel_sums, 200_000)
        with jax.disable_jit():
            assert_same(
                jax.grad(lambda x: bounded(x).sum())(points()), jax.grad(lambda x: kernel_sums(x).sum())(points())
            )
            assert_same(jax.vmap(bounded)(points().reshape(2, -1)), jax.vmap(kernel_sums)(points().reshape(2, -1)))


class TestX64:
    def test_types_follow_the_setting_at_each_call(self):
        bounded, plain = limited(kernel_sums, 2 * TIGHT), jax.jit(kernel_sums)
        wide = np.linspace(0, 1, N)
        for _ in range(2):
            assert_same(bounded(wide), plain(wide))
            assert bounded(wide).dtype == np.float32
            with jax.enable_x64(True):
                assert_same(bounded(wide), plain(wide), rtol=1e-12)
                assert bounded(wide).dtype == np.float64

    def test_the_limit_counts_wide_numbers_as_wide(self):
        with jax.enable_x64(True):
            assert memline.plan(kernel_sums, 2 * TIGHT)(np.linspace(0, 1, N)).argument_bytes == 8 * N
        assert memline.plan(kernel_sums, 2 * TIGHT)(np.linspace(0, 1, N)).argument_bytes == 4 * N
