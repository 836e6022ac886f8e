"""Entropic optimal transport of two point clouds by ott-jax, and its gradient in the first cloud's points."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from ott.geometry import pointcloud
from ott.solvers import linear

from benchmarks.programs.program import MIB, Program

DIMENSIONS = 3


def build(iterations: int) -> tuple[Callable[..., Any], Callable[[int, int], tuple]]:
    """The value and gradient of `(x, y)`, and their arguments by `(seed, points)`."""

    def cost(x: jax.Array, y: jax.Array) -> jax.Array:
        geometry = pointcloud.PointCloud(x, y, epsilon=0.05)
        solved = linear.solve(geometry, threshold=0.0, min_iterations=iterations, max_iterations=iterations)
        return solved.reg_ot_cost

    def make_args(seed: int, points: int) -> tuple:
        rng = np.random.default_rng(seed)
        x, y = (rng.random((points, DIMENSIONS), dtype=np.float32) for _ in range(2))
        return x, y + np.float32(0.2)

    return jax.value_and_grad(cost), make_args


_fun, _make_args = build(iterations=10)

SINKHORN = Program(
    name="ott-sinkhorn",
    title="ott-jax Sinkhorn, 6 000 x 6 000 points, 10 iterations, value and gradient",
    fun=_fun,
    make_args=lambda seed: _make_args(seed, 6_000),
    warm_args=lambda: _make_args(0, 50),
    limit_bytes=180 * MIB,
    target_ratio=1.15,
)
