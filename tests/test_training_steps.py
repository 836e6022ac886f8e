"""Training steps with donated state, in a quarter of the temporaries: gradients of chunks of the batch, activations
computed again, and new parameters and moments written over the old ones."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import optax
import pytest
from jax import lax

import memline
from memline.compiling import HONEST_CPU
from memline.verify.compiled import compiled_peak
from tests.programs import assert_same

# The first step of adam is as long for a gradient of rounding as for any other, so that eps is not too small.
CLIPPED = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(1e-2, eps=1e-3))
PLAIN = optax.adamw(1e-2, eps=1e-3)


@dataclass(frozen=True)
class Case:
    """A training step: its donated state comes first, among its arguments and among its results."""

    step: Callable[..., Any]
    state: tuple[Any, ...]
    rest: tuple[Any, ...]

    @property
    def donated(self) -> tuple[int, ...]:
        return tuple(range(len(self.state)))

    def fresh(self) -> tuple[Any, ...]:
        """The state in arrays that may be given away, and the other arguments."""
        return (*jax.tree.map(jnp.copy, self.state), *self.rest)

    def plain(self) -> Any:
        return jax.jit(self.step, donate_argnums=self.donated)

    def bounded(self, limit_bytes: int, **how: Any) -> Any:
        return memline.jit(self.step, donate_argnums=self.donated, memory_limit=limit_bytes, **how)

    def limit_bytes(self, parts: int = 4) -> int:
        """What arguments and results take, and one of so many parts of plain jit's temporaries."""
        lowered = jax.jit(self.step, donate_argnums=self.donated, compiler_options=HONEST_CPU).lower(*self.fresh())
        peak = compiled_peak(lowered.compile())
        fixed_bytes = peak.argument_bytes + peak.output_bytes - peak.alias_bytes
        return fixed_bytes + (peak.total_bytes - fixed_bytes) // parts


def normal(*shape: int, seed: int) -> Any:
    return jax.random.normal(jax.random.key(seed), shape)


def layers(widths: list[int]) -> list[dict[str, Any]]:
    pairs = itertools.pairwise(widths)
    return [{"w": normal(a, b, seed=a + b) / a**0.5, "b": jnp.zeros(b)} for a, b in pairs]


def data(batch: int, widths: list[int]) -> tuple[Any, Any]:
    return normal(batch, widths[0], seed=1), normal(batch, widths[-1], seed=2)


def network(params: Any, x: Any, between: Callable[[Any, int], Any] = lambda x, i: x) -> Any:
    for i, p in enumerate(params[:-1]):
        x = between(jax.nn.gelu(x @ p["w"] + p["b"]), i)
    return x @ params[-1]["w"] + params[-1]["b"]


def mlp(widths: list[int], batch: int, optimizer: Any = CLIPPED) -> Case:
    def step(params: Any, state: Any, x: Any, y: Any) -> Any:
        loss, grads = jax.value_and_grad(lambda p: jnp.mean((network(p, x) - y) ** 2))(params)
        updates, state = optimizer.update(grads, state, params)
        return optax.apply_updates(params, updates), state, loss

    params = layers(widths)
    return Case(step, (params, optimizer.init(params)), data(batch, widths))


def dropout(widths: list[int], batch: int) -> Case:
    """The random numbers' key is part of the state."""

    def step(params: Any, state: Any, key: Any, x: Any, y: Any) -> Any:
        key, *keys = jax.random.split(key, len(params))

        def drop(x: Any, i: int) -> Any:
            return jnp.where(jax.random.bernoulli(keys[i], 0.8, x.shape), x / 0.8, 0)

        loss, grads = jax.value_and_grad(lambda p: jnp.mean((network(p, x, drop) - y) ** 2))(params)
        updates, state = CLIPPED.update(grads, state, params)
        return optax.apply_updates(params, updates), state, key, loss

    params = layers(widths)
    return Case(step, (params, CLIPPED.init(params), jax.random.key(7)), data(batch, widths))


