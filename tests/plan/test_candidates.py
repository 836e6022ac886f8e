"""What sizing a split does where it brings nothing."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import pytest

from memline.analysis.fusion import model_for
from memline.analysis.machine import machine_for
from memline.ir.trace import trace
from memline.plan.apply import region_of
from memline.plan.candidates import Candidate, Target, _Sizing, chunk_grid


def test_chunks_that_all_make_things_worse_are_told_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    x = jax.ShapeDtypeStruct((64, 32), jnp.float32)
    graph = trace(lambda x: jnp.exp(x @ x.T).sum(), x)
    (seed,) = graph.nodes[-2].outputs
    region = region_of(graph, seed, 0)
    assert region is not None
    target = Target(1 << 10, 0, model_for("cpu"), machine_for("cpu"))
    sizing = _Sizing(graph, graph, region, seed, 0, 1, target, excess_bytes=100)
    some, _ = sizing._try(8, frozenset())

    def worse(chunk: int, kept: Any) -> tuple[Candidate, int]:
        return replace(some, excess_bytes=200 + chunk), 1 << 20

    monkeypatch.setattr(sizing, "_try", worse)
    assert sizing._best_chunk(chunk_grid(region.steps), frozenset()).excess_bytes == 201
