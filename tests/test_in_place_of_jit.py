"""memline.jit in the very place of `jax.jit`: what other code, and JAX's own, may ask of a jitted function."""

import functools
import logging
import weakref
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax._src import util
from jax.experimental import checkify
from jax.experimental.serialize_executable import deserialize_and_load, serialize
from jax.sharding import AbstractMesh, NamedSharding, PartitionSpec, SingleDeviceSharding

import memline
from tests.comparing import TIGHT, N, kernel_sums, points


@pytest.fixture(params=["1GiB", TIGHT], ids=["a wide limit", "a tight limit"])
def jit(request):
    """`memline.jit` with a limit, also under the name of `jax.jit`."""
    return functools.partial(memline.jit, memory_limit=request.param)


def leaked():
    kept = []
    jax.jit(lambda x: kept.append(x))(1.0)
    return kept[0]


@pytest.fixture
def events(monkeypatch):
    """What JAX tells its own tests: each trace, each compilation, and so on, by name."""
    told = []
    monkeypatch.setattr(util, "test_event_listener", lambda event, *args: told.append(event))
    return told


class TestUnderItsName:
    def test_memline_itself_goes_by_jaxs_own(self, jit, monkeypatch):
        expected = jax.jit(kernel_sums)(points())
        monkeypatch.setattr(jax, "jit", jit)
        bounded = jax.jit(kernel_sums)
        np.testing.assert_allclose(bounded(points()), expected, rtol=1e-5)
        np.testing.assert_allclose(bounded.lower(points()).compile()(points()), expected, rtol=1e-5)
        np.testing.assert_allclose(jax.vmap(bounded)(points()[None])[0], expected, rtol=1e-5)


REFUSED = {
    "text": (lambda jit: jit(lambda x: x)("text"), TypeError, "Error interpreting argument to .* at path x"),
    "a type": (lambda jit: jit(lambda x: x).lower(jnp.int32), TypeError, "Error interpreting argument to"),
    "a shape to compute with": (
        lambda jit: jit(lambda x: x)(jax.ShapeDtypeStruct((3,), "int8")), TypeError, "is not a valid JAX type",
    ),
    "a device and a backend": (
        lambda jit: jit(abs, device=jax.devices()[0], backend="cpu"), ValueError, "can't specify both a device and",
    ),
    "a device and shardings": (
        lambda jit: jit(abs, backend="cpu", out_shardings=SingleDeviceSharding(jax.devices()[0])),
        ValueError, "If backend or device is specified on jit, then out_shardings should not be specified",
    ),
    "no function": (lambda jit: jit(3), TypeError, "Expected a callable value"),
    "a list that is static": (
        lambda jit: jit(lambda x, y: x, static_argnums=1)(1, [2]), ValueError, "Non-hashable static arguments",
    ),
    "too great a number": (lambda jit: jit(lambda n: n)(2**100), OverflowError, "argument path is n"),
    "a tracer that has leaked": (
        lambda jit: jit(lambda x: x)(leaked()), jax.errors.UnexpectedTracerError, "Encountered an unexpected tracer",
    ),
    "one that is closed over": (
        lambda jit: jit(functools.partial(jnp.add, leaked()))(1.0), jax.errors.UnexpectedTracerError, "created on line",
    ),
}  # fmt: skip


class TestWhatItRefuses:
    @pytest.mark.filterwarnings("ignore:backend and device argument:DeprecationWarning")
    @pytest.mark.parametrize("case", REFUSED)
    def test_errors_are_also_those_of_jit(self, jit, case):
        call, error, words = REFUSED[case]
        for made in (jax.jit, jit):
            with pytest.raises(error, match=words):
                call(made)

    def test_objects_without_a_text(self, jit):
        class Wordless:
            def __call__(self, x):
                return x

            def __repr__(self):
                raise ValueError

        assert repr(jit(Wordless())) == "<memline.jit>"