def batch_norm(widths: list[int], batch: int) -> Case:
    """Running means and variances are part of the state."""

    def step(params: Any, running: Any, state: Any, x: Any, y: Any) -> Any:
        def loss_of(params: Any) -> Any:
            seen = []

            def norm(x: Any, i: int) -> Any:
                mean, var = x.mean(0), x.var(0)
                seen.append({"mean": 0.9 * running[i]["mean"] + 0.1 * mean, "var": 0.9 * running[i]["var"] + 0.1 * var})
                return (x - mean) * lax.rsqrt(var + 1e-3)

            return jnp.mean((network(params, x, norm) - y) ** 2), seen

        (loss, seen), grads = jax.value_and_grad(loss_of, has_aux=True)(params)
        updates, state = CLIPPED.update(grads, state, params)
        return optax.apply_updates(params, updates), seen, state, loss

    params = layers(widths)
    running = [{"mean": jnp.zeros(n), "var": jnp.ones(n)} for n in widths[1:-1]]
    return Case(step, (params, running, CLIPPED.init(params)), data(batch, widths))


def scanned(depth: int, width: int, batch: int) -> Case:
    """The layers' weights are one array, and the layers a scan."""

    def step(params: Any, state: Any, x: Any, y: Any) -> Any:
        def loss_of(params: Any) -> Any:
            out, _ = lax.scan(lambda x, w: (x + jnp.tanh(x @ w), None), x, params["w"])
            return jnp.mean((out - y) ** 2)

        loss, grads = jax.value_and_grad(loss_of)(params)
        updates, state = CLIPPED.update(grads, state, params)
        return optax.apply_updates(params, updates), state, loss

    params = {"w": normal(depth, width, width, seed=3) / width**0.5}
    return Case(step, (params, CLIPPED.init(params)), data(batch, [width]))


BIG_WEIGHTS = mlp([32, 512, 512, 32], 8)
CASES = {
    "big weights": BIG_WEIGHTS,
    "big weights without clipping": mlp([32, 512, 512, 512, 32], 8, PLAIN),
    "big batch": mlp([32, 64, 64, 32], 4096),
    "both": mlp([64, 256, 256, 64], 2048),
    "dropout": dropout([32, 128, 128, 32], 2048),
    "batch norm": batch_norm([32, 128, 128, 32], 2048),
    "scanned": scanned(6, 128, 64),
}
IN_PLACE = {"big weights", "big weights without clipping", "scanned"}
"""Where the parameters are big, so that it is their update that has to be split."""


def leaves_of(tree: Any) -> list[Any]:
    return [x for x in jax.tree.leaves(tree) if not jnp.issubdtype(x.dtype, jax.dtypes.prng_key)]


@pytest.mark.parametrize("name", CASES)
def test_a_quarter_of_the_temporaries_is_enough(name):
    case = CASES[name]
    limit_bytes = case.limit_bytes()
    bounded, plain = case.bounded(limit_bytes), case.plain()
    lowered = bounded.lower(*case.fresh())
    assert lowered.plan.compiled_peak_bytes <= limit_bytes
    assert any("written over in place" in note for note in lowered.plan.notes) == (name in IN_PLACE)
    assert not any("copied" in note for note in lowered.plan.notes)
    found, expected = case.fresh(), case.fresh()
    for _ in range(2):  # the second step begins with what the first one wrote
        given = jax.tree.leaves(found[: len(case.state)])
        places = [x.unsafe_buffer_pointer() for x in leaves_of(given)]
        results = bounded(*found)
        assert all(x.is_deleted() for x in given)
        found, expected = ((*r[: len(case.state)], *case.rest) for r in (results, plain(*expected)))
        assert [x.unsafe_buffer_pointer() for x in leaves_of(found[: len(case.state)])] == places
        assert_same(found, expected, rtol=2e-4)
