"""What `memline.jit` is called with and returns: trees, types, bad arguments, side effects."""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import memline
from tests.comparing import TIGHT, N, agree, assert_same, kernel_sums, limited, points


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
        assert any(
            "side effects" in line and "test_jit_values.py" in line for line in bounded.lower(points()).plan.left_whole
        )

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