class TestArguments:
    @pytest.mark.parametrize("args", [(5,), (5, 6)])
    def test_places_below_zero_count_from_the_last_one_given(self, jit, args):
        def traced(made):
            return made(lambda x, y=1: [not isinstance(v, int) for v in (x, y)], static_argnums=-1)(*args)

        assert traced(jit) == traced(jax.jit)

    def test_tokens(self, jit):
        token = lax.create_token()
        kept, sums, own = jit(lambda token, x: (token, kernel_sums(x), lax.create_token()))(token, points())
        assert isinstance(kept, type(token))
        assert isinstance(own, type(token))
        assert sums.shape == (N,)
        assert isinstance(jit(lambda x: (kernel_sums(x), token))(points())[1], type(token))

    def test_refs_that_are_closed_over(self, jit):
        ref = jax.new_ref(jnp.zeros(N))

        @jit
        def add(x):
            ref[...] += kernel_sums(x)

        for _ in range(2):
            add(points())
        np.testing.assert_allclose(ref[...], 2 * jax.jit(kernel_sums)(points()), rtol=1e-5)


class TestCaches:
    @pytest.mark.parametrize("signatures", [1, 2])
    def test_what_a_function_closes_over_goes_with_it(self, jit, signatures):
        x = points()
        held = weakref.ref(x)
        bounded = jit((lambda x: lambda scale: kernel_sums(x) * scale)(x))
        for scale in [1.0, jnp.ones(N)][:signatures]:
            bounded(scale).block_until_ready()
        del x
        assert held() is not None
        del bounded
        assert held() is None

    def test_those_of_jax_and_of_memline_are_cleared_together(self, jit):
        traced = []

        def fun(x):
            traced.append(x)
            return kernel_sums(x)

        bounded = jit(fun)
        bounded(points())
        jax.clear_caches()
        assert bounded._cache_size() == 0
        bounded(points())
        assert len(traced) == 2

    def test_a_trace_is_explained_once(self, jit, caplog):
        def fun(x):
            return kernel_sums(x)

        with caplog.at_level(logging.WARNING), jax.explain_cache_misses(True):
            jit(fun)(points())
        assert sum("never seen function" in message and " fun " in message for message in caplog.messages) == 1

    @pytest.mark.parametrize("limit", [None, "1GiB", TIGHT])
    def test_one_for_all_that_is_made_of_a_function(self, events, limit):
        def count(jit):
            def fun(x):
                return kernel_sums(x)

            del events[:]
            for _ in range(3):
                np.testing.assert_allclose(jit(fun)(points()), expected, rtol=1e-5)
            return [events.count(event) for event in ("trace_to_jaxpr", "jit_cpp_cache_miss")]

        expected = jax.jit(kernel_sums)(points())
        assert count(functools.partial(memline.jit, memory_limit=limit)) == count(jax.jit)

    def test_other_settings_are_other_programs(self, jit):
        def fun(x, y):
            return kernel_sums(x) + y

        cases: list[tuple[dict[str, Any], float]] = [
            ({}, 1.0), ({"static_argnums": [1]}, 1.0), ({"static_argnames": ["y"]}, 2.0),
        ]  # fmt: skip
        for settings, y in cases:
            expected = jax.jit(fun, **settings)(points(), y)
            for count in (0, 1):
                bounded = jit(fun, **settings)
                assert bounded._cache_size() == count
                np.testing.assert_allclose(bounded(points(), y), expected, rtol=1e-5)

    def test_another_number_of_arguments(self, jit):
        bounded = jit(lambda *xs: sum(map(kernel_sums, xs)))
        for count in (1, 2, 1):
            np.testing.assert_allclose(bounded(*[points()] * count), count * jax.jit(kernel_sums)(points()), rtol=1e-5)


