"""Candidate splits: for one program, what splitting each of its big values would give.

A candidate is a region with the chunk, and the values kept between its stages, that make it fit at the
least estimated time. Candidates are scored on the model only; compiling comes later and seldom.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from memline.analysis import cost
from memline.analysis.axes import Region
from memline.analysis.fusion import FusionModel
from memline.analysis.keep import keep_order
from memline.analysis.machine import Machine
from memline.analysis.peak import Moment, Peak, peak_of
from memline.analysis.through import may_pass
from memline.ir.graph import Graph, Loop, Value
from memline.ir.inplace import Takers
from memline.passes.defer import defer
from memline.passes.split import split
from memline.plan.apply import apply_split, region_of
from memline.plan.moves import Keep, Move, SplitAxis

_SEEDS = 6
_CROSSINGS_WEIGHED = 200
# Nodes visited for one move, beyond which only the first regions are looked at; some seconds on one core.
_EFFORT = 100_000
_TRIES = 6
# Stages that repeat the region so many times over are not timed with nothing kept where something can be.
_DEAR = 3
# Beside the largest chunk that fits, chunks about 4, 16 and 64 times smaller are timed: they may stay in a cache.
_STEPS_TIMED = (0, 2, 4, 6)
# Chunks that whole vectors make up: see `Machine.vector`.
_VECTOR = 16
# Where no chunk fits, the fastest is taken of those that bring almost as much as the smallest.
_ALMOST = 0.98


@dataclass(frozen=True)
class Target:
    """What a plan must fit, and the models by which it is judged."""

    limit_bytes: int
    alias_bytes: int
    fusion: FusionModel
    machine: Machine
    takers: Takers = field(default_factory=dict)
    """Which result takes over which donated argument."""
    at_any_cost: bool = False
    """Whether a split that does not make the program fit yet shall bring all it can, however slow it is."""
    memo: dict[Any, Any] = field(default_factory=dict, compare=False, repr=False)
    """Regions and splits of graphs that were looked at: they do not depend on the limit, and a search asks for the
    same ones again when it lowers that."""

    def peak(self, graph: Graph) -> Peak:
        return peak_of(graph, self.fusion, self.alias_bytes, self.takers)

    def seconds(self, graph: Graph, peak: Peak) -> float:
        return cost.seconds(graph, peak, self.fusion, self.machine)


@dataclass(frozen=True, eq=False)
class _Split:
    """A graph with a region split, and its figures."""

    graph: Graph
    move: SplitAxis
    peak: Peak
    seconds: float
    own_bytes: int
    """The peak of the region's own loops."""


@dataclass(frozen=True, eq=False)
class Candidate:
    """A program after one split, with the moves that make it and its figures."""

    graph: Graph
    moves: tuple[Move, ...]
    peak: Peak
    seconds: float
    excess_bytes: int
    """Bytes over the limit, summed over the moments of the run."""
    seed: Value
    stages: int
    kept_bytes: int

    @property
    def fits(self) -> bool:
        return self.excess_bytes == 0


def candidates(graph: Graph, target: Target, worst: Moment) -> Iterator[Candidate]:
    """Yields the best split for each region that the values held at the worst moment give.

    Regions of few stages come first, for they compute little again. Once something fits, what remains is
    looked at only while the planner's effort for this move is not spent.
    """
    excess_bytes = target.peak(graph).excess_bytes(target.limit_bytes)
    found_fitting = False
    effort = 0
    for entry in sorted(_regions(graph, worst, target.memo), key=_promise):
        scope, seed, axis, unit, region = entry
        sizing = _Sizing(graph, scope, region, seed, axis, unit, target, excess_bytes)
        if found_fitting and effort + sizing.effort > _EFFORT:
            continue
        effort += sizing.effort
        found = sizing.best()
        if found is not None:
            found_fitting = found_fitting or found.fits
            yield found


_Entry = tuple[Graph, Value, int, int, Region]
"""(the scope, its value that is split, the axis, its elements a step, the region)"""


def _regions(graph: Graph, worst: Moment, memo: dict[Any, Any]) -> list[_Entry]:
    """Returns the regions, each once, that splitting the big values of the worst moment makes."""
    found: dict[object, _Entry] = {}
    for scope in _scopes(graph, worst):
        for seed in _seeds(scope, worst):
            for axis in range(seed.ndim):
                asked = (scope, seed, axis)
                if asked not in memo:
                    memo[asked] = region_of(scope, seed, axis) if seed.shape[axis] > 1 else None
                region = memo[asked]
                if region is not None:
                    key = (id(scope), region.steps, frozenset(region.along.items()))
                    if key not in found:
                        if region not in memo:
                            memo[region] = defer(region)
                        found[key] = (scope, seed, axis, region.along[seed].unit, memo[region])
    return list(found.values())


