"""`memline.jit` in place of `jax.jit`, as JAX's own tests use it: odd functions, odd arguments, stages, settings.

Each is tried without a limit, under one that everything fits, and under one that asks for a split.
"""

import collections
import copy
import functools
import inspect
import pickle
import weakref

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from jax import lax
from jax.experimental import io_callback
from jax.sharding import NamedSharding, PartitionSpec

import memline
from tests.comparing import TIGHT, N, kernel_sums, points

LIMITS = [None, "1GiB", TIGHT]


@pytest.fixture(params=LIMITS, ids=["no limit", "a wide limit", "a tight limit"])
def jit(request):
    """`memline.jit` with one of the limits."""
    return functools.partial(memline.jit, memory_limit=request.param)


def assert_alike(found, expected):
    """Compares results as JAX's tests do: types, weak types, placement and values."""
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert type(a) is type(b)
        assert (a.aval.shape, a.aval.dtype, a.aval.weak_type) == (b.aval.shape, b.aval.dtype, b.aval.weak_type)
        assert (a.sharding, a.committed) == (b.sharding, b.committed)
        if jnp.issubdtype(a.dtype, jax.dtypes.prng_key):
            a, b = jax.random.key_data(a), jax.random.key_data(b)
        np.testing.assert_allclose(*(np.asarray(x).astype(np.complex128) for x in (a, b)), rtol=1e-4)


def alike(jit, fun, *args, how=None, **kwargs):
    """Calls twice, so that the second call dispatches what the first one made."""
    bounded, plain = jit(fun, **(how or {})), jax.jit(fun, **(how or {}))
    for _ in range(2):
        assert_alike(bounded(*args, **kwargs), plain(*args, **kwargs))


class Sums:
    def of(self, x):
        return kernel_sums(x)

    def __call__(self, x):
        return kernel_sums(x)


def scaled(x, n):
    return kernel_sums(x) * n


FUNCTIONS = {
    "a partial": (functools.partial(scaled, n=2.0), (points(),)),
    "a bound method": (Sums().of, (points(),)),
    "an object": (Sums(), (points(),)),
    "abs": (abs, (points(),)),
    "sum": (sum, ([points(), points()],)),
    "a ufunc": (jnp.add, (points(), points())),
    "a jitted function": (jnp.sin, (points(),)),
    "a jitted sum": (jax.jit(kernel_sums), (points(),)),
    "any arguments": (lambda *args: args, (points(), 1, None, True)),
    "a result that is None": (lambda x: None, (points(),)),
    "a constant": (lambda x: (3, 2.5, np.arange(4), None, True), (points(),)),
    "nothing": (lambda: (1, kernel_sums(jnp.linspace(0, 1, N))), ()),
}


