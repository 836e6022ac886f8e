"""A program on its way to a plan: what it has become, by which moves, and its figures."""

from __future__ import annotations

from dataclasses import dataclass

from memline.analysis.peak import Peak
from memline.ir.graph import Graph
from memline.plan.plan import Decision


@dataclass(frozen=True, eq=False)
class State:
    """A program after some moves, with its planned peak and its estimated time."""

    graph: Graph
    decisions: tuple[Decision, ...]
    peak: Peak
    seconds: float
    notes: tuple[str, ...] = ()
    """What is told of moves that were not made, or taken back."""
