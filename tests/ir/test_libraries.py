"""Primitives of equinox: planned, they are the functions that they compute."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import pytest

from memline.ir.graph import Graph
from memline.ir.scopes import loop_bodies
from memline.ir.trace import from_jaxpr
from tests.comparing import assert_same
from tests.families import normal
from tests.passes.looping import cut, leaves_of, opened, quick, regions

ROWS, WIDTH = 6, 3
X, W = normal(ROWS, WIDTH), 0.5 * normal(WIDTH, WIDTH, seed=1)
OWN = frozenset(["nonbatchable", "select_if_vmap", "unvmap_any", "unvmap_max", "maybe_set", "vprim"])


def checkpointed(x: Any, w: Any) -> Any:
    """The gradient of a loop of five turns with a buffer, through three checkpoints."""
    loops = pytest.importorskip("equinox.internal", reason="equinox is not installed; pip install memline[test]")

    def alone(row: Any, w: Any) -> Any:
        def turn(c: Any) -> Any:
            at, r, buffer = c
            return at + 1, jnp.tanh(w @ r) + row, buffer.at[at].set(r.sum())

        first = jnp.asarray(0), row, jnp.zeros(5)
        _, r, buffer = loops.while_loop(
            lambda c: c[0] < 5, turn, first, max_steps=5, kind="checkpointed", checkpoints=3, buffers=lambda c: c[2]
        )
        return (r**2).sum() + buffer.sum()

    def loss(x: Any, w: Any) -> Any:
        return jax.vmap(alone, (0, None))(jnp.sin(x), w).sum()

    return jax.value_and_grad(loss, (0, 1))(x, w)


def kinds(graph: Graph) -> Iterator[str]:
    for scope in (graph, *loop_bodies(graph)):
        yield from (node.kind for node in scope.nodes)


def test_they_stay_where_more_may_be_asked_of_them():
    closed = jax.make_jaxpr(checkpointed)(X, W)
    assert OWN & set(kinds(from_jaxpr(closed)))
    assert not OWN & set(kinds(from_jaxpr(closed, open_bodies=True)))


def test_a_split_passes_through_the_loop_and_its_gradient():
    region = max(regions(opened(checkpointed, X, W)), key=lambda r: (r.steps, len(r.through)))
    assert region.steps == ROWS
    assert [node.kind for node in region.through].count("while") == 2
    expected = quick(leaves_of(checkpointed))(X, W)
    assert_same(quick(cut(region, 4))(X, W), expected)
    assert_same(quick(cut(region, 3, frozenset(region.crossing)))(X, W), expected)
