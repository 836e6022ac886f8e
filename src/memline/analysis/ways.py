"""The way of a split through a node that runs graphs: what of it is in pieces, and what becomes of the rest."""

from __future__ import annotations

from dataclasses import dataclass, field

from memline.analysis.links import Along, piece_of
from memline.analysis.merges import Merges
from memline.ir.graph import Node, Op, Value
from memline.rules import table
from memline.rules.table import Dim

Seed = tuple[bool, int, Along]
"""Whether it is an operand, not a result; its position; how it is to run along the axis."""


@dataclass(frozen=True, eq=False)
class Through:
    """How a split passes through a node that runs graphs; values and nodes are those of its bodies."""

    dim: Dim
    """The node's operands and results that run along the axis."""
    along: dict[Value, Along]
    dims: dict[Node, Dim]
    inner: dict[Node, Through]
    merged: Merges
    """What becomes of the node's other results, by position: each chunk makes a part, or all make the same."""
    taken: dict[tuple[int, int], Along] = field(default_factory=dict)
    """The outputs, by body and position, that are made whole, the same for every chunk, and leave in pieces."""
    is_sequential: bool = False
    """Whether the axis is that of the loop's own steps: a chunk is a shorter run, and its carries go on."""
    seeds: frozenset[Seed] = frozenset()
    """What was asked to run along the axis; the rest follows."""

    @property
    def wants_place(self) -> bool:
        """Whether the bodies must know where along the axis their chunk begins."""
        for node, dim in self.dims.items():
            if any(self.is_cut_inside(node, position) for position in range(len(node.inputs))):
                return True
            if node.bodies:
                if self.inner[node].wants_place:
                    return True
            elif isinstance(node, Op) and dim.fold is None and table.local_rule(node.primitive) is not None:
                return True
        return bool(self.taken)

    def is_cut_inside(self, node: Node, position: int) -> bool:
        """Whether a node reads pieces of something that the body has whole."""
        return piece_of(self.dims[node], position) is not None and node.inputs[position] not in self.along
