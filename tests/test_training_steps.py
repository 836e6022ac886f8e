"""Training steps with donated state, in a quarter of the temporaries: gradients of chunks of the batch, activations
computed again, and new parameters and moments written over the old ones."""

from __future__ import annotations

import copy
import functools
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
from tests.comparing import assert_same

# The first step of adam is as long for a gradient of rounding as for any other, so that eps is not too small.
CLIPPED = optax.chain(optax.clip_by_global_norm(1.0), optax.adamw(1e-2, eps=1e-3))
SLACK_BYTES = 4 << 20  # pages of code, and a little of the runtime
PLAIN = optax.adamw(1e-2, eps=1e-3)


@dataclass(frozen=True, eq=False)
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

    @functools.cached_property
    def plain(self) -> Any:
        """The step compiled by plain jit, its memory in sight."""
        jitted = jax.jit(self.step, donate_argnums=self.donated, compiler_options=HONEST_CPU)
        return jitted.lower(*self.fresh()).compile()

    def bounded(self, limit_bytes: int, **how: Any) -> Any:
        return memline.jit(self.step, donate_argnums=self.donated, memory_limit=limit_bytes, **how)

    @property
    def limit_bytes(self) -> int:
        """What arguments and results take, and a quarter of plain jit's temporaries."""
        peak = compiled_peak(self.plain)
        fixed_bytes = peak.argument_bytes + peak.output_bytes - peak.alias_bytes
        return fixed_bytes + (peak.total_bytes - fixed_bytes) // 4


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


def noisy(widths: list[int], batch: int) -> Case:
    """Dropout and batch normalisation: the random numbers' key, running means and variances are part of the state."""

    def step(params: Any, running: Any, key: Any, state: Any, x: Any, y: Any) -> Any:
        key, *keys = jax.random.split(key, len(params))

        def loss_of(params: Any) -> Any:
            seen = []

            def between(x: Any, i: int) -> Any:
                mean, var = x.mean(0), x.var(0)
                seen.append({"mean": 0.9 * running[i]["mean"] + 0.1 * mean, "var": 0.9 * running[i]["var"] + 0.1 * var})
                x = (x - mean) * lax.rsqrt(var + 1e-3)
                return jnp.where(jax.random.bernoulli(keys[i], 0.8, x.shape), x / 0.8, 0)

            return jnp.mean((network(params, x, between) - y) ** 2), seen

        (loss, seen), grads = jax.value_and_grad(loss_of, has_aux=True)(params)
        updates, state = CLIPPED.update(grads, state, params)
        return optax.apply_updates(params, updates), seen, key, state, loss

    params = layers(widths)
    running = [{"mean": jnp.zeros(n), "var": jnp.ones(n)} for n in widths[1:-1]]
    return Case(step, (params, running, jax.random.key(7), CLIPPED.init(params)), data(batch, widths))


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
    "big weights without clipping": mlp([32, 384, 384, 384, 32], 8, PLAIN),
    "big batch": mlp([32, 64, 32], 4096),
    "noise and running averages": noisy([32, 64, 32], 2048),
    "scanned": scanned(4, 64, 1024),
}
IN_PLACE = {"big weights", "big weights without clipping"}
"""Where the parameters are big, so that it is their update that has to be split."""


def leaves_of(tree: Any) -> list[Any]:
    return [x for x in jax.tree.leaves(tree) if not jnp.issubdtype(x.dtype, jax.dtypes.prng_key)]


@pytest.mark.parametrize("name", CASES)
def test_a_quarter_of_the_temporaries_is_enough(name):
    case = CASES[name]
    limit_bytes = case.limit_bytes
    bounded = case.bounded(limit_bytes)
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
        found, expected = ((*r[: len(case.state)], *case.rest) for r in (results, case.plain(*expected)))
        assert [x.unsafe_buffer_pointer() for x in leaves_of(found[: len(case.state)])] == places
        assert_same(found, expected, rtol=2e-4)


def test_a_plan_from_the_cache_writes_in_place_too(tmp_path, monkeypatch):
    options = memline.Options(plan_cache=tmp_path)

    def lower():
        bounded = BIG_WEIGHTS.bounded(BIG_WEIGHTS.limit_bytes, options=options)
        return copy.copy(bounded).lower(*BIG_WEIGHTS.fresh())  # a copy plans by itself, as in another process

    first = lower()
    monkeypatch.setattr("memline.planning.search", None)  # nothing is searched for again
    again = lower()
    assert any("found in the plan cache" in note for note in again.plan.notes)
    assert set(first.plan.notes) <= set(again.plan.notes)
    assert first.compile().memory_analysis().temp_size_in_bytes == again.compile().memory_analysis().temp_size_in_bytes


def test_tuning_runs_on_copies_of_what_is_donated():
    options = memline.Options(tune_seconds=1.0)
    bounded = BIG_WEIGHTS.bounded(BIG_WEIGHTS.limit_bytes, options=options)
    given = BIG_WEIGHTS.fresh()
    plan = bounded.lower(*given).plan
    assert plan.tried
    assert plan.compiled_peak_bytes <= plan.limit_bytes
    assert not any(x.is_deleted() for x in jax.tree.leaves(given))
    assert_same(bounded(*given), BIG_WEIGHTS.plain(*BIG_WEIGHTS.fresh()), rtol=2e-4)


def test_results_in_another_order_than_arguments():
    """JAX gives the first result the first array of its type: here new moments lie where parameters lay."""

    def turned(*args: Any) -> Any:
        params, state, loss = BIG_WEIGHTS.step(*args)
        return state, params, loss

    bounded = memline.jit(turned, donate_argnums=(0, 1), memory_limit=BIG_WEIGHTS.limit_bytes)
    plan = bounded.lower(*BIG_WEIGHTS.fresh()).plan
    assert plan.compiled_peak_bytes <= plan.limit_bytes
    assert any("written over in place" in note for note in plan.notes)
    expected = BIG_WEIGHTS.plain(*BIG_WEIGHTS.fresh())
    assert_same(bounded(*BIG_WEIGHTS.fresh()), (expected[1], expected[0], expected[2]), rtol=2e-4)


@pytest.mark.slow
def test_a_step_grows_by_no_more_than_its_limit_allows():
    """Measured in a fresh process: without updates in place it would grow by the parameters and both moments."""
    case = mlp([64, 1024, 1024, 64], 16)
    state_bytes = sum(x.nbytes for x in jax.tree.leaves(case.state))
    limit_bytes = case.limit_bytes
    compiled = case.bounded(limit_bytes).lower(*case.fresh()).compile()
    measured = compiled.measure(*case.fresh(), repeats=0)
    assert measured.peak_bytes <= limit_bytes - compiled.plan.argument_bytes + SLACK_BYTES
    assert measured.peak_bytes < state_bytes // 2
