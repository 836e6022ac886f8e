"""What each chunk of an axis contributes to the results of a loop or a branch that do not run along the axis.

With a loop's body cut along an axis, what it folds along that axis is only a *part*: parts of all chunks
add up to the whole. A part stays one through linear ops (`a * part`, `part @ w`, `part + part`), so that a
result of the loop that is a part can be summed outside. A carry to which parts are added, and nothing else
is done, takes its sum from one chunk on to the next; one of half precision would lose small parts that way,
and gets the sum of each chunk at once. A value that no piece and no part meets is the same for every chunk.

The test of a `while` must be neither a part nor read one: chunks would stop at other times than the whole. Of a
`cond` every branch makes a part, or zeros, or every branch makes the same for every chunk.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

import jax.numpy as jnp
import numpy as np
from jax import lax

from memline.analysis.links import Along, BlockedError
from memline.analysis.spelling import fill_of
from memline.ir.graph import Graph, Node, Op, Value
from memline.ir.text import node_name
from memline.rules import folds
from memline.rules.table import Dim


class Merge(Enum):
    """How a result of a loop or branch comes from the results of the chunks."""

    SUM = "sum"
    """Parts are added up."""
    CARRY = "carry"
    """The carry that one chunk ends with is the one that the next begins with."""
    ADDED = "added"
    """Every chunk begins with zeros, and what it ends with is added to the carry."""
    SAME = "same"
    """Every chunk makes the same."""


GOING_ON = frozenset([Merge.CARRY, Merge.ADDED])
"""How a carry is merged that each chunk does not begin where the whole does."""

_PART = -1
"""The mark of a part; a carry that parts were added to has its position as its mark; other values have none."""

_MOVES = frozenset("broadcast_in_dim reshape squeeze transpose expand_dims copy neg reduce_sum real imag".split())
_SUMS = frozenset(["add", "add_any", "sub"])
_PRODUCTS = frozenset(["mul", "dot_general"])


_NOT_A_SUM = "a result is neither the sum of what chunks make nor the same for all"


class _CarriesParts(Exception):
    """Raised where a part is added to a carry that was taken to be the same for every chunk."""

    def __init__(self, position: int) -> None:
        self.position = position


Merges = dict[int, Merge]
"""How results of a node that runs graphs are merged, by position; those that run along the axis are absent."""

Ends = tuple[tuple[Along | None, ...], ...]
"""How the outputs of each body that a node runs leave it along the axis; None for those that do not."""


def merges_of(
    node: Node, along: dict[Value, Along], dims: dict[Node, Dim], inner: dict[Node, Merges], ends: Ends
) -> Merges:
    """Returns how the results that do not run along the axis are merged, by position.

    Args:
      node: a loop, or an opened `while` or `cond`.
      along: the values of its bodies that are made in pieces.
      dims: the nodes of its bodies that are cut.
      inner: how the results are merged of those among them that run graphs themselves.
      ends: how the outputs of its bodies run along the axis; where one is not made in pieces, pieces of it are taken.

    Raises:
      BlockedError: they cannot be merged.
    """
    sums: set[int] = set()
    while True:
        try:
            walks = [
                _Walk(body, carry, along, dims, inner, frozenset(sums))
                for body, carry in zip(node.bodies, _carries(node), strict=True)
            ]
            for walk, of_body in zip(walks, ends, strict=True):
                walk.run(of_body)
            return _of_branches(node, walks, ends) if node.kind == "cond" else _of_turns(node, walks, ends)
        except _CarriesParts as found:
            sums.add(found.position)


def _carries(node: Node) -> list[dict[Value, int]]:
    """Returns, for each body, the position of each carry among what the node carries."""
    n_carried = len(node.carried)
    return [{v: at for at, v in enumerate(body.inputs[len(body.inputs) - n_carried :])} for body in node.bodies]


def _of_turns(node: Node, walks: list[_Walk], ends: Ends) -> Merges:
    """How the results of a loop or a `while` are merged."""
    *tests, walk = walks
    if any(v in test.mark for test in tests for v in test.body.outputs):
        raise BlockedError("its test reads a sum over the axis")
    merges: Merges = {}
    for position, (v, end) in enumerate(zip(walk.body.outputs, ends[-1], strict=True)):
        if end is not None:
            continue
        mark = walk.mark.get(v)
        is_carried = position < len(node.carried)
        if is_carried and mark != (position if position in walk.sums else None):
            raise BlockedError("a carry is not only added to")
        if not is_carried and mark not in (None, _PART):
            raise BlockedError(_NOT_A_SUM)
        if mark is None:
            merges[position] = Merge.SAME
        elif is_carried:
            merges[position] = Merge.CARRY if folds.wide_dtype(v.dtype) == v.dtype else Merge.ADDED
        else:
            merges[position] = Merge.SUM
    return merges


def _of_branches(node: Node, walks: list[_Walk], ends: Ends) -> Merges:
    """How the results of a `cond` are merged."""
    merges: Merges = {}
    for position in range(len(node.outputs)):
        if ends[0][position] is not None:
            continue
        found = [(walk, walk.body.outputs[position]) for walk in walks]
        if not any(v in walk.mark for walk, v in found):
            merges[position] = Merge.SAME
        elif all(walk.mark.get(v) == _PART or fill_of(walk.body, v) == 0 for walk, v in found):
            merges[position] = Merge.SUM
        else:
            raise BlockedError(_NOT_A_SUM)
    return merges


class _Walk:
    """One walk over one body: marks the parts, and the carries that parts were added to."""

    def __init__(
        self,
        body: Graph,
        carry: dict[Value, int],
        along: dict[Value, Along],
        dims: dict[Node, Dim],
        inner: dict[Node, Merges],
        sums: frozenset[int],
    ) -> None:
        self.body = body
        self.along = along
        self.dims = dims
        self.inner = inner
        self.carry = carry
        self.sums = sums
        self.mark: dict[Value, int] = {v: at for v, at in carry.items() if at in sums}

    def run(self, ends: tuple[Along | None, ...]) -> None:
        for node in self.body.nodes:
            if node in self.dims:
                self._cut(node)
            else:
                self._whole(node)
        if any(end is not None and v in self.mark for v, end in zip(self.body.outputs, ends, strict=True)):
            raise BlockedError(_NOT_A_SUM)

    def _cut(self, node: Node) -> None:
        """A node that reads pieces: what else it reads must be the same for every chunk."""
        merged = self.inner[node] if node.bodies else {}
        first_carry = len(node.inputs) - len(node.carried)
        goes_on = {first_carry + at for at, merge in merged.items() if merge in GOING_ON}
        for position, v in enumerate(node.inputs):
            if position not in goes_on and v in self.mark:
                raise _reads_a_part(node)
        if not node.bodies:
            if self.dims[node].fold is not None:
                if not _adds_up(self.dims[node]):
                    raise BlockedError(f"{node_name(node)} folds the axis")
                self._set(node.outputs, _PART)
            return
        for at, merge in merged.items():
            if merge is Merge.SUM:
                self._set([node.outputs[at]], _PART)
            elif merge in GOING_ON:
                self._set([node.outputs[at]], self._carried_on(node.carried[at]))

    def _carried_on(self, first: Value) -> int:
        """The mark of what an inner loop makes of a carry, adding parts to it."""
        if first in self.mark:
            return self.mark[first]
        if fill_of(self.body, first) == 0:
            return _PART
        if first in self.carry:
            raise _CarriesParts(self.carry[first])
        raise BlockedError("a total in the body begins with what is neither zero nor a carry")

    def _whole(self, node: Node) -> None:
        """A node that reads no pieces."""
        marks = [self.mark.get(v) for v in node.inputs]
        if all(mark is None for mark in marks):
            return
        if not isinstance(node, Op) or len(node.outputs) != 1:
            raise _reads_a_part(node)
        self._set(node.outputs, self._linear(node, marks))

    def _linear(self, op: Op, marks: list[int | None]) -> int:
        if op.kind in _SUMS and len(op.inputs) == 2:
            return self._sum(op, marks)
        if _is_identity(op) and marks[0] is not None:
            return marks[0]
        parts = [mark == _PART for mark in marks]
        if any(mark not in (None, _PART) for mark in marks) or sum(parts) != 1:
            raise _reads_a_part(op)
        part = op.inputs[parts.index(True)]
        if op.kind in _MOVES or _is_float_to_float(op):
            return _PART
        if op.kind in _PRODUCTS and (_is_inexact(part) or part.dtype == op.outputs[0].dtype):
            return _PART  # an integer that wrapped around in the sum would not in a wider product
        if op.kind == "div" and parts[0] and _is_inexact(part):
            return _PART
        if op.kind == "pad" and parts[0] and fill_of(self.body, op.inputs[1]) == 0:
            return _PART
        raise _reads_a_part(op)

    def _sum(self, op: Op, marks: list[int | None]) -> int:
        """Parts add up to a part; added to a carry, they make the carry's next value."""
        first, second = marks
        if first == second == _PART:
            return _PART
        if second == _PART or (first == _PART and op.kind != "sub"):
            carry, mark = (op.inputs[0], first) if second == _PART else (op.inputs[1], second)
            if mark is not None:
                return mark
            maker = self.body.producer.get(carry)
            while isinstance(maker, Op) and _is_identity(maker):
                carry = maker.inputs[0]
                maker = self.body.producer.get(carry)
            if carry in self.carry:
                raise _CarriesParts(self.carry[carry])
        raise _reads_a_part(op)

    def _set(self, values: Sequence[Value], mark: int) -> None:
        for v in values:
            self.mark[v] = mark


def _reads_a_part(node: Node) -> BlockedError:
    return BlockedError(f"{node_name(node)} reads a sum over the axis")


def _adds_up(dim: Dim) -> bool:
    return dim.fold is not None and folds.fold_named(dim.fold).combine is lax.add_p


def _is_inexact(v: Value) -> bool:
    return jnp.issubdtype(v.dtype, np.inexact)


def _is_identity(op: Op) -> bool:
    """Whether an op only takes the weak type from a number, as the first addition to a count does."""
    return op.kind == "convert_element_type" and op.inputs[0].dtype == op.outputs[0].dtype


def _is_float_to_float(op: Op) -> bool:
    is_float = [jnp.issubdtype(v.dtype, np.floating) for v in (op.inputs[0], op.outputs[0])]
    return op.kind == "convert_element_type" and all(is_float)
