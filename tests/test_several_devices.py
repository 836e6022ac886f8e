"""The limit is per device: several CPU devices, and arrays spread over them."""

import subprocess
import sys
import textwrap


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
        assert memline.jit(scores, memory_limit="800KiB", device=second)(x, w).devices() == {second}
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


def test_inside_other_programs():
    run_with_devices(
        4,
        """
        limited = lambda f, **more: memline.jit(f, memory_limit="64KiB", **more)
        mesh = jax.make_mesh((2, 2), ("a", "b"), axis_types=(jax.sharding.AxisType.Auto,) * 2)
        rows, columns = NamedSharding(mesh, P("a")), NamedSharding(mesh, P(None, "b"))
        x = np.linspace(0, 1, 64, dtype=np.float32).reshape(8, 8)

        # Where a function inside another is asked to have its arguments and results.
        for more in ({"out_shardings": rows}, {"in_shardings": columns}):
            found, expected = (jax.jit(lambda x: jit(jnp.sin, **more)(x) * 2)(x) for jit in (limited, jax.jit))
            assert found.sharding == expected.sharding, (more, found.sharding)
            assert np.allclose(found, expected)

        # Over which devices a mapped axis is spread.
        def on_b(x):
            return jax.lax.with_sharding_constraint(x * 2, NamedSharding(mesh, P("b")))

        found, expected = (jax.jit(jax.vmap(jit(on_b), spmd_axis_name="a"))(x) for jit in (limited, jax.jit))
        assert found.sharding == expected.sharding == NamedSharding(mesh, P("a", "b"))

        # Types that say where arrays are keep saying it in derivatives and under maps.
        with jax.set_mesh(jax.make_mesh((2, 2), ("a", "b"), axis_types=(jax.sharding.AxisType.Explicit,) * 2)):
            spread = jax.device_put(x, P("a", "b"))
            for f in (jax.grad(lambda x: limited(lambda x: (x * x).sum())(x)), jax.vmap(limited(jnp.sin))):
                assert jax.typeof(f(spread)) == jax.typeof(spread)
            assert jax.hessian(limited(lambda x: (x**3).sum()))(jax.device_put(x[0], P('a'))).shape == (8, 8)
        """,
    )
