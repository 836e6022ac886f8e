"""Message passing by jraph: two graph networks of perceptrons and segment sums, loss and gradient."""

from collections.abc import Callable
from typing import Any

import jax
import jraph
import numpy as np

from benchmarks.programs.program import MIB, Program


def build(width: int, rounds: int = 2) -> tuple[Callable[..., Any], Callable[[int, int, int], tuple]]:
    """The value and gradient of `(parameters, graph, targets)`, and their arguments by `(seed, nodes, edges)`."""

    def predict(parameters: list[dict], graph: jraph.GraphsTuple) -> jax.Array:
        for layer in parameters:

            @jraph.concatenated_args
            def update_edges(inputs: jax.Array, layer: dict = layer) -> jax.Array:
                return jax.nn.silu(inputs @ layer["edges"])

            @jraph.concatenated_args
            def update_nodes(inputs: jax.Array, layer: dict = layer) -> jax.Array:
                return jax.nn.silu(inputs @ layer["nodes"])

            graph = jraph.GraphNetwork(update_edges, update_nodes)(graph)
        return graph.nodes

    def loss(parameters: list[dict], graph: jraph.GraphsTuple, targets: jax.Array) -> jax.Array:
        return ((predict(parameters, graph) - targets) ** 2).mean()

    def make_args(seed: int, nodes: int, edges: int) -> tuple:
        rng = np.random.default_rng(seed)

        def normal(*shape: int, scale: float = 1.0) -> np.ndarray:
            return rng.standard_normal(shape, dtype=np.float32) * np.float32(scale)

        parameters = [
            {
                "edges": normal(3 * width if number else 2 * width + 1, width, scale=(2 * width) ** -0.5),
                "nodes": normal(3 * width, width, scale=(2 * width) ** -0.5),
            }
            for number in range(rounds)
        ]
        graph = jraph.GraphsTuple(
            nodes=normal(nodes, width),
            edges=normal(edges, 1),
            senders=rng.integers(0, nodes, edges, dtype=np.int32),
            receivers=rng.integers(0, nodes, edges, dtype=np.int32),
            globals=None,
            n_node=np.array([nodes], np.int32),
            n_edge=np.array([edges], np.int32),
        )
        return parameters, graph, normal(nodes, width)

    return jax.value_and_grad(loss), make_args


_fun, _make_args = build(width=64)

MESSAGES = Program(
    name="jraph-messages",
    title="jraph, 2 rounds over 400 000 edges, width 64, loss and gradient",
    fun=_fun,
    make_args=lambda seed: _make_args(seed, 20_000, 400_000),
    warm_args=lambda: _make_args(0, 40, 200),
    limit_bytes=280 * MIB,
    target_ratio=1.15,
)
