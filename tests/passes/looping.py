"""Splitting programs with scans by hand, for the tests of splits that pass through loops or run along their steps."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from memline.analysis.axes import Region
from memline.ir.check import check
from memline.ir.emit import evaluate
from memline.ir.graph import Graph, Loop, Value
from memline.ir.trace import from_jaxpr
from memline.passes.defer import defer
from memline.passes.split import split
from memline.plan.apply import region_of
from tests.comparing import assert_same

QUICK = {"xla_backend_optimization_level": 0}


def opened(fun: Any, *args: Any) -> Graph:
    """The graph of a function, its scans opened; it is legal."""
    graph = from_jaxpr(jax.make_jaxpr(fun)(*args), open_bodies=True)
    check(graph)
    return graph


def loops(graph: Graph) -> list[Loop]:
    return [node for node in graph.nodes if isinstance(node, Loop)]


def as_function(graph: Graph) -> Any:
    return lambda *args: tuple(map(strong, evaluate(graph, jax.tree.leaves(args))))


def leaves_of(fun: Any) -> Any:
    return lambda *args: tuple(map(strong, jax.tree.leaves(fun(*args))))


def strong(x: Any) -> Any:
    """An array without the weak type that `memline.jit` gives back to results in the end."""
    return x if jnp.issubdtype(x.dtype, jax.dtypes.prng_key) else lax.convert_element_type(x, x.dtype)


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


def cut(region: Region, chunk: int, keep: frozenset[Value] = frozenset()) -> Any:
    """The region's program in chunks, as a function of leaves; its graph is legal."""
    graph = split(region, chunk, keep)
    check(graph)
    return as_function(graph)


def is_run(region: Region) -> bool:
    """Whether the region runs along the steps of one of its loops."""
    return any(map(region.is_sequential, region.dims))


def assert_regions_agree(fun: Any, args: Any, count: int, *, runs: bool, rtol: float = 1e-4) -> None:
    """Every region along the steps of loops, or through their bodies, gives what plain `jit` gives.

    Each is cut so that a last, shorter chunk is left over, and in even chunks with what crosses kept.
    There are `count` such regions.
    """
    graph = opened(fun, *args)
    expected = quick(leaves_of(fun))(*args)
    found = [region for region in regions(graph) if is_run(region) == runs]
    for region in found:
        check(region.graph)
        uneven = next((chunk for chunk in (5, 4, 3, 2) if region.steps % chunk not in (0, region.steps)), 1)
        even = next(chunk for chunk in range(2, region.steps + 1) if region.steps % chunk == 0)
        assert_same(quick(cut(region, uneven))(*args), expected, rtol)
        assert_same(quick(cut(region, even, frozenset(region.crossing)))(*args), expected, rtol)
    assert len(found) == count, f"{len(found)} regions"