class TestFunctions:
    @pytest.mark.parametrize("kind", FUNCTIONS)
    def test_of_any_kind(self, jit, kind):
        fun, args = FUNCTIONS[kind]
        alike(jit, fun, *args)

    def test_keywords(self, jit):
        alike(jit, lambda x, *, k: kernel_sums(x) * k, points(), k=3)
        alike(jit, lambda x, **more: {name: kernel_sums(x) * v for name, v in more.items()}, points(), a=1, b=2.0)

    @pytest.mark.parametrize("how", [{"static_argnums": 1}, {"static_argnums": (-1,)}, {"static_argnames": ["n"]}])
    def test_static_arguments(self, jit, how):
        alike(jit, scaled, points(), 3, how=how)
        alike(jit, lambda x, n: scaled(x, len(n)), points(), "text", how=how)

    def test_decorators(self, jit):
        @functools.partial(jit, static_argnums=(1,))
        def outside(x, n):
            return scaled(x, n)

        class Inside:
            @functools.partial(jit, static_argnums=0)
            def method(self, x):
                return kernel_sums(x)

            @staticmethod
            @jit
            def static(x):
                return kernel_sums(x)

            @classmethod
            @functools.partial(jit, static_argnums=0)
            def of_class(cls, x):
                return kernel_sums(x)

            @property
            @functools.partial(jit, static_argnums=0)
            def value(self):
                return jnp.ones(3)

        x, expected = points(), jax.jit(kernel_sums)(points())
        for found in (outside(x, 1), Inside().method(x), Inside().static(x), Inside.of_class(x)):
            assert_alike(found, expected)
        assert Inside().value.shape == (3,)

    def test_it_is_traced_once_for_each_signature(self, jit):
        traced = []

        def fun(x):
            traced.append(x.shape)
            return kernel_sums(x)

        bounded = jit(fun)
        for x in (points(), points(), points()[:9], points() + 1, points()[:9]):
            bounded(x)
        assert traced == [(N,), (9,)]
        assert bounded._cache_size() == 2

    def test_inlined_and_on_a_backend(self, jit):
        alike(jit, kernel_sums, points(), how={"inline": True})
        assert jit(kernel_sums, backend="cpu")(np.asarray(points())).devices() == {jax.devices("cpu")[0]}
        with pytest.raises(memline.ArgumentError, match="either device or backend"):
            jit(kernel_sums, backend="cpu", device=jax.devices()[0])

    def test_copies_make_their_own_programs(self, jit):
        bounded = jit(abs)
        expected = bounded(points())
        assert weakref.ref(bounded)() is bounded
        for other in (copy.copy(bounded), copy.deepcopy(bounded), pickle.loads(pickle.dumps(bounded))):
            assert_alike(other(points()), expected)


NUMBERS = [
    3, 2.5, True, 1j, np.float32(2), np.float64(2), np.int8(3), np.bool_(True), np.arange(3), np.zeros((0, 3)),
    np.array(3, np.uint16), ml_dtypes.bfloat16(2), ml_dtypes.float8_e4m3fn(1.5), np.ones(3, ml_dtypes.int4),
    np.ones(3, ml_dtypes.uint4), np.ones(3, ml_dtypes.float8_e5m2), np.ones(3, ml_dtypes.float4_e2m1fn),
]  # fmt: skip


class TestArguments:
    @pytest.mark.parametrize("value", NUMBERS, ids=lambda v: f"{type(v).__name__} {getattr(v, 'dtype', '')}")
    def test_numbers_of_any_kind(self, jit, value):
        alike(jit, lambda v, x: (v, jnp.asarray(v) + jnp.asarray(v), x[:3] * 2), value, points())

    def test_numbers_beside_a_big_value(self, jit):
        alike(jit, lambda vs, x: ([v * 1 for v in vs], kernel_sums(x)), [3, 2.5, True, 1j, np.zeros((0, 2))], points())

    def test_one_function_of_many_types(self, jit):
        bounded, plain = jit(lambda x: x * 2), jax.jit(lambda x: x * 2)
        arrays = [jnp.ones(shape) for shape in ((), (1,), (2, 3), (0,), (2, 0, 3))]
        arrays += [jnp.ones(3, dtype) for dtype in (np.int32, np.uint8, np.complex64, jnp.bfloat16)]
        for x in [*arrays, 1, 2.0, True, 1j, np.float32(1), *arrays]:
            assert_alike(bounded(x), plain(x))

    def test_keys(self, jit):
        keys = jax.random.split(jax.random.key(0), 3)
        alike(jit, lambda keys, x: (keys, keys[0], kernel_sums(x)), keys, points())

    @pytest.mark.parametrize("empty", [(), [], {}, None, {"a": None}], ids=repr)
    def test_trees_without_leaves(self, jit, empty):
        alike(jit, lambda tree, x: (tree, kernel_sums(x)), empty, points())

    def test_trees_of_any_kind(self, jit):
        pair = collections.namedtuple("pair", "left right")
        alike(jit, lambda p: pair(p.right, kernel_sums(p.left)), pair(points(), 1))
        for made in (collections.OrderedDict, functools.partial(collections.defaultdict, int)):
            alike(jit, lambda tree: tree, made(a=points(), b=2))

    def test_nodes_of_the_users_own(self, jit):
        @jax.tree_util.register_pytree_node_class
        class Named:
            def __init__(self, x, name):
                self.x, self.name = x, name

            def tree_flatten(self):
                return (self.x,), self.name

            @classmethod
            def tree_unflatten(cls, name, children):
                return cls(children[0], name)

        found = jit(lambda tree: Named(kernel_sums(tree.x), tree.name + "!"))(Named(points(), "k"))
        assert (found.name, found.x.shape) == ("k!", (N,))

    def test_donated(self, jit):
        x, more = jnp.ones(N), points()
        assert jit(lambda a, x: a + kernel_sums(x), donate_argnums=0)(x, more).shape == (N,)
        assert x.is_deleted()
        assert not more.is_deleted()

    def test_refs(self, jit):
        def within(x):
            ref = jax.new_ref(x)
            ref[...] = kernel_sums(ref[...])
            return ref[...]

        def add(ref, x):
            ref[...] += kernel_sums(x)

        alike(jit, within, points())
        ref, plain = jax.new_ref(points()), jax.new_ref(points())
        jit(add)(ref, points())
        jax.jit(add)(plain, points())
        assert_alike(ref[...], plain[...])

    def test_spread_over_a_mesh(self, jit):
        mesh = jax.make_mesh((1,), ("a",), axis_types=(jax.sharding.AxisType.Auto,))
        spread = NamedSharding(mesh, PartitionSpec("a"))
        alike(jit, kernel_sums, jax.device_put(points(), spread))
        alike(jit, kernel_sums, points(), how={"in_shardings": spread, "out_shardings": spread})
        alike(jit, lambda x: lax.with_sharding_constraint(kernel_sums(x), spread), points())


