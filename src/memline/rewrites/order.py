"""In which order a sum of products is best contracted: two factors at a time, by dynamic programming.

Every set of factors that hang together by indices is split in the best way into two that do (Held and Karp's scheme, as
for a chain of matrices, of which only the intervals hang together). Factors that nothing connects are multiplied last,
the smallest first. Where there are too many sets, the pair that costs least is contracted, again and again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from memline.rewrites.work import Work, elementwise_work, product_work

_MOST_PAIRS = 20_000
"""Pairs of sets that are looked at; a chain of 32 matrices has 10 000, eight factors that share an index 3 000."""


@dataclass(frozen=True)
class Term:
    """A factor, or what factors are contracted to, as the set of its indices, and how it is made."""

    indices: frozenset[int]
    parts: tuple[Term, Term] | int
    """The two terms that it is contracted from, or the factor's number."""
    work: Work = field(default_factory=Work)


Better: TypeAlias = Callable[[Work], tuple[float, ...]]


def least_work(work: Work) -> tuple[float, ...]:
    """Ranks orders by time first."""
    return (work.cost,)


def least_bytes(work: Work) -> tuple[float, ...]:
    """Ranks orders by the largest array in between first, and then by time."""
    return (work.largest_bytes, work.cost)


@dataclass(frozen=True)
class Problem:
    """Factors as sets of indices, which of these the result has, how far they run, and the bytes of one element."""

    factors: tuple[frozenset[int], ...]
    out: frozenset[int]
    sizes: tuple[int, ...]
    itemsize_bytes: int

    def leaf(self, number: int) -> Term:
        """Returns a factor, summed over what nothing else has."""
        others = self.out.union(*(f for n, f in enumerate(self.factors) if n != number))
        own, kept = self.factors[number], self.factors[number] & others
        if own == kept:
            return Term(own, number)
        made_bytes = self._volume(kept) * self.itemsize_bytes if len(self.factors) > 1 else 0
        return Term(kept, number, elementwise_work(self._volume(own), made_bytes))

    def pair(self, a: Term, b: Term, kept: frozenset[int], is_last: bool) -> Term:
        """Returns two terms contracted to one with the indices in `kept`."""
        union = a.indices | b.indices
        indices = union & kept
        made_bytes = 0 if is_last else self._volume(indices) * self.itemsize_bytes
        volume = self._volume(union)
        summed = union - indices
        free = [bool((x - y) & indices) for x, y in ((a.indices, b.indices), (b.indices, a.indices))]
        if summed and any(free):
            work = product_work(2.0 * volume, all(free), made_bytes)
        else:
            work = elementwise_work(volume, made_bytes)
        return Term(indices, (a, b), a.work + b.work + work)

    def _volume(self, indices: frozenset[int]) -> int:
        return math.prod(self.sizes[index] for index in indices)


def best_order(problem: Problem, better: Better = least_work) -> Term:
    """Returns the best order, by a ranking of works.

    >>> chain = [frozenset([0, 1]), frozenset([1, 2]), frozenset([2])]
    >>> order = best_order(Problem(tuple(chain), frozenset([0]), (50, 50, 50), 4))
    >>> text_of(order)
    '0(12)'
    """
    leaves = [problem.leaf(number) for number in range(len(problem.factors))]
    parts = [_connected(problem, leaves, group, better) for group in _components(leaves)]
    parts.sort(key=lambda term: problem._volume(term.indices))
    while len(parts) > 1:
        first, second, *rest = parts
        parts = [problem.pair(first, second, problem.out, not rest), *rest]
    return parts[0]


def text_of(term: Term) -> str:
    """Returns an order as text, the factors by number."""
    if isinstance(term.parts, int):
        return str(term.parts)
    sides = (text_of(side) if isinstance(side.parts, int) else f"({text_of(side)})" for side in term.parts)
    return "".join(sides)


def _components(leaves: Sequence[Term]) -> list[list[int]]:
    """Returns the numbers of the factors that hang together by indices, group by group."""
    groups: list[tuple[set[int], list[int]]] = []
    for number, leaf in enumerate(leaves):
        touching = [g for g in groups if g[0] & leaf.indices]
        merged = (
            set(leaf.indices).union(*(g[0] for g in touching)),
            sorted([number, *(n for g in touching for n in g[1])]),
        )
        groups = [g for g in groups if g not in touching] + [merged]
    return [numbers for _, numbers in groups]


def _connected(problem: Problem, leaves: Sequence[Term], group: Sequence[int], better: Better) -> Term:
    """Returns the best order of factors that hang together."""
    is_all = len(group) == len(leaves)
    layers: list[dict[int, Term]] = [{}, {1 << number: leaves[number] for number in group}]
    everything = sum(1 << number for number in group)
    pairs = 0
    for size in range(2, len(group) + 1):
        layer: dict[int, Term] = {}
        for less in range(1, size // 2 + 1):
            for set_a, a in layers[less].items():
                for set_b, b in layers[size - less].items():
                    pairs += 1
                    if set_a & set_b or not a.indices & b.indices:
                        continue
                    both = set_a | set_b
                    first, second = (a, b) if set_a & -set_a < set_b & -set_b else (b, a)
                    term = problem.pair(first, second, _wanted(problem, both), is_all and both == everything)
                    # Of equal ones the last: it is bracketed from the left, as products are mostly written.
                    if both not in layer or better(term.work) <= better(layer[both].work):
                        layer[both] = term
            if pairs > _MOST_PAIRS:
                return _greedy(problem, [leaves[number] for number in group], list(group), better)
        layers.append(layer)
    return layers[-1][everything]


def _wanted(problem: Problem, numbers: int) -> frozenset[int]:
    """Returns the indices that the result or another factor has, for a set of factors as bits."""
    return problem.out.union(*(f for n, f in enumerate(problem.factors) if not numbers >> n & 1))


def _greedy(problem: Problem, terms: list[Term], numbers: list[int], better: Better) -> Term:
    sets = [1 << number for number in numbers]
    while len(terms) > 1:
        choices = []
        for i in range(len(terms)):
            for j in range(i + 1, len(terms)):
                if terms[i].indices & terms[j].indices:
                    made = problem.pair(terms[i], terms[j], _wanted(problem, sets[i] | sets[j]), False)
                    choices.append((better(made.work), i, j, made))
        _, i, j, made = min(choices, key=lambda choice: choice[:3])
        both = sets[i] | sets[j]
        terms = [t for k, t in enumerate(terms) if k not in (i, j)] + [made]
        sets = [s for k, s in enumerate(sets) if k not in (i, j)] + [both]
    return terms[0]
