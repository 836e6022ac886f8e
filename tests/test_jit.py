"""`memline.jit` takes what `jax.jit` takes: limits, decorator, static and donated arguments, devices, settings."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import memline
from memline.devices import device_bytes
from tests.comparing import TIGHT, N, agree, assert_same, kernel_sums, limited, points


class TestLimits:
    @pytest.mark.parametrize("limit", [100_000, "100_000 B", "100 kB", "97KiB", "0.1 MB"])
    def test_bytes_and_text(self, limit):
        plan = memline.plan(kernel_sums, limit)(points())
        assert plan.limit_bytes is not None
        assert abs(plan.limit_bytes - 100_000) < 1000
        assert plan.moves

    def test_a_share_of_the_device(self):
        assert memline.plan(kernel_sums, "50%")(points()).limit_bytes == device_bytes() // 2

    @pytest.mark.parametrize("limit", [0, -1, float("nan"), "much", "0 MB", "-2GiB", "101%", True, [1]])
    def test_what_is_no_limit_is_refused_where_it_is_written(self, limit):
        for make in (memline.jit, memline.limit, memline.plan):
            with pytest.raises(memline.LimitError):
                make(kernel_sums, memory_limit=limit)
        with pytest.raises(memline.LimitError):
            memline.jit(memory_limit=limit)

    def test_without_a_limit_the_program_is_compiled_as_it_is_and_once(self):
        plan = memline.plan(kernel_sums)(points())
        assert (plan.moves, plan.limit_bytes, plan.compiles) == ((), None, 1)
        assert_same(memline.jit(kernel_sums)(points()), jax.jit(kernel_sums)(points()), rtol=0)

    def test_a_limit_that_is_met_costs_one_compile_and_changes_nothing(self):
        plan = memline.plan(kernel_sums, "1GiB")(points())
        assert (plan.moves, plan.compiles) == ((), 1)

    def test_arguments_and_results_count(self):
        """1000 numbers in and out are 8 kB: one byte less is too little, whatever happens between."""
        assert limited(jnp.exp, 8000)(jnp.ones(1000)).shape == (1000,)
        with pytest.raises(memline.MemoryLimitError):
            limited(jnp.exp, 7999)(jnp.ones(1000))

    def test_unused_arguments_count_too(self):
        with pytest.raises(memline.MemoryLimitError):
            limited(lambda x, y: x + 1, 11_999)(jnp.ones(1000), jnp.ones(1000))


class TestDecorator:
    def test_with_arguments(self):
        @memline.jit(memory_limit=TIGHT, static_argnames="power")
        def powers(x, power=1):
            """Adds powers."""
            return kernel_sums(x) ** power

        assert powers.__name__ == "powers"
        assert powers.__doc__ == "Adds powers."
        assert "powers" in repr(powers)
        assert_same(powers(points(), power=2), jax.jit(lambda x: kernel_sums(x) ** 2)(points()))

    def test_of_a_method(self):
        class Kernel:
            scale = 3.0

            @memline.jit(memory_limit=TIGHT, static_argnums=0)
            def sums(self, x):
                return self.scale * kernel_sums(x)

        expected = jax.jit(lambda x: 3.0 * kernel_sums(x))(points())
        assert_same(Kernel().sums(points()), expected)
        assert_same(Kernel.sums(Kernel(), points()), expected)

    def test_of_a_partial_and_of_an_object(self):
        class Sums:
            def __call__(self, x):
                return kernel_sums(x)

        expected = jax.jit(kernel_sums)(points())
        assert_same(limited(functools.partial(lambda n, x: n * kernel_sums(x), 1))(points()), expected)
        assert_same(limited(Sums())(points()), expected)

    @pytest.mark.parametrize("wrong", [3, "exp", None])
    def test_of_something_that_cannot_be_called(self, wrong):
        with pytest.raises(memline.ArgumentError, match="Expected a callable value"):
            memline.limit(wrong, TIGHT)
        with pytest.raises(memline.ArgumentError, match=r"Options"):
            memline.jit(kernel_sums, memory_limit=TIGHT, options=wrong or {})  # type: ignore[arg-type]
        with pytest.raises(memline.ArgumentError, match=r"Plan"):
            memline.jit(kernel_sums, plan=wrong or {})  # type: ignore[arg-type]


def scaled(x, n):
    return jnp.asarray(n), kernel_sums(x) * n


class TestStatic:
    @pytest.mark.parametrize("statics", [{"static_argnums": 1}, {"static_argnums": -1}, {"static_argnames": "n"}])
    def test_changing_values_by_position_and_by_name(self, statics):
        bounded, plain = limited(scaled, **statics), jax.jit(scaled, **statics)
        for n in (2, 5, 2):
            assert_same(bounded(points(), n), plain(points(), n))
            if statics != {"static_argnums": -1}:  # a negative number says nothing of keywords, in JAX too
                assert_same(bounded(points(), n=n), plain(points(), n=n))

    def test_equal_values_of_other_types_are_other_programs(self):
        bounded = limited(scaled, static_argnums=1)
        for n in (2, 2.0, True, 1, 1.0):
            assert bounded(points(), n)[0].dtype == jnp.asarray(n).dtype

    def test_between_arrays(self):
        def between(n, x, m, y):
            return n * kernel_sums(x) + m * y

        bounded = limited(between, static_argnums=(0, 2))
        assert_same(bounded(2, points(), 3, points()), jax.jit(lambda x: 2 * kernel_sums(x) + 3 * x)(points()))

    def test_objects(self):
        plan = dataclasses.make_dataclass("Settings", ["n"], frozen=True)
        bounded = limited(lambda x, settings: kernel_sums(x) * settings.n, static_argnums=1)
        assert_same(bounded(points(), plan(2)), jax.jit(lambda x: kernel_sums(x) * 2)(points()))

    def test_what_cannot_be_hashed_is_refused(self):
        bounded = limited(lambda x, n: x * n[0], static_argnums=1)
        for _ in range(2):
            with pytest.raises(memline.ArgumentError, match=r"static argument 1 is a list \(\[2\]\)"):
                bounded(points(), [2])

    @pytest.mark.parametrize("statics", [{"static_argnums": 7}, {"static_argnames": "q"}])
    def test_what_the_function_does_not_have_is_refused_as_by_jax(self, statics):
        with pytest.raises(ValueError, match="static_arg"):
            limited(scaled, **statics)


class TestDonation:
    def test_a_donated_argument_is_gone_and_counted_once(self):
        def move(x):
            return x + kernel_sums(x)

        x = points()
        plan = memline.plan(move, TIGHT, donate_argnums=0)(x)
        assert plan.alias_bytes == x.nbytes
        assert (plan.argument_bytes, plan.output_bytes) == (x.nbytes, x.nbytes)
        assert_same(limited(move, donate_argnums=0)(x), jax.jit(move)(points()))
        assert x.is_deleted()

    def test_it_makes_room(self):
        """2000 numbers in, 2000 out: 16 kB, or 8 kB where they share a buffer."""

        def step(x):
            return x * 2

        with pytest.raises(memline.MemoryLimitError, match=r"donate argument leaf 0 \(7.81 KiB\)"):
            limited(step, 9000)(jnp.ones(2000))
        for given in ({"donate_argnums": (0,)}, {"donate_argnames": "x"}):
            assert limited(step, 9000, **given)(jnp.ones(2000))[0] == 2

    def test_with_static_arguments_and_trees(self):
        def step(n, state, x):
            return jax.tree.map(lambda p: p + n * x.sum(), state)

        state = {"a": jnp.ones(3), "b": jnp.ones(4)}
        found = limited(step, static_argnums=0, donate_argnums=1)(2, state, points())
        assert_same(found, jax.tree.map(lambda p: 1 + 2 * points().sum() * jnp.ones(p.shape), found))
        assert all(leaf.is_deleted() for leaf in state.values())

    def test_without_donation_the_argument_stays(self):
        x = points()
        limited(kernel_sums)(x)
        assert x[1] > 0


class TestPlacement:
    def test_device(self):
        device = jax.devices()[0]
        assert limited(kernel_sums, device=device)(np.asarray(points())).devices() == {device}

    def test_shardings(self):
        here = jax.sharding.SingleDeviceSharding(jax.devices()[0])
        found = limited(kernel_sums, in_shardings=here, out_shardings=here)(points())
        assert found.sharding == here

    def test_both_are_refused(self):
        device = jax.devices()[0]
        with pytest.raises(memline.ArgumentError, match="either device or in_shardings"):
            limited(kernel_sums, device=device, in_shardings=jax.sharding.SingleDeviceSharding(device))

    def test_keep_unused(self):
        compiled = limited(lambda x, y: x + 1, keep_unused=True).lower(points(), points()).compile()
        assert compiled.memory_analysis().argument_size_in_bytes == 2 * points().nbytes
        assert compiled(points(), points()).shape == (N,)

    def test_compiler_options_are_joined_with_memlines_own(self):
        """The pass named here must not bring back the library calls that hide memory."""
        options = {"xla_disable_hlo_passes": "algsimp", "xla_backend_optimization_level": 1}
        plan = memline.plan(kernel_sums, TIGHT, compiler_options=options)(points())
        assert plan.compiled_peak_bytes is not None
        assert plan.compiled_peak_bytes <= TIGHT
        assert_same(limited(kernel_sums, compiler_options=options)(points()), jax.jit(kernel_sums)(points()))
        assert options["xla_disable_hlo_passes"] == "algsimp"

    def test_unknown_compiler_options_are_the_users_mistake(self):
        with pytest.raises(Exception, match="xla_no_such_option"):
            limited(kernel_sums, compiler_options={"xla_no_such_option": True})(points())


class TestSettings:
    def test_debugging_without_jit_runs_the_function_itself(self):
        ran = []

        def fun(x):
            ran.append(float(x[1]))  # a number only where nothing is traced
            return kernel_sums(x)

        bounded = limited(fun)
        with jax.disable_jit():
            assert_same(bounded(points()), jax.jit(kernel_sums)(points()))
        assert ran == [float(points()[1])]

    def test_a_setting_that_changes_the_trace_plans_again(self):
        bounded = limited(lambda x: jnp.exp(-jnp.outer(x, x)) @ x)
        before = bounded(points())
        with jax.default_matmul_precision("highest"):
            assert_same(bounded(points()), before)
        with jax.enable_x64(True):
            assert bounded(np.linspace(0, 1, N)).dtype == np.float64
        assert_same(bounded(points()), before)

    def test_nested_limits(self):
        inner = limited(kernel_sums, 90_000)
        agree(lambda x: inner(x) + memline.limit(kernel_sums, 80_000)(2 * x), points())

    def test_control_flow_is_left_whole_and_computed_right(self):
        def fun(x):
            total, steps = lax.scan(lambda c, v: (c + v, c * v), 0.0, x)
            return kernel_sums(steps) + lax.while_loop(lambda c: c < 10, lambda c: c + total, 0.0)

        agree(fun, points())
