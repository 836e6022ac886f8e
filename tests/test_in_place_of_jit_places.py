"""memline.jit in the place of `jax.jit`: refs of a function's own, the host's memory, and explicit mesh axes."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.ad_checkpoint import checkpoint_name
from jax.sharding import AxisType, PartitionSpec, SingleDeviceSharding

import memline
from tests.comparing import TIGHT, N, assert_same, kernel_sums, points


@pytest.fixture(params=["1GiB", TIGHT], ids=["a wide limit", "a tight limit"])
def jit(request):
    """`memline.jit` with a limit, also under the name of `jax.jit`."""
    return functools.partial(memline.jit, memory_limit=request.param)


def noted_in_turn(x):
    """Values and sums noted in a ref by the steps of a scan, which has no results."""
    ref = jax.new_ref(jnp.zeros((3, N)))

    def note(carry, i):
        ref[i] = kernel_sums(x) * (i + 1) / N
        return carry, None

    lax.scan(note, None, jnp.arange(3))
    return ref[...]


class TestRefsOfItsOwn:
    @pytest.mark.parametrize("limit", ["1GiB", "2500KiB"])
    def test_gradients_go_through_them(self, limit):
        jit = functools.partial(memline.jit, memory_limit=limit)
        expected = jax.grad(lambda x: jnp.sin(noted_in_turn(x)).sum())(points())
        assert np.abs(expected).max() > 0.1  # what is written in a loop was lost, and with it all of the gradient
        assert_same(jax.grad(lambda x: jnp.sin(jit(noted_in_turn)(x)).sum())(points()), expected, rtol=1e-4)
        bounded = jax.jit(jax.grad(lambda x: jit(lambda x: jnp.sin(noted_in_turn(x)).sum())(x)))
        assert_same(bounded(points()), expected, rtol=1e-4)
        assert_same(
            jax.jvp(jit(noted_in_turn), (points(),), (points(),)),
            jax.jvp(noted_in_turn, (points(),), (points(),)),
            rtol=1e-4,
        )

    def test_with_derivatives_of_the_users_own(self, jit):
        @jax.custom_vjp
        def doubled(x):
            ref = jax.new_ref(x)
            ref[...] *= 2
            return ref[...]

        doubled.defvjp(lambda x: (doubled(x), None), lambda _, cotangent: (3 * cotangent,))
        bounded = jit(lambda x: kernel_sums(doubled(x)).sum())
        expected = jax.grad(lambda x: kernel_sums(doubled(x)).sum())(points())
        np.testing.assert_allclose(jax.grad(bounded)(points()), expected, rtol=1e-3, atol=1e-3)

    def test_inside_another_program(self, jit):
        bounded, expected = jit(noted_in_turn), noted_in_turn(points())
        assert_same(jax.jit(lambda x: bounded(x) * 2)(points()), expected * 2)
        assert_same(jit(lambda x: jit(noted_in_turn)(x) * 2)(points()), expected * 2)
        assert_same(jax.vmap(bounded)(points()[None]), expected[None])


class TestGradients:
    def test_they_hold_no_more_than_they_need(self, jit):
        def scaled(x, y):
            return (x[:, None] + y[None, :]).sum(1) * 2

        jaxpr = jax.make_jaxpr(lambda x, y: jax.vjp(jit(scaled), x, y)[1](y))(points(), points())
        *_, backward = (eqn for eqn in jaxpr.eqns if eqn.primitive.name == "jit")
        assert len(backward.invars) == 1  # the cotangent: a linear function needs nothing of its arguments
        for found, expected in zip(
            *(jax.vjp(f, points(), points())[1](points()) for f in (jit(scaled), scaled)), strict=True
        ):
            np.testing.assert_allclose(found, expected, rtol=1e-5)


class TestTheHostsMemory:
    host = SingleDeviceSharding(jax.devices()[0], memory_kind="pinned_host")

    def test_gradients_are_there_too(self, jit):
        def scores(x):
            return kernel_sums(jax.device_put(x, jax.memory.Space.Device)).sum()

        x = jax.device_put(points(), self.host)
        found, expected = (jax.grad(f)(x) for f in (jit(scores), jax.jit(scores)))
        assert found.sharding == expected.sharding
        np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)

    def test_what_is_put_there_step_by_step(self):
        policy = jax.checkpoint_policies.save_and_offload_only_these_names(
            names_which_can_be_saved=[],
            names_which_can_be_offloaded=["kept"],
            offload_src="device",
            offload_dst="pinned_host",
        )

        def step(x, _):
            return jnp.sin(checkpoint_name(x @ x, "kept")), None

        def loss(x):
            return lax.scan(jax.checkpoint(step, policy=policy), x, None, length=8)[0].sum()

        x = jnp.eye(64) / 2
        plain = jax.jit(jax.value_and_grad(loss))
        analysis: Any = plain.lower(x).compile().memory_analysis()
        needed = analysis.temp_size_in_bytes + analysis.argument_size_in_bytes + analysis.output_size_in_bytes
        for limit in ("1GiB", needed + 100_000, needed - 10_000):
            try:
                found = memline.jit(jax.value_and_grad(loss), memory_limit=limit)(x)
            except memline.MemoryLimitError:
                continue
            assert_same(found, plain(x))


class TestExplicitMeshAxes:
    @pytest.fixture(autouse=True)
    def mesh(self):
        mesh = jax.make_mesh((1,), ("i",), axis_types=(AxisType.Explicit,))
        with jax.set_mesh(mesh):
            yield mesh

    def spread(self, x):
        return jax.device_put(x, PartitionSpec("i"))

    def test_scans_and_their_gradients(self, jit):
        def loss(x):
            return lax.scan(lambda c, _: (jnp.sin(c), None), x, None, length=3)[0].sum()

        x = self.spread(points())
        expected = jax.jit(jax.grad(loss))(x)
        for found in (jit(jax.grad(loss))(x), jax.grad(jit(loss))(x), jax.jit(jax.grad(jit(loss)))(x)):
            assert found.sharding == expected.sharding
            np.testing.assert_allclose(found, expected, rtol=1e-5)

    def test_axes_that_are_automatic_inside(self, jit):
        fun = jax.sharding.auto_axes(kernel_sums, out_sharding=PartitionSpec("i"))
        try:
            found = jit(fun)(self.spread(points()))
        except memline.MemoryLimitError:  # nothing in there is split
            return
        np.testing.assert_allclose(found, jax.jit(fun)(self.spread(points())), rtol=1e-5)

    def test_gradients_inside_another_program(self):
        def shares(x):
            return jax.vmap(lambda row: row / row.sum())(x)

        x = self.spread(jnp.ones((8, N)))
        bounded = memline.jit(shares, memory_limit="1GiB")
        found, expected = (jax.jit(jax.grad(lambda x: jnp.sin(f(x)).sum()))(x) for f in (bounded, shares))  # noqa: B023
        assert found.sharding == expected.sharding
        np.testing.assert_allclose(found, expected, atol=1e-6)
        tight = memline.jit(shares, memory_limit=8 * N * 4 * 2 + 100)
        with pytest.raises((memline.ArgumentError, memline.MemoryLimitError)):
            jax.jit(jax.grad(lambda x: jnp.sin(tight(x)).sum()))(x)

    def test_sums_that_are_still_to_be_taken(self):
        partial_sums = PartitionSpec(unreduced=frozenset({"i"}))

        def product(x, y):
            return jnp.dot(x, y, out_sharding=partial_sums)

        def loss(product, x, y):
            return jax.sharding.reshard(product(x, y), PartitionSpec()).sum()

        x, y = jax.device_put(jnp.ones((4, 8)), PartitionSpec(None, "i")), self.spread(jnp.ones((8, 4)))
        wide, tight = (memline.jit(product, memory_limit=limit) for limit in ("1MiB", 500))
        assert wide(x, y).sharding == jax.jit(product)(x, y).sharding
        found, expected = (jax.jit(jax.grad(functools.partial(loss, f)))(x, y) for f in (wide, product))
        assert found.sharding == expected.sharding
        np.testing.assert_allclose(found, expected)
        with pytest.raises(memline.ArgumentError, match="still to be taken"):
            jax.jit(functools.partial(loss, tight))(x, y)


class TestAxesAround:
    def test_one_that_no_effect_tells_of(self):
        def shift(x):
            return lax.ppermute(x, "i", [(0, 1), (1, 2), (2, 0)])

        x = jnp.arange(6.0).reshape(3, 2)
        bounded = memline.jit(
            lambda x: lax.scan(lambda c, _: (shift(c), None), x, None, length=1)[0], memory_limit="1KiB"
        )
        np.testing.assert_array_equal(jax.vmap(bounded, axis_name="i")(x), x[jnp.array([2, 0, 1])])
        with pytest.raises(memline.ArgumentError, match="axis i"):
            jax.vmap(memline.jit(shift, memory_limit=50), axis_name="i")(x)
