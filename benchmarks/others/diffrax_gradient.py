"""Many trajectories of a neural differential equation solved by diffrax, and the gradient in its field."""

from collections.abc import Callable
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.programs.program import MIB, Program

STATES = 4


class Field(eqx.Module):
    """The right-hand side: a perceptron of the state."""

    perceptron: eqx.nn.MLP

    def __init__(self, width: int, key: jax.Array) -> None:
        self.perceptron = eqx.nn.MLP(STATES, STATES, width, 2, activation=jnp.tanh, key=key)

    def __call__(self, t: Any, y: jax.Array, args: Any) -> jax.Array:
        """The derivative of the state `y`."""
        return self.perceptron(y)


def build(
    width: int, steps: int, adjoint: diffrax.AbstractAdjoint | None = None
) -> tuple[Callable[..., Any], Callable[[int, int], tuple]]:
    """The value and gradient of `(parameters, starts, targets)`, and their arguments by `(seed, trajectories)`."""
    how = adjoint or diffrax.RecursiveCheckpointAdjoint()

    def make(key: jax.Array) -> Field:
        return Field(width, key)

    skeleton = eqx.filter_eval_shape(make, jax.random.key(0))
    _, static = eqx.partition(skeleton, lambda leaf: isinstance(leaf, jax.ShapeDtypeStruct))

    def solve(field: Field, start: jax.Array) -> jax.Array:
        solution = diffrax.diffeqsolve(
            diffrax.ODETerm(field),
            diffrax.Tsit5(),
            t0=0.0,
            t1=1.0,
            dt0=1.0 / steps,
            y0=start,
            adjoint=how,
            max_steps=steps + 1,
        )
        assert solution.ys is not None
        return solution.ys[0]

    def loss(parameters: Any, starts: jax.Array, targets: jax.Array) -> jax.Array:
        ends = jax.vmap(solve, (None, 0))(eqx.combine(parameters, static), starts)
        return ((ends - targets) ** 2).mean()

    def make_args(seed: int, trajectories: int) -> tuple:
        rng = np.random.default_rng(seed)
        starts, targets = (rng.standard_normal((trajectories, STATES), dtype=np.float32) for _ in range(2))
        return jax.device_get(eqx.filter(make(jax.random.key(seed)), eqx.is_array)), starts, targets

    return jax.value_and_grad(loss), make_args


_fun, _make_args = build(width=64, steps=16)

SOLVE = Program(
    name="diffrax-gradient",
    title="diffrax Tsit5, 16 steps of 16 384 trajectories, value and gradient",
    fun=_fun,
    make_args=lambda seed: _make_args(seed, 16_384),
    warm_args=lambda: _make_args(0, 32),
    limit_bytes=160 * MIB,
    target_ratio=1.15,
)
