"""Whole training steps of parts that others made: modules, checkpoints, derivatives of one's own, meshes."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import optax
import pytest

import memline
from tests.comparing import assert_same
from tests.test_several_devices import run_with_devices

WIDTH, BATCH = 64, 2048
OPTIMIZER = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(1e-2, eps=1e-3))


def data() -> tuple[Any, Any]:
    return jax.random.normal(jax.random.key(1), (BATCH, WIDTH)), jax.random.normal(jax.random.key(2), (BATCH, WIDTH))


def updated(loss: Any, params: Any, state: Any) -> tuple[Any, Any, Any]:
    value, grads = jax.value_and_grad(loss)(params)
    updates, state = OPTIMIZER.update(grads, state, params)
    return optax.apply_updates(params, updates), state, value


def in_half_of_the_memory(step: Any, *args: Any) -> None:
    """Runs a step whose first two arguments are donated in half of plain jit's temporaries."""
    plain = jax.jit(step, donate_argnums=(0, 1)).lower(*args).compile()
    account: Any = plain.memory_analysis()
    fixed_bytes = account.argument_size_in_bytes + account.output_size_in_bytes - account.alias_size_in_bytes
    limit_bytes = fixed_bytes + account.temp_size_in_bytes // 2
    bounded = memline.jit(step, donate_argnums=(0, 1), memory_limit=limit_bytes)
    assert bounded.lower(*args).plan.moves
    given = jax.tree.map(jnp.copy, args)
    found = bounded(*given)
    assert all(x.is_deleted() for x in jax.tree.leaves(given[:2]))
    assert_same(found, plain(*args), rtol=2e-4)


def test_an_equinox_module():
    eqx = pytest.importorskip("equinox", reason="equinox is not installed")
    params, rest = eqx.partition(eqx.nn.MLP(WIDTH, WIDTH, 128, 1, key=jax.random.key(0)), eqx.is_array)

    def step(params: Any, state: Any, x: Any, y: Any) -> Any:
        return updated(lambda p: jnp.mean((jax.vmap(eqx.combine(p, rest))(x) - y) ** 2), params, state)

    in_half_of_the_memory(step, params, OPTIMIZER.init(params), *data())


def test_a_flax_module():
    nnx = pytest.importorskip("flax.nnx", reason="flax is not installed")
    rngs = nnx.Rngs(0)
    graph, params = nnx.split(
        nnx.Sequential(nnx.Linear(WIDTH, 128, rngs=rngs), nnx.relu, nnx.Linear(128, WIDTH, rngs=rngs))
    )

    def step(params: Any, state: Any, x: Any, y: Any) -> Any:
        return updated(lambda p: jnp.mean((nnx.merge(graph, p)(x) - y) ** 2), params, state)

    in_half_of_the_memory(step, params, OPTIMIZER.init(params), *data())


@jax.custom_vjp
def clipped(x: Any) -> Any:
    """As it is; its gradient is clipped."""
    return x


clipped.defvjp(lambda x: (x, None), lambda _, g: (jnp.clip(g, -1e-3, 1e-3),))


def test_checkpoints_and_derivatives_of_ones_own():
    @jax.checkpoint
    def layer(x: Any, w: Any) -> Any:
        return clipped(jnp.tanh(jax.jit(jnp.matmul)(x, w)))

    def step(params: Any, state: Any, x: Any, y: Any) -> Any:
        def loss(params: Any) -> Any:
            out = x
            for w in params:
                out = layer(out, w)
            return jnp.mean((out - y) ** 2)

        return updated(loss, params, state)

    params = [jax.random.normal(jax.random.key(i), (WIDTH, WIDTH)) / 8 for i in range(3)]
    in_half_of_the_memory(step, params, OPTIMIZER.init(params), *data())


def test_on_several_devices():
    """The batch is spread, the parameters are everywhere, and the limit is for each device."""
    run_with_devices(
        2,
        """
        from functools import partial
        mesh = jax.make_mesh((2,), ("d",), axis_types=(jax.sharding.AxisType.Auto,))
        spread, everywhere = NamedSharding(mesh, P("d")), NamedSharding(mesh, P())
        x = jax.device_put(np.linspace(-1, 1, 4096 * 8, dtype=np.float32).reshape(4096, 8), spread)
        w = jax.device_put(np.linspace(-1, 1, 8 * 64, dtype=np.float32).reshape(8, 64), everywhere)

        def scores(x, w):
            return jnp.exp(x @ w / 10).sum(1)

        def step(w, m, x):
            grad = jax.grad(lambda w: scores(x, w).mean())(w)
            return w - 0.1 * (0.9 * m + grad), 0.9 * m + grad

        # Around a mapped function, and inside one.
        mapped = partial(jax.shard_map, mesh=mesh, in_specs=(P("d"), P()), out_specs=P("d"))
        expected = scores(x, w)
        assert np.allclose(memline.jit(mapped(scores), memory_limit="2MiB")(x, w), expected, rtol=1e-5)
        inside = mapped(memline.limit(scores, "200KiB"), check_vma=False)
        assert np.allclose(jax.jit(inside)(x, w), expected, rtol=1e-5)
        assert jax.jit(inside).lower(x, w).compile().memory_analysis().temp_size_in_bytes < 200 << 10

        # A step that gives its state away.
        fresh = lambda: jax.device_put((np.asarray(w), np.zeros_like(w)), everywhere)
        plain = jax.jit(step, donate_argnums=(0, 1)).lower(*fresh(), x).compile()
        account = plain.memory_analysis()
        fixed = account.argument_size_in_bytes + account.output_size_in_bytes - account.alias_size_in_bytes
        bounded = memline.jit(step, donate_argnums=(0, 1), memory_limit=fixed + account.temp_size_in_bytes // 2)
        assert bounded.lower(*fresh(), x).plan.moves
        given = fresh()
        found, wanted = bounded(*given, x), plain(*fresh(), x)
        assert all(a.is_deleted() for a in given)
        for a, b in zip(found, wanted):
            assert np.allclose(a, b, rtol=1e-4, atol=1e-6) and a.sharding.is_equivalent_to(b.sharding, 2)
        """,
    )
