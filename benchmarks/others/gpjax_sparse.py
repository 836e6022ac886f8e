"""Sparse Gaussian process regression by gpjax: the collapsed bound and its gradient in every parameter."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import gpjax as gpx
import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.programs.program import MIB, Program

COLUMNS = 8


def build(inducing: int) -> tuple[Callable[..., Any], Callable[[int, int], tuple]]:
    """The value and gradient of `(parameters, x, y)`, and their arguments by `(seed, rows)`."""

    def make(points: jax.Array) -> Any:
        prior = gpx.gps.Prior(
            mean_function=gpx.mean_functions.Zero(), kernel=gpx.kernels.RBF(lengthscale=jnp.full(COLUMNS, 2.0))
        )
        posterior = prior * gpx.likelihoods.Gaussian(obs_stddev=jnp.array(0.3))
        return gpx.variational_families.CollapsedVariationalGaussian(posterior, points)

    skeleton = eqx.filter_eval_shape(make, jax.ShapeDtypeStruct((inducing, COLUMNS), np.dtype(np.float64)))
    _, static = eqx.partition(skeleton, lambda leaf: isinstance(leaf, jax.ShapeDtypeStruct))

    def loss(parameters: Any, x: jax.Array, y: jax.Array) -> jax.Array:
        return -gpx.objectives.collapsed_elbo(eqx.combine(parameters, static), gpx.Dataset(x, y))

    def make_args(seed: int, rows: int) -> tuple:
        rng = np.random.default_rng(seed)
        x = rng.standard_normal((rows, COLUMNS))
        y = np.sin(x[:, :1] + x[:, 1:2]) + 0.3 * rng.standard_normal((rows, 1))
        model = make(jnp.asarray(x[rng.choice(rows, inducing, replace=False)]))
        return jax.device_get(eqx.filter(model, eqx.is_array)), x, y

    return jax.value_and_grad(loss), make_args


_fun, _make_args = build(inducing=300)

SPARSE = Program(
    name="gpjax-sparse",
    title="gpjax sparse GP bound, value and gradient, float64, 30 000 x 8, M = 300",
    fun=_fun,
    make_args=lambda seed: _make_args(seed, 30_000),
    warm_args=lambda: _make_args(0, 400),
    limit_bytes=330 * MIB,
    target_ratio=1.15,
    x64=True,
    tolerance=1e-8,
)
