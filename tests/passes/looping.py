"""Splitting programs with scans by hand, for the tests of splits that pass through loops or run along their steps."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp

from memline.analysis.axes import Region
from memline.ir.check import check
from memline.ir.emit import evaluate
from memline.ir.graph import Graph, Loop, Value
from memline.ir.trace import from_jaxpr
from memline.passes.defer import defer
from memline.passes.split import split
from memline.plan.apply import region_of
from tests.programs import assert_same

QUICK = {"xla_backend_optimization_level": 0}


def opened(fun: Any, *args: Any) -> Graph:
    """The graph of a function, its scans opened; it is legal."""
    graph = from_jaxpr(jax.make_jaxpr(fun)(*args), open_bodies=True)
    check(graph)
    return graph


def loops(graph: Graph) -> list[Loop]:
    return [node for node in graph.nodes if isinstance(node, Loop)]


def as_function(graph: Graph) -> Any:
    return lambda *args: tuple(evaluate(graph, jax.tree.leaves(args)))


def leaves_of(fun: Any) -> Any:
    return lambda *args: tuple(jnp.asarray(x) for x in jax.tree.leaves(fun(*args)))


def quick(fun: Any) -> Any:
    return jax.jit(fun, compiler_options=QUICK)


def regions(graph: Graph) -> Iterator[Region]:
    """Yields every region of a graph that takes a loop with it, each once, deferred as the planner has it."""
    seen = set()
    for seed in graph.producer:
        for axis, size in enumerate(seed.shape):
            region = region_of(graph, seed, axis) if size > 1 else None
            if region is None or not region.through:
                continue
            key = (region.steps, frozenset(region.along.items()), frozenset(region.dims))
            if key not in seen:
                seen.add(key)
                yield defer(region)


def region_at(graph: Graph, seed: Value, axis: int) -> Region:
    region = region_of(graph, seed, axis)
    assert region is not None
    return region


def chunks_of(region: Region) -> list[int]:
    """A chunk that leaves one step over, one that mostly leaves some over, and one that mostly does not."""
    return sorted({region.steps - 1, max(1, region.steps // 3), 1})


def cut(region: Region, chunk: int, keep: frozenset[Value] = frozenset()) -> Any:
    """The region's program in chunks, as a function of leaves; its graph is legal."""
    graph = split(region, chunk, keep)
    check(graph)
    return as_function(graph)


def assert_all_agree(fun: Any, args: Any, count: int, rtol: float = 2e-5) -> list[Region]:
    """Every region through a loop, in every kind of chunk, gives what plain `jit` gives; there are `count` of them."""
    graph = opened(fun, *args)
    expected = quick(leaves_of(fun))(*args)
    found = list(regions(graph))
    for region in found:
        check(region.graph)
        for turn, chunk in enumerate(chunks_of(region)):
            keep = frozenset(region.crossing[turn % 2 :: 1 + turn % 2])
            assert_same(quick(cut(region, chunk, keep))(*args), expected, rtol)
            if turn == 0 and keep:
                assert_same(quick(cut(region, chunk))(*args), expected, rtol)
    assert len(found) == count
    return found
