"""`memline.jit` takes what `jax.jit` takes and computes what it computes, inside its limit."""

import dataclasses
import functools
import subprocess
import sys
import textwrap
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import memline
from memline.devices import device_bytes
from tests.programs import TIGHT, N, assert_same, kernel_sums, points


def limited(fun: Any, limit: Any = TIGHT, **settings: Any) -> Any:
    return memline.jit(fun, memory_limit=limit, **settings)


def agree(fun: Any, *args: Any, limit: Any = TIGHT, split: bool = True, **kwargs: Any) -> Any:
    """Calls with and without a limit, compares, and checks that there was something to do."""
    bounded = limited(fun, limit)
    assert_same(bounded(*args, **kwargs), jax.jit(fun)(*args, **kwargs))
    plan: Any = bounded.lower(*args, **kwargs).plan
    assert plan.compiled_peak_bytes <= plan.limit_bytes
    assert bool(plan.moves) == split
    return plan


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
        with pytest.raises(memline.ArgumentError, match="expected a function"):
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
        with pytest.raises(memline.ArgumentError, match="either device or shardings"):
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


class Pair(NamedTuple):
    left: Any
    right: Any


@jax.tree_util.register_dataclass
@dataclasses.dataclass
class Model:
    weights: Any
    bias: Any
    name: str = dataclasses.field(metadata={"static": True}, default="model")


class TestTrees:
    def test_dicts_tuples_and_none(self):
        def fun(tree, *, scale):
            return {"sums": kernel_sums(tree["x"]) * scale, "rest": [tree["y"][0], None, tree["y"][1]]}

        agree(fun, {"x": points(), "y": (1, jnp.ones(3)), "z": None}, scale=2.0)

    def test_named_tuples_and_dataclasses(self):
        def fun(model, pair):
            return Model(kernel_sums(model.weights) + pair.left, model.bias, model.name), Pair(pair.right, pair)

        agree(fun, Model(points(), jnp.ones(2), "a"), Pair(1.0, points()))

    def test_equinox_modules(self):
        eqx = pytest.importorskip("equinox", reason="equinox is not installed")
        net = eqx.nn.MLP(1, "scalar", 32, 2, activation=jnp.tanh, key=jax.random.key(0))
        params, rest = eqx.partition(net, eqx.is_array)
        x = points()[:, None]

        def loss(params, x):
            return (jax.vmap(eqx.combine(params, rest))(x) ** 2).mean()

        agree(jax.value_and_grad(loss), params, x, limit=90_000)

    def test_flax_states(self):
        nnx = pytest.importorskip("flax.nnx", reason="flax is not installed")
        net = nnx.Linear(1, 64, rngs=nnx.Rngs(0))
        graph, state = nnx.split(net)
        x = points()[:, None]

        def loss(state, x):
            return (jnp.tanh(nnx.merge(graph, state)(x)) ** 2).mean()

        agree(jax.value_and_grad(loss), state, x)

    def test_each_signature_has_its_own_program(self):
        bounded = limited(kernel_sums)
        for x in (points(), points()[:77], points().astype(jnp.bfloat16), points()[:77], jnp.arange(9), points()):
            assert_same(bounded(x), jax.jit(kernel_sums)(x), rtol=1e-2 if x.dtype == jnp.bfloat16 else 1e-5)

    def test_keywords_in_any_order(self):
        bounded = limited(lambda x, *, a, b: kernel_sums(x) * a - b)
        expected = jax.jit(lambda x: kernel_sums(x) * 2.0 - 1.0)(points())
        assert_same(bounded(points(), a=2.0, b=1.0), expected)
        assert_same(bounded(points(), b=1.0, a=2.0), expected)
        with pytest.raises(TypeError):
            bounded(points(), a=2.0)

    def test_a_cleared_cache_plans_again(self):
        bounded = limited(kernel_sums)
        first = bounded.lower(points()).plan
        assert bounded.lower(points()).plan is first
        bounded.clear_cache()
        assert bounded.lower(points()).plan is not first
        assert bounded(points()).shape == (N,)


SCALARS = [3, 2.5, True, 1j, np.float32(2), np.float64(2), np.int64(3), np.bool_(True), np.arange(3), np.ones(2)]