class TestStages:
    def test_what_it_says_of_its_function(self, jit):
        assert jit(functools.partial(kernel_sums)).__getstate__()["function_name"] == "kernel_sums"

    def test_types_of_any_kind(self, jit):
        class Shape:
            shape, dtype = (N,), jnp.dtype("float32")

        expected = jax.jit(kernel_sums).lower(points()).in_avals
        for x in (Shape(), jax.typeof(points())):
            assert jit(kernel_sums).lower(x).in_avals == expected

    def test_they_are_for_where_the_arguments_are(self, jit):
        bounded, x = jit(kernel_sums), points()
        spread = NamedSharding(
            jax.make_mesh((1,), ("i",), axis_types=(jax.sharding.AxisType.Auto,)), PartitionSpec("i")
        )
        for put, is_committed in ((jax.device_put(x, spread), True), (x, False)):
            assert bounded.lower(put).compile()(put).committed is is_committed

    def test_devices_that_are_not_known_yet(self, jit):
        spread = NamedSharding(AbstractMesh((2,), ("i",), axis_types=(jax.sharding.AxisType.Auto,)), PartitionSpec("i"))
        traced = jit(kernel_sums).trace(jax.ShapeDtypeStruct((N,), "float32", sharding=spread))
        assert "num_partitions = 2" in traced.lower(lowering_platforms=("tpu",)).as_text()

    def test_they_are_jaxs_own(self, jit):
        bounded = jit(kernel_sums)
        traced = bounded.trace(points())
        lowered = traced.lower()
        compiled = lowered.compile()
        for stage, kind in ((traced, "Traced"), (lowered, "Lowered"), (compiled, "Compiled")):
            assert isinstance(stage, getattr(jax.stages, kind))
        np.testing.assert_allclose(traced(points()), compiled(points()), rtol=1e-5)
        loaded = deserialize_and_load(*serialize(memline.jit(jnp.sin, memory_limit="1GiB").lower(1.0).compile()))
        np.testing.assert_allclose(loaded(2.0), np.sin(2.0), rtol=1e-6)

    def test_compiled_with_other_options(self, jit):
        lowered = jit(kernel_sums).lower(points())
        compiled = lowered.compile({"xla_embed_ir_in_executable": True})
        assert compiled.plan == lowered.plan
        np.testing.assert_allclose(compiled(points()), lowered.compile()(points()), rtol=1e-5)
        with pytest.raises(jax.errors.JaxRuntimeError, match="No such compile option"):
            lowered.compile({"no_such_option": True})
        planned = lowered.planned
        lowered._planned = replace(planned, plan=replace(planned.plan, limit_bytes=100))
        with pytest.raises(memline.MemoryLimitError, match="compile without these options"):
            lowered.compile({"xla_embed_ir_in_executable": True})

    def test_sizes_that_are_symbols(self, jit):
        (x,) = jax.export.symbolic_args_specs((points(),), "n")
        exported = jax.export.export(jit(kernel_sums))(x)
        np.testing.assert_allclose(exported.call(points()), jax.jit(kernel_sums)(points()), rtol=1e-5)
        assert jax.export.export(jit(lambda x: jit(kernel_sums)(x) * 2))(x).out_avals[0].shape == x.shape


