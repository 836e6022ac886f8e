"""Many chains of blackjax's Hamiltonian Monte Carlo on a logistic regression, a step of each."""

from collections.abc import Callable
from typing import Any

import blackjax
import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.programs.program import MIB, Program

COLUMNS = 16


def build(transitions: int, leapfrogs: int = 8) -> tuple[Callable[..., Any], Callable[[int, int, int], tuple]]:
    """The chains' ends of `(starts, x, y, key data)`, and their arguments by `(seed, chains, rows)`."""

    def run(starts: jax.Array, x: jax.Array, y: jax.Array, key_data: jax.Array) -> tuple:
        def density(weights: jax.Array) -> jax.Array:
            logits = x @ weights
            return (y * logits - jax.nn.softplus(logits)).sum() - 0.5 * (weights**2).sum()

        sampler = blackjax.hmc(density, 1e-3, jnp.ones(COLUMNS), leapfrogs)

        def transition(states: Any, key: jax.Array) -> tuple:
            keys = jax.random.split(key, starts.shape[0])
            states, info = jax.vmap(sampler.step)(keys, states)
            return states, info.acceptance_rate.mean()

        keys = jax.random.split(jax.random.wrap_key_data(key_data), transitions)
        states, accepted = jax.lax.scan(transition, jax.vmap(sampler.init)(starts), keys)
        return states.position, states.logdensity, accepted

    def make_args(seed: int, chains: int, rows: int) -> tuple:
        rng = np.random.default_rng(seed)
        x = rng.standard_normal((rows, COLUMNS))
        truth = rng.standard_normal(COLUMNS)
        y = (rng.random(rows) < 1 / (1 + np.exp(-x @ truth))).astype(float)
        starts = truth + 0.1 * rng.standard_normal((chains, COLUMNS))
        return starts, x, y, np.array([0, seed], np.uint32)

    return run, make_args


_fun, _make_args = build(transitions=2)

CHAINS = Program(
    name="blackjax-chains",
    title="blackjax HMC, 4 096 chains, 2 transitions, 4 000 rows, float64",
    fun=_fun,
    make_args=lambda seed: _make_args(seed, 4_096, 4_000),
    warm_args=lambda: _make_args(0, 16, 40),
    limit_bytes=110 * MIB,
    target_ratio=1.15,
    x64=True,
    tolerance=1e-8,
)