class TestErrors:
    def test_those_of_the_function_come_through(self, jit):
        class Own(Exception):
            pass

        def fun(x):
            raise Own

        for bounded in [jit(fun)] * 2:
            with pytest.raises(Own):
                bounded(points())

    @pytest.mark.parametrize(
        "bad",
        [lambda x: bool(x[0]), np.asarray, lambda x: float(x[0]), lambda x: x[x > 0], lambda x: "text", lambda x: x.no],
    )
    def test_those_of_tracing_are_jaxs(self, jit, bad):
        with pytest.raises(Exception) as plain:  # noqa: PT011
            jax.jit(bad)(points())
        with pytest.raises(plain.type):
            jit(bad)(points())

    def test_wrong_numbers_of_arguments(self, jit):
        for args in ((), (points(), points())):
            with pytest.raises(TypeError):
                jit(kernel_sums)(*args)

    def test_nans_are_found(self, jit):
        with jax.debug_nans(True):
            jit(kernel_sums)(points())
            with pytest.raises(FloatingPointError):
                jit(lambda x: jnp.log(-1 - x) + kernel_sums(x))(points())


class TestEffects:
    def test_callbacks_run_once_a_call(self, jit):
        seen = []

        def note(v):
            seen.append(float(v))
            return np.float32(v)

        def fun(x):
            jax.debug.callback(lambda v: seen.append(float(v)), x[0])
            with jax.named_scope("scope"):
                first = io_callback(note, jax.ShapeDtypeStruct((), np.float32), x[1], ordered=True)
            return kernel_sums(x) + first

        bounded = jit(fun)
        for _ in range(2):
            bounded(points()).block_until_ready()
        jax.effects_barrier()
        assert sorted(seen) == sorted([0.0, float(points()[1])] * 2)

    def test_custom_derivatives(self, jit):
        @functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
        def apply(f, x):
            return f(x)

        apply.defjvp(lambda f, primals, tangents: (f(primals[0]), 2 * tangents[0]))

        @jax.custom_vjp
        def tripled(x):
            return kernel_sums(x)

        tripled.defvjp(lambda x: (kernel_sums(x), None), lambda _, ct: (3 * ct,))

        def loss(x):
            return (apply(jnp.sin, x) + tripled(x)).sum()

        expected = jax.jit(jax.grad(loss))(points())
        assert_alike(jit(jax.grad(loss))(points()), expected)
        np.testing.assert_allclose(jax.grad(jit(loss))(points()), expected, rtol=1e-5)