def _promise(entry: _Entry) -> tuple[int, int]:
    *_, region = entry
    return region.stages, len(region.crossing)


def _scopes(graph: Graph, worst: Moment) -> list[Graph]:
    """Returns the graphs around the worst moment, innermost first."""
    return [*reversed(worst.scopes), graph]


def _seeds(scope: Graph, worst: Moment) -> list[Value]:
    def made_here(values: Iterable[Value]) -> list[Value]:
        found = (v for v in dict.fromkeys(values) if v in scope.producer)
        return [v for v in found if may_pass(scope.producer[v])]

    made = made_here(worst.live) or made_here((*worst.node.outputs, *worst.node.inputs))
    made.sort(key=lambda v: -v.size_bytes)
    return [v for v in made[:_SEEDS] if v.size_bytes * 16 >= made[0].size_bytes]


class _Sizing:
    """Finds the chunk and the kept values for one region."""

    def __init__(
        self,
        graph: Graph,
        scope: Graph,
        region: Region,
        seed: Value,
        axis: int,
        unit: int,
        target: Target,
        excess_bytes: int,
    ) -> None:
        self.graph = graph
        self.scope = scope
        self.region = region
        self.seed = seed
        self.axis = axis
        self.unit = unit
        self.target = target
        self.excess_bytes = excess_bytes
        self._tried: dict[tuple[int, frozenset[Value]], tuple[Candidate, int]] = {}

    @property
    def effort(self) -> int:
        """About how many nodes the sizing visits: what keeps the planning of big programs short."""
        return self._visits * (_TRIES + len(self.region.crossing))

    @cached_property
    def _visits(self) -> int:
        """The nodes of all loops together where nothing is kept."""
        return sum(len(self.region.stage_ops(s, self.region.escapes)) for s in range(self.region.stages))

    def best(self) -> Candidate | None:
        """Returns the best split of the region, or None where even its smallest chunk brings nothing nearer."""
        grid = chunk_grid(self.region.steps)
        if grid and any(map(self.region.is_sequential, self.region.dims)):
            return self._best_run(grid)
        if not grid or self._try(grid[-1], frozenset())[0].excess_bytes >= self.excess_bytes > 0:
            return None
        found = [self._best_chunk(grid, kept) for kept in self._worth_keeping(grid)]
        return min(found, key=lambda c: (c.excess_bytes, c.seconds))

    def _best_run(self, grid: list[int]) -> Candidate | None:
        """Returns the best split along the steps of a loop: its peak has a minimum between short runs and long.

        Short runs leave many carries behind, long ones much of everything else. Where nothing fits yet, runs are
        long enough to leave half the room to what will be split inside them.
        """
        tried = {chunk: self._try(chunk, frozenset()) for chunk in grid}
        found = [c for c, _ in tried.values() if c.excess_bytes < self.excess_bytes or not self.excess_bytes]
        if not any(c.fits for c in found):
            _, least = tried[grid[-1]]
            room = self.target.limit_bytes - (least - self._saved_bytes(grid[-1]))
            roomy = [c for chunk, (c, _) in tried.items() if c in found and 2 * self._saved_bytes(chunk) <= room]
            found = roomy or found
        return min(found, key=lambda c: (c.excess_bytes, c.seconds), default=None)

    def _saved_bytes(self, chunk: int) -> int:
        """The bytes of the carries that are saved for loops that run again."""
        region = self.region
        again = {loop for stage in range(1, region.stages) for loop in region.rerun(stage, region.escapes)}
        each = sum(v.size_bytes for loop in again for v in loop.carried)
        return each * -(-region.steps // chunk)

    def _worth_keeping(self, grid: list[int]) -> list[frozenset[Value]]:
        """Returns the sets of crossing values to try: none, as many of the best as fit, and half of them."""
        nothing: frozenset[Value] = frozenset()
        if self.region.stages == 1 or len(self.region.crossing) > _CROSSINGS_WEIGHED:
            return [nothing]
        order = keep_order(self.region, self.target.fusion, self.target.machine)
        small = grid[min(len(grid) // 2 + 1, len(grid) - 1)]
        most = _largest(len(order), lambda n: self._fits(small, frozenset(order[:n])))
        sets = [frozenset(order[:count]) for count in sorted({most, most // 2} - {0})]
        # To compute everything again in every stage is slow to run, and slow to weigh.
        is_dear = self._visits > _DEAR * len(self.region.dims)
        return sets if sets and is_dear else [nothing, *sets]

    def _best_chunk(self, grid: list[int], kept: frozenset[Value]) -> Candidate:
        """Returns the fastest of the chunks that fit; of those that come about as near as any if none does."""
        last = len(grid) - 1
        first = self._first_that_fits(grid, kept)
        tried = [self._try(grid[min(first + step, last)], kept)[0] for step in _STEPS_TIMED]
        best = min(tried, key=lambda c: (c.excess_bytes, c.seconds))
        if best.fits or self.target.at_any_cost or best.excess_bytes >= self.excess_bytes:
            return best
        tried += [self._try(grid[max(last - step, 0)], kept)[0] for step in _STEPS_TIMED]
        gained = _ALMOST * (self.excess_bytes - best.excess_bytes)
        near = [c for c in tried if self.excess_bytes - c.excess_bytes >= gained]
        return min(near, key=lambda c: (c.seconds, c.excess_bytes))

    def _first_that_fits(self, grid: list[int], kept: frozenset[Value]) -> int:
        """Returns the index of the largest chunk whose loops fit; of the smallest if none does.

        The peak of a region's loops is a straight line in the chunk, so two points tell where to look.
        """
        big, small = grid[0], grid[-1]
        peak_big, peak_small = self._try(big, kept)[1], self._try(small, kept)[1]
        limit = self.target.limit_bytes
        if peak_big <= limit or big == small:
            return 0
        slope = (peak_big - peak_small) / (big - small)
        room = (limit - peak_small) / slope if slope > 0 else 0.0
        first = next((i for i, chunk in enumerate(grid) if chunk <= small + room), len(grid) - 1)
        while first < len(grid) - 1 and not self._fits(grid[first], kept):
            first += 1
        return first

    def _fits(self, chunk: int, kept: frozenset[Value]) -> bool:
        return self._try(chunk, kept)[1] <= self.target.limit_bytes

    def _try(self, chunk: int, kept: frozenset[Value]) -> tuple[Candidate, int]:
        """Returns the candidate, and the peak of its own loops."""
        key = (chunk, kept)
        if key not in self._tried:
            found = self._split(chunk, kept)
            moves = (*(Keep(v.name) for v in self.region.crossing if v in kept), found.move)
            candidate = Candidate(
                found.graph,
                moves,
                found.peak,
                found.seconds,
                found.peak.excess_bytes(self.target.limit_bytes),
                self.seed,
                self.region.stages,
                sum(v.size_bytes for v in kept),
            )
            self._tried[key] = candidate, found.own_bytes
        return self._tried[key]

    def _split(self, chunk: int, kept: frozenset[Value]) -> _Split:
        """Returns the graph with the region split, as it was found for another limit if it was."""
        key = (self.graph, self.region, self.seed, self.axis, chunk, kept)
        memo = self.target.memo
        if key not in memo:
            new_scope = split(self.region, chunk, kept)
            before = set(self.scope.nodes)
            loops = {id(n) for n in new_scope.nodes if isinstance(n, Loop) and n not in before}
            move = SplitAxis(self.seed.name, self.axis, chunk * self.unit)
            graph = new_scope
            if self.scope is not self.graph:  # the tails of the loops around hold the value as well
                names = frozenset(v.name for v in kept)
                graph = apply_split(self.graph, move, names, made=(self.scope, new_scope))
            peak = self.target.peak(graph)
            own = (m.total_bytes for m in peak.moments if any(id(node) in loops for node in (m.node, *m.around)))
            memo[key] = _Split(graph, move, peak, self.target.seconds(graph, peak), max(own, default=0))
        return memo[key]


def chunk_grid(steps: int) -> list[int]:
    """Returns the chunks worth trying for an axis, largest first, about half as large each time.

    Divisors of the length are preferred where one is near, for they need no shorter last call; and chunks that
    whole vectors make up, for the rest of a row is computed element by element.

    >>> chunk_grid(48)
    [24, 12, 6, 3, 1]
    """
    grid: list[int] = []
    divisors = _divisors(steps)
    wanted = steps / 2
    while wanted >= 1:
        near = [d for d in divisors if 0.7 * wanted <= d <= 1.2 * wanted and d < steps]
        chunk = min(near, key=lambda d: (d % _VECTOR > 0, abs(d - wanted))) if near else int(wanted)
        if not near and chunk >= _VECTOR:
            chunk -= chunk % _VECTOR
        if not grid or chunk < grid[-1]:
            grid.append(chunk)
        wanted = min(wanted / 2, chunk / 2)
    if steps > 1 and (not grid or grid[-1] != 1):
        grid.append(1)
    return grid


def _divisors(n: int) -> list[int]:
    small = [d for d in range(1, math.isqrt(n) + 1) if n % d == 0]
    return sorted({*small, *(n // d for d in small)})


def _largest(most: int, holds: Callable[[int], bool]) -> int:
    """Returns the largest n from 0 to `most` for which `holds`, taken to hold up to some n; 0 if for none."""
    low, high = 0, most
    while low < high:
        middle = (low + high + 1) // 2
        if holds(middle):
            low = middle
        else:
            high = middle - 1
    return low
