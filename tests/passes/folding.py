"""Splitting a program by hand along one of its summed axes, for the tests of deferred and online folds."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np

from memline.analysis.axes import Region
from memline.ir.check import check
from memline.ir.emit import evaluate
from memline.ir.graph import Graph, Loop, Value
from memline.ir.trace import trace
from memline.passes.defer import defer
from memline.passes.split import split
from memline.plan.apply import region_of

QUICK = {"xla_backend_optimization_level": 0}


def region_along(graph: Graph, length: int) -> Region:
    """The region of the biggest value that has an axis of the length, along that axis."""
    seeds = [v for v in graph.producer if length in v.shape[1:]]
    seed = max(seeds, key=lambda v: v.size_bytes)
    region = region_of(graph, seed, len(seed.shape) - 1 - seed.shape[::-1].index(length))
    assert region is not None
    return region


def deferred(fun: Any, args: Any, length: int) -> tuple[Region, Region]:
    """The region of a function along an axis of the length, as written and deferred; both graphs are legal."""
    graph = trace(fun, *args)
    region = region_along(graph, length)
    after = defer(region)
    check(graph)
    check(after.graph)
    assert after.graph.inputs == graph.inputs
    assert after.graph.outputs == graph.outputs
    return region, after


def cut(region: Region, chunk: int) -> Any:
    """The region's program in chunks, as a function of leaves."""
    graph = split(region, chunk)
    check(graph)
    return lambda *args: tuple(evaluate(graph, jax.tree.leaves(args)))


def loops(graph: Graph) -> list[Loop]:
    return [node for node in graph.nodes if isinstance(node, Loop)]


def stages(fun: Any, args: Any, length: int) -> tuple[int, int]:
    """The stages of the region as written, and after deferring."""
    before, after = deferred(fun, args, length)
    assert len(loops(split(after, 3))) == after.stages
    return before.stages, after.stages


def named(graph: Graph, name: str) -> Value:
    return next(v for v in graph.values() if v.name == name)


def assert_agree(fun: Any, args: Any, length: int, chunk: int, rtol: float = 2e-6) -> None:
    """In chunks the function gives what plain `jit` gives, NaN and infinities in the same places."""
    _, region = deferred(fun, args, length)
    found = jax.jit(cut(region, chunk), compiler_options=QUICK)(*args)
    expected = jax.tree.leaves(jax.jit(fun, compiler_options=QUICK)(*args))
    for a, b in zip(found, expected, strict=True):
        assert (a.shape, a.dtype) == (b.shape, b.dtype)
        a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
        scale = np.abs(b[np.isfinite(b)]).max(initial=0.0)
        np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol * scale)
