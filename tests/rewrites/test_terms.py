"""Terms of values deep inside a program: found once each, and not looked for where there can be none."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

from memline.ir.build import Builder
from memline.ir.graph import Graph
from memline.ir.trace import trace
from memline.rewrites.terms import Terms


class Counting(Terms):
    """Counts how often the terms of a value are looked for."""

    looked = 0

    def _found(self, v: Any, depth: int) -> Any:
        self.looked += 1
        return super()._found(v, depth)


def terms_of(graph: Graph) -> Counting:
    terms = Counting(graph, Builder("t"), None, wide=True)
    terms.of(graph.outputs[0])
    return terms


class TestDeepPrograms:
    def test_sums_of_full_arrays_are_not_looked_into(self) -> None:
        def residual(x: Any) -> Any:
            for _ in range(12):
                x = x + jnp.tanh(x)
            return x

        assert terms_of(trace(residual, np.zeros((30, 40), np.float32))).looked == 1

    def test_what_is_reached_by_many_ways_is_found_once(self) -> None:
        def doubled(x: Any) -> Any:
            for _ in range(10):
                x = x * x
            return x * x

        graph = trace(doubled, np.zeros((30, 40), np.float32))
        assert terms_of(graph).looked <= len(graph.nodes) + 1

    def test_a_value_seen_from_afar_first_is_looked_into_again_from_nearby(self) -> None:
        """From afar there may be too few steps left to see of what a value is made."""

        def difference(x: Any, y: Any) -> Any:
            return x[:, None] - y[None]

        graph = trace(difference, np.zeros(30, np.float32), np.zeros(40, np.float32))
        terms = Counting(graph, Builder("t"), None, wide=False)
        (result,) = graph.outputs
        assert len(terms.of(result, depth=24)) == 1
        assert len(terms.of(result)) == 2
        assert len(terms.of(result, depth=24)) == 2, "and is remembered"