class TestInsideOtherTransformations:
    @pytest.mark.parametrize("change", [lambda f: f, lambda f: jax.vmap(f, in_axes=(None, 0))])
    def test_jaxprs_show_the_same(self, jit, change):
        def fun(x, y):
            return kernel_sums(x) * y

        shown = [str(jax.make_jaxpr(change(made(fun)))(points(), jnp.ones(N))) for made in (jit, jax.jit)]
        assert shown[0] == shown[1]

    def test_they_are_the_users_lines(self, jit):
        jaxpr = jax.make_jaxpr(lambda x: jit(kernel_sums)(x))(points())
        assert "test_in_place_of_jit.py" in jaxpr.pretty_print(source_info=True, use_color=False)

    def test_inlined_where_it_surely_fits(self):
        def shown(jit):
            inlined = jit(kernel_sums, inline=True)
            return str(jax.make_jaxpr(lambda x: inlined(x))(points()))

        assert shown(functools.partial(memline.jit, memory_limit="1GiB")) == shown(jax.jit)
        assert "name=kernel_sums" in shown(functools.partial(memline.jit, memory_limit=TIGHT))

    def test_lowered_once_for_all_calls(self, jit):
        bounded = jit(kernel_sums)
        thrice = jax.jit(lambda x: bounded(bounded(bounded(x))))
        expected = jax.jit(kernel_sums)
        np.testing.assert_allclose(thrice(points()), expected(expected(expected(points()))), rtol=1e-4)
        assert thrice.lower(points()).as_text().count("exponential") == 1

    def test_results_that_are_the_same_for_all(self, jit):
        bounded = jit(lambda x, y: (kernel_sums(x), y * 2, 1.0, {"both": (x * y).sum()}))
        xs, axes = jnp.stack([points(), points() + 1]), (0, None, None, {"both": 0})
        found, expected = (
            jax.vmap(f, in_axes=(0, None), out_axes=axes)(xs, 3.0) for f in (bounded, bounded.__wrapped__)
        )
        for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
            assert np.shape(a) == np.shape(b)
            np.testing.assert_allclose(a, b, rtol=1e-4)
        with pytest.raises(ValueError, match="out_axes"):
            jax.vmap(bounded, in_axes=(0, None), out_axes=None)(xs, 3.0)

    def test_axes_around_a_function_that_surely_fits(self):
        def share(x):
            return x / lax.psum(x, "i") * lax.axis_size("i")

        x = jnp.arange(1.0, 5.0)
        bounded = memline.jit(share, memory_limit="1KiB")
        np.testing.assert_allclose(jax.vmap(bounded, axis_name="i")(x), x / 2.5, rtol=1e-6)
        tight = memline.jit(share, memory_limit=3 * 4 * (4 * 3))  # of the axis, of values and derivatives
        with pytest.raises(memline.ArgumentError, match="axis i"):
            jax.vmap(tight, axis_name="i")(x)

    def test_a_shard_that_is_checked(self):
        mesh = jax.make_mesh((1,), ("i",), axis_types=(jax.sharding.AxisType.Auto,))
        spec = PartitionSpec("i")
        for limit, fits in (("1GiB", True), (TIGHT, False)):
            spread = jax.shard_map(
                memline.jit(kernel_sums, memory_limit=limit), mesh=mesh, in_specs=spec, out_specs=spec
            )
            if fits:
                np.testing.assert_allclose(spread(points()), jax.jit(kernel_sums)(points()), rtol=1e-5)
            else:
                with pytest.raises(memline.ArgumentError, match="check_vma=False"):
                    spread(points())

    def test_results_that_nobody_uses(self, jit):
        bounded = jit(lambda x, y: (kernel_sums(x), y > 0, kernel_sums(y)))

        def used(x, y):
            return bounded(x, y)[0]

        (transposed,) = jax.linear_transpose(lambda x: jit(lambda x: (2 * x, x > 0))(x)[0], 1.0)(1.0)
        assert transposed == 2
        np.testing.assert_allclose(jax.jit(used)(points(), points()), jax.jit(kernel_sums)(points()), rtol=1e-5)
        assert jax.jit(used).lower(points(), points()).as_text().count("exponential") == 1
        plan = memline.plan(kernel_sums, TIGHT)(points())
        replayed = memline.jit(lambda x: (kernel_sums(x), x), plan=plan)
        np.testing.assert_allclose(jax.jit(lambda x: replayed(x)[1])(points()), points())

    def test_refs_of_the_program_around(self):
        def run(jit, x):
            ref = jax.new_ref(x)
            jit(lambda ref: ref.__setitem__(..., kernel_sums(ref[...])))(ref)  # given
            jit(lambda y: ref.__setitem__(..., ref[...] + y))(x)  # closed over
            return ref[...]

        expected = jax.jit(functools.partial(run, jax.jit))(points())
        wide, tight = (functools.partial(memline.jit, memory_limit=limit) for limit in ("1GiB", TIGHT))
        np.testing.assert_allclose(jax.jit(functools.partial(run, wide))(points()), expected, rtol=1e-5)
        with pytest.raises(memline.ArgumentError, match="refs of the program around"):
            jax.jit(functools.partial(run, tight))(points())

    def test_checks_of_checkify(self, jit):
        def fun(x):
            checkify.check(x[0] > 0, "not above zero")
            return jnp.log(kernel_sums(x))

        for checked in (checkify.checkify(jit(fun)), jit(checkify.checkify(fun)), jit(checkify.checkify(jit(fun)))):
            for x, said in ((points() + 1, None), (points() - 1, "not above zero")):
                told = checked(x)[0].get()
                assert said in told if said and told else told is said
        error, _ = checkify.checkify(jit(lambda x: jnp.log(x)), errors=checkify.nan_checks)(-points() - 1)
        assert "nan generated by primitive: log" in str(error.get())