class TestTypes:
    @pytest.mark.parametrize("value", SCALARS, ids=lambda v: f"{type(v).__name__}")
    def test_scalars_and_numpy_arrays(self, value):
        def fun(a, x):
            return a * 2, kernel_sums(x) * jnp.sum(a)

        agree(fun, value, points())
        agree(fun, value, points()[:9], split=False)

    @pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.complex64, jnp.int8, jnp.uint32])
    def test_dtypes(self, dtype):
        def fun(x):
            return (x[:, None] * x[None, :] + 1).sum(1)

        x = (points() * 9).astype(dtype)
        rtol = 2e-2 if dtype in (jnp.bfloat16, jnp.float16) else 1e-5
        assert_same(limited(fun)(x), jax.jit(fun)(x), rtol)

    def test_flags(self):
        x = points() > 0.5
        agree(lambda x: (x[:, None] ^ x[None, :]).any(1), x, limit=50_000)

    def test_keys(self):
        keys = jax.random.split(jax.random.key(1), 3)
        agree(lambda keys, x: (keys[1], jax.random.normal(keys[0], (7,)), kernel_sums(x)), keys, points())

    def test_weak_types_stay_weak(self):
        found = limited(lambda a, x: (a * 2, kernel_sums(x).sum()), TIGHT)(3, points())
        assert found[0].weak_type
        assert not found[1].weak_type

    def test_empty_arrays(self):
        agree(kernel_sums, jnp.zeros(0), split=False)
        agree(lambda x, y: (kernel_sums(x), y.sum(), y @ y.T), points(), jnp.zeros((3, 0)))

    def test_no_arguments(self):
        agree(lambda: kernel_sums(jnp.linspace(0, 1, N)), limit=TIGHT)
        agree(lambda: (1, 2.5, np.ones(3)), split=False)

    def test_results_that_are_arguments_constants_none_or_each_other(self):
        constant = np.arange(5)

        def fun(x, y):
            sums = kernel_sums(x)
            return x, sums, None, sums, 3, constant, (y, y), 2.0

        agree(fun, points(), jnp.ones(3))

    def test_double_precision(self):
        with jax.enable_x64(True):
            x = jnp.linspace(0.0, 1.0, N)
            assert x.dtype == np.float64
            plan = agree(lambda x: (kernel_sums(x), jnp.argmax(x)), x)
        assert plan.argument_bytes == 8 * N

    def test_integers_are_bit_equal(self):
        def fun(x):
            table = (x[:, None] * x[None, :]) % 1009
            return table.sum(1), table.max(0), jnp.argmax(table, 1), jnp.sort(table, axis=1)[:, :3], table.prod()

        plan = agree(fun, jnp.arange(N), limit=600_000)
        assert plan.whole_peak_bytes is not None
        assert plan.whole_peak_bytes > 2 * plan.limit_bytes


