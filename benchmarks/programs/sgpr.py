"""Sparse Gaussian process regression: Titsias' collapsed bound and its gradient, in float64.

M. K. Titsias, "Variational learning of inducing variables in sparse Gaussian processes", AISTATS
2009, in the numerically stable form with two Cholesky factors.

The data is the table `keggundirected` of the UCI repository, read from
`$MEMLINE_DATA/uci/keggundirected.csv.gz`; without it, synthetic data of the same shape takes its
place and the result says so.
"""

import os
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import solve_triangular

from benchmarks.programs.program import MIB, Program

ROWS, COLUMNS, INDUCING = 63_608, 27, 500
JITTER = 1e-6


def kernel(x: jax.Array, y: jax.Array, params: dict) -> jax.Array:
    """The squared-exponential kernel with one length scale per input dimension."""
    x, y = x / jnp.exp(params["log_scales"]), y / jnp.exp(params["log_scales"])
    squared = (x**2).sum(-1)[:, None] + (y**2).sum(-1)[None, :] - 2 * x @ y.T
    return jnp.exp(params["log_variance"] - 0.5 * jnp.maximum(squared, 0))


def negative_bound(params: dict, x: jax.Array, y: jax.Array) -> jax.Array:
    """The negative of Titsias' lower bound on the log marginal likelihood, per data point."""
    count = x.shape[0]
    inducing, noise = params["inducing"], jnp.exp(params["log_noise"])
    eye = jnp.eye(inducing.shape[0], dtype=x.dtype)
    factor = jnp.linalg.cholesky(kernel(inducing, inducing, params) + JITTER * eye)
    cross = solve_triangular(factor, kernel(inducing, x, params), lower=True) / jnp.sqrt(noise)
    inner = cross @ cross.T
    inner_factor = jnp.linalg.cholesky(inner + eye)
    projected = solve_triangular(inner_factor, cross @ y, lower=True) / jnp.sqrt(noise)

    log_det = 2 * jnp.log(jnp.diag(inner_factor)).sum() + count * params["log_noise"]
    fit = (y @ y) / noise - projected @ projected
    trace = count * jnp.exp(params["log_variance"]) / noise - jnp.trace(inner)
    return 0.5 * (count * jnp.log(2 * jnp.pi) + log_det + fit + trace) / count


value_and_gradient = jax.value_and_grad(negative_bound)


def table_path() -> Path:
    """Where the real data is looked for."""
    return Path(os.environ.get("MEMLINE_DATA", "data")) / "uci" / "keggundirected.csv.gz"


def load_table() -> np.ndarray:
    """The real table, or synthetic data of its shape; the last column is the target."""
    path = table_path()
    if path.exists():
        return np.loadtxt(path, delimiter=",")
    rng = np.random.default_rng(7)
    inputs = rng.standard_normal((ROWS, COLUMNS)) @ rng.standard_normal((COLUMNS, COLUMNS)) / 5
    target = np.sin(inputs[:, :3].sum(-1)) + 0.1 * rng.standard_normal(ROWS)
    return np.column_stack([inputs, target])


def data_note() -> str:
    """Which data the program runs on."""
    return "keggundirected" if table_path().exists() else "synthetic data of keggundirected's shape"


def split_table(table: np.ndarray, seed: int, inducing: int) -> tuple[dict, np.ndarray, np.ndarray]:
    """Standardised inputs and target, and parameters with inducing points drawn from the inputs."""
    table = (table - table.mean(0)) / np.maximum(table.std(0), 1e-12)
    x, y = np.ascontiguousarray(table[:, :-1]), np.ascontiguousarray(table[:, -1])
    distinct = np.unique(x, axis=0)
    chosen = np.random.default_rng(seed).choice(len(distinct), inducing, replace=False)
    params = {
        "inducing": distinct[chosen],
        "log_scales": np.full(x.shape[1], 0.5 * np.log(x.shape[1])),
        "log_variance": np.float64(np.log(1.5)),
        "log_noise": np.float64(np.log(0.1)),
    }
    return params, x, y


def warm_args() -> tuple:
    """A small random table."""
    rng = np.random.default_rng(0)
    return split_table(rng.standard_normal((60, COLUMNS + 1)), 0, 11)


SGPR = Program(
    name="sgpr",
    title="sparse GP bound, value and gradient, float64, 63 608 x 27, M = 500",
    fun=value_and_gradient,
    make_args=lambda seed: split_table(load_table(), seed, INDUCING),
    warm_args=warm_args,
    limit_bytes=256 * MIB,
    target_ratio=1.0,
    x64=True,
    tolerance=1e-8,
    note=data_note,
)
