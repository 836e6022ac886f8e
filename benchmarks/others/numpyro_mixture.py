"""The log density of a numpyro model, a mixture of Gaussians, and its gradient in the latent variables."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import numpyro
import numpyro.distributions as dist
from numpyro.infer.util import log_density

from benchmarks.programs.program import MIB, Program

COLUMNS = 8


def model(points: jax.Array, components: int) -> None:
    """Points `[count, COLUMNS]` drawn from components of their own weights, means and scales."""
    weights = numpyro.sample("weights", dist.Dirichlet(jnp.ones(components)))
    means = numpyro.sample("means", dist.Normal(0.0, 3.0).expand((components, COLUMNS)).to_event(2))
    scales = numpyro.sample("scales", dist.LogNormal(0.0, 1.0).expand((components, COLUMNS)).to_event(2))
    mixture = dist.MixtureSameFamily(dist.Categorical(weights), dist.Normal(means, scales).to_event(1))
    with numpyro.plate("points", points.shape[0]):
        numpyro.sample("point", mixture, obs=points)


def build(components: int) -> tuple[Callable[..., Any], Callable[[int, int], tuple]]:
    """The value and gradient of `(latent variables, points)`, and their arguments by `(seed, points)`."""

    def density(latent: dict, points: jax.Array) -> jax.Array:
        return log_density(model, (points, components), {}, latent)[0]

    def make_args(seed: int, points: int) -> tuple:
        rng = np.random.default_rng(seed)
        centres = 3 * rng.standard_normal((components, COLUMNS), dtype=np.float32)
        drawn = rng.standard_normal((points, COLUMNS), dtype=np.float32)
        latent = {
            "weights": np.full(components, 1 / components, np.float32),
            "means": centres + 0.1 * rng.standard_normal(centres.shape, dtype=np.float32),
            "scales": np.full(centres.shape, 0.8, np.float32),
        }
        return latent, drawn + centres[rng.integers(0, components, points)]

    return jax.value_and_grad(density), make_args


_fun, _make_args = build(components=64)

MIXTURE = Program(
    name="numpyro-mixture",
    title="numpyro mixture of 64 Gaussians, 200 000 x 8 points, log density and gradient",
    fun=_fun,
    make_args=lambda seed: _make_args(seed, 200_000),
    warm_args=lambda: _make_args(0, 80),
    limit_bytes=400 * MIB,
    target_ratio=1.15,
)