class TestBadArguments:
    @pytest.mark.parametrize("wrong", ["text", b"bytes", object(), {1, 2}, lambda: 0, np.array(["a"])])
    def test_leaves_that_are_not_arrays(self, wrong):
        fresh, used = limited(kernel_sums), limited(kernel_sums)
        used(points())
        used(points()[:3])
        for bounded in (fresh, used):
            with pytest.raises(memline.ArgumentError, match="argument 0 is not an array"):
                bounded(wrong)
            with pytest.raises(memline.ArgumentError, match=r"argument 0\['a'\]\[1\] is not an array"):
                bounded({"a": [points(), wrong]})
            with pytest.raises(memline.ArgumentError, match="argument 'x' is not an array"):
                bounded(x=wrong)
            with pytest.raises(memline.ArgumentError, match="argument 0 is not an array"):
                bounded.lower(wrong)

    def test_shapes_can_be_planned_but_not_computed_with(self):
        shape = jax.ShapeDtypeStruct((N,), jnp.float32)
        bounded = limited(kernel_sums)
        with pytest.raises(memline.ArgumentError, match=r"argument 0 is a jax\.ShapeDtypeStruct"):
            bounded(shape)
        bounded.lower(shape).compile()
        with pytest.raises(memline.ArgumentError, match=r"argument 0 is a jax\.ShapeDtypeStruct"):
            bounded(shape)
        assert bounded(points()).shape == (N,)

    def test_tracers_that_have_leaked(self):
        leaked = []
        jax.jit(lambda x: leaked.append(x))(points())
        bounded = limited(kernel_sums)
        for _ in range(2):
            with pytest.raises(memline.ArgumentError, match=r"tracer .* has leaked"):
                bounded(leaked[0])
            bounded(points())
        with pytest.raises(memline.ArgumentError, match="closes over a tracer that has leaked"):
            limited(lambda x: kernel_sums(x) + leaked[0])(points())

    def test_the_functions_own_errors_come_through(self):
        with pytest.raises(ZeroDivisionError):
            limited(lambda x: 1 // 0)(points())
        with pytest.raises(jax.errors.TracerBoolConversionError):
            limited(lambda x: x if x[0] else 0)(points())
        with pytest.raises(TypeError, match="missing 1 required positional argument"):
            limited(kernel_sums)()
        with pytest.raises(TypeError, match="not a valid JAX type"):
            limited(lambda x: "text")(points())


class TestSideEffects:
    def test_callbacks_are_kept_and_reported(self):
        seen: list[float] = []

        def fun(x):
            jax.debug.callback(lambda v: seen.append(float(v)), x[1])
            return kernel_sums(x)

        bounded = limited(fun)
        for _ in range(2):
            assert_same(bounded(points()), jax.jit(kernel_sums)(points()))
        jax.effects_barrier()
        assert seen == [float(points()[1])] * 2
        assert any("side effects" in line and "test_jit.py" in line for line in bounded.lower(points()).plan.left_whole)

    @pytest.mark.parametrize("ordered", [False, True])
    def test_prints(self, capfd, ordered):
        def fun(x):
            jax.debug.print("first {}", x.shape[0] + 0 * x[0], ordered=ordered)
            return kernel_sums(x)

        limited(fun)(points())
        jax.effects_barrier()
        assert capfd.readouterr().out == f"first {float(N)}\n"

    def test_a_callback_that_needs_the_big_value_keeps_it_whole(self):
        def fun(x):
            table = jnp.exp(-((x[:, None] - x[None, :]) ** 2))
            jax.debug.callback(lambda _: None, table)
            return table.sum(1)

        with pytest.raises(memline.MemoryLimitError):
            limited(fun)(points())
        assert_same(limited(fun, "4MiB")(points()), jax.jit(kernel_sums)(points()))

    def test_pure_callbacks(self):
        def fun(x):
            sines = jax.pure_callback(lambda v: np.sin(v), jax.ShapeDtypeStruct((N,), np.float32), x)
            return kernel_sums(sines)

        agree(fun, points())


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


def run_with_devices(count: int, script: str) -> None:
    """Runs a script in a process that has so many CPU devices."""
    head = f"""
        import os
        os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count={count}"
        import jax, jax.numpy as jnp, numpy as np, memline
        from jax.sharding import NamedSharding, PartitionSpec as P
    """
    text = textwrap.dedent(head) + textwrap.dedent(script)
    done = subprocess.run([sys.executable, "-W", "error", "-c", text], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_several_devices():
    run_with_devices(
        4,
        """
        mesh = jax.make_mesh((4,), ("d",), axis_types=(jax.sharding.AxisType.Auto,))
        rows, everywhere = NamedSharding(mesh, P("d")), NamedSharding(mesh, P())

        def scores(x, w):
            return jnp.exp(x @ w / 10).sum(1)

        on_host = np.linspace(0, 1, 4096 * 8, dtype=np.float32).reshape(4096, 8), np.ones((8, 64), np.float32)
        x, w = jax.device_put(on_host[0], rows), jax.device_put(on_host[1], everywhere)
        expected = jax.jit(scores)(x, w)

        # Sharded arguments: the limit is per device, and a quarter of x and of the scores is on each.
        found = memline.jit(scores, memory_limit="200KiB")(x, w)
        assert np.allclose(found, expected, rtol=1e-5)
        assert memline.jit(scores, memory_limit="1MiB")(x, w).sharding.is_equivalent_to(rows, 1)
        grad = jax.grad(lambda w, x: scores(x, w).sum())
        assert np.allclose(memline.jit(grad, memory_limit="400KiB")(w, x), grad(w, x), rtol=1e-4)

        # What fits when it is spread over four devices does not fit on one: that call is planned by itself.
        bounded = memline.jit(scores, memory_limit="400KiB")
        assert not bounded.lower(x, w).plan.moves
        assert np.allclose(bounded(x, w), expected, rtol=1e-5)
        assert np.allclose(bounded(*on_host), expected, rtol=1e-5)
        assert bounded.lower(*on_host).plan.moves

        # Placed by shardings, by device, and by where the arguments are.
        placed = memline.jit(scores, memory_limit="800KiB", in_shardings=(rows, everywhere), out_shardings=rows)
        assert placed(*on_host).sharding == rows
        second = jax.devices()[2]
        assert memline.jit(scores, memory_limit="800KiB", device=second)(*on_host).devices() == {second}
        bounded = memline.jit(scores, memory_limit="800KiB")
        assert bounded(*jax.device_put(on_host, second)).devices() == {second}
        assert bounded(*on_host).devices() == {jax.devices()[0]}
        assert np.allclose(bounded(x, w), expected, rtol=1e-5)

        # A share of the device is a share of its share of the host.
        assert memline.plan(scores, "40%")(*on_host).limit_bytes * 4 < jax.local_devices()[0].client.device_count() * (
            memline.plan(scores, "50%")(*on_host).limit_bytes
        )
        """,
    )


def test_arrays_sharded_with_explicit_axes():
    run_with_devices(
        4,
        """
        mesh = jax.make_mesh((4,), ("d",), axis_types=(jax.sharding.AxisType.Explicit,))

        def scores(x, w):
            return jnp.exp(x @ w / 10).sum(1)

        x = jax.device_put(np.linspace(0, 1, 4096 * 8, dtype=np.float32).reshape(4096, 8), NamedSharding(mesh, P("d")))
        w = jax.device_put(np.ones((8, 64), np.float32), NamedSharding(mesh, P()))
        expected = jax.jit(scores)(x, w)
        for limit in ("400KiB", "2MiB"):
            found = memline.jit(scores, memory_limit=limit)(x, w)
            assert np.allclose(found, expected, rtol=1e-5)
            assert found.sharding == expected.sharding
        """,
    )