class TestStages:
    def test_what_describes_a_function(self, jit):
        def fun(x, *, k=1):
            """Adds."""
            return kernel_sums(x) * k

        bounded, plain = jit(fun), jax.jit(fun)
        assert bounded.__wrapped__ is fun
        assert (bounded.__name__, bounded.__doc__, bounded.__module__) == (fun.__name__, fun.__doc__, fun.__module__)
        assert inspect.signature(bounded) == inspect.signature(plain)
        assert bounded.eval_shape(points()) == jax.eval_shape(plain, points())
        assert isinstance(bounded, jax.stages.Wrapped)

    def test_stages_offer_what_jaxs_do(self, jit):
        bounded, plain = jit(kernel_sums), jax.jit(kernel_sums)
        traced, expected = bounded.trace(points()), plain.trace(points())
        assert str(traced.jaxpr) == str(expected.jaxpr)
        assert traced.out_info == expected.out_info
        pairs = [
            (bounded, plain),
            (traced, expected),
            (traced.lower(), expected.lower()),
            (traced.lower().compile(), expected.lower().compile()),
        ]
        for ours, theirs in pairs:
            missing = {name for name in dir(theirs) if not name.startswith("_") and not hasattr(ours, name)}
            assert not missing
        compiled = pairs[-1][0]
        assert_alike(compiled(points()), plain(points()))
        with pytest.raises(TypeError):
            compiled(points()[:3])

    def test_for_export(self, jit):
        exported = jax.export.export(jit(kernel_sums))(jax.ShapeDtypeStruct((N,), np.float32))
        np.testing.assert_allclose(exported.call(points()), jax.jit(kernel_sums)(points()), rtol=1e-5)

    def test_a_cleared_cache(self, jit):
        bounded = jit(kernel_sums)
        bounded(points())
        bounded.clear_cache()
        assert bounded._cache_size() == 0
        assert bounded(points()).shape == (N,)


class TestInsideOtherTransformations:
    def test_in_control_flow(self, jit):
        bounded, x = jit(kernel_sums), points()
        pairs = [
            lambda f: lax.map(f, jnp.stack([x, x])),
            lambda f: lax.scan(lambda c, _: (f(c) / N, None), x, None, length=2),
            lambda f: lax.cond(x[0] < 1, f, lambda x: x, x),
            lambda f: lax.while_loop(lambda x: x[0] < 1, f, x),
            lambda f: jax.checkpoint(f)(x),
            lambda f: jax.vmap(f)(jnp.stack([x, x])),
            lambda f: jax.jvp(f, (x,), (x,)),
            lambda f: jax.vjp(f, x)[1](x),
            lambda f: jax.linearize(f, x)[1](x),
            lambda f: jax.hessian(lambda a: f(a * x).sum())(1.0),
        ]
        for use in pairs:
            for found, expected in zip(*(jax.tree.leaves(use(f)) for f in (bounded, kernel_sums)), strict=True):
                np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * float(jnp.abs(expected).max()))

    def test_of_itself(self, jit):
        assert_alike(
            jit(jit(lambda x: jit(kernel_sums)(x) * 2))(points()), jax.jit(lambda x: kernel_sums(x) * 2)(points())
        )

    def test_under_other_settings(self, jit):
        expected = jax.jit(kernel_sums)(points())
        settings = [
            jax.disable_jit(), jax.checking_leaks(), jax.numpy_dtype_promotion("strict"),
            jax.default_device(jax.devices()[0]), jax.log_compiles(False), jax.default_matmul_precision("float32"),
        ]  # fmt: skip
        for setting in settings:
            with setting:
                np.testing.assert_allclose(jit(kernel_sums)(points()), expected, rtol=1e-5)
