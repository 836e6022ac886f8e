"""What each chunk of an axis contributes to the results of a loop that do not run along the axis.

With a loop's body cut along an axis, what it folds along that axis is only a *part*: parts of all chunks
add up to the whole. A part stays one through linear ops (`a * part`, `part @ w`, `part + part`), so that a
result of the loop that is a part can be summed outside. A carry to which parts are added, and nothing else
is done, takes its sum from one chunk on to the next; one of half precision would lose small parts that way,
and gets the sum of each chunk at once. A value that no piece and no part meets is the same for every chunk.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

import jax.numpy as jnp
import numpy as np
from jax import lax

from memline.analysis.links import Along
from memline.analysis.spelling import fill_of
from memline.ir.graph import Graph, Loop, Node, Op, Value
from memline.rules import folds
from memline.rules.table import Dim


class Merge(Enum):
    """How a loop's result comes from the results of the chunks."""

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


class _NotLinearError(Exception):
    """Raised where a part goes into something that is not linear in it."""


class _CarriesParts(Exception):
    """Raised where a part is added to a carry that was taken to be the same for every chunk."""

    def __init__(self, position: int) -> None:
        self.position = position


Merges = dict[int, Merge]
"""How results of a loop are merged, by position; those that run along the axis are absent."""


def merges_of(loop: Loop, along: dict[Value, Along], dims: dict[Node, Dim], inner: dict[Loop, Merges]) -> Merges | None:
    """Returns how the loop's results that do not run along the axis are merged, by position; None where they cannot.

    Args:
      loop: the loop.
      along: the values of its body that are made in pieces.
      dims: the nodes of its body that are cut.
      inner: how the results of the loops among them are merged.
    """
    sums: set[int] = set()
    while True:
        try:
            return _Walk(loop, along, dims, inner, frozenset(sums)).run()
        except _CarriesParts as found:
            sums.add(found.position)
        except _NotLinearError:
            return None


class _Walk:
    def __init__(
        self,
        loop: Loop,
        along: dict[Value, Along],
        dims: dict[Node, Dim],
        inner: dict[Loop, Merges],
        sums: frozenset[int],
    ) -> None:
        self.loop = loop
        self.body: Graph = loop.body
        self.along = along
        self.dims = dims
        self.inner = inner
        carries = self.body.inputs[len(self.body.inputs) - len(loop.carried) :]
        self.carry = {v: position for position, v in enumerate(carries)}
        self.sums = sums
        self.mark: dict[Value, int] = {v: at for v, at in self.carry.items() if at in sums}

    def run(self) -> Merges:
        for node in self.body.nodes:
            if node in self.dims:
                self._cut(node)
            else:
                self._whole(node)
        merges: Merges = {}
        for position, v in enumerate(self.body.outputs):
            if v in self.along:
                continue
            mark = self.mark.get(v)
            is_carried = position < len(self.loop.carried)
            if is_carried and mark != (position if position in self.sums else None):
                raise _NotLinearError
            if not is_carried and mark not in (None, _PART):
                raise _NotLinearError
            if mark is None:
                merges[position] = Merge.SAME
            elif is_carried:
                merges[position] = Merge.CARRY if folds.wide_dtype(v.dtype) == v.dtype else Merge.ADDED
            else:
                merges[position] = Merge.SUM
        return merges

    def _cut(self, node: Node) -> None:
        """A node that reads pieces: what else it reads must be the same for every chunk."""
        merged = self.inner[node] if isinstance(node, Loop) else {}
        first_carry = len(node.inputs) - len(node.carried) if isinstance(node, Loop) else 0
        goes_on = {first_carry + at for at, merge in merged.items() if merge in GOING_ON}
        for position, v in enumerate(node.inputs):
            if position not in goes_on and v in self.mark:
                raise _NotLinearError
        if isinstance(node, Op):
            if self.dims[node].fold is not None:
                if not _adds_up(self.dims[node]):
                    raise _NotLinearError
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
        raise _NotLinearError

    def _whole(self, node: Node) -> None:
        """A node that reads no pieces."""
        marks = [self.mark.get(v) for v in node.inputs]
        if all(mark is None for mark in marks):
            return
        if isinstance(node, Loop) or len(node.outputs) != 1:
            raise _NotLinearError
        self._set(node.outputs, self._linear(node, marks))

    def _linear(self, op: Op, marks: list[int | None]) -> int:
        if op.kind in _SUMS and len(op.inputs) == 2:
            return self._sum(op, marks)
        parts = [mark == _PART for mark in marks]
        if any(mark not in (None, _PART) for mark in marks) or sum(parts) != 1:
            raise _NotLinearError
        part = op.inputs[parts.index(True)]
        if op.kind in _MOVES or _is_float_to_float(op):
            return _PART
        if op.kind in _PRODUCTS and (_is_inexact(part) or part.dtype == op.outputs[0].dtype):
            return _PART  # an integer that wrapped around in the sum would not in a wider product
        if op.kind == "div" and parts[0] and _is_inexact(part):
            return _PART
        raise _NotLinearError

    def _sum(self, op: Op, marks: list[int | None]) -> int:
        """Parts add up to a part; added to a carry, they make the carry's next value."""
        first, second = marks
        if first == second == _PART:
            return _PART
        if second == _PART or (first == _PART and op.kind != "sub"):
            carry, mark = (op.inputs[0], first) if second == _PART else (op.inputs[1], second)
            if mark is not None:
                return mark
            if carry in self.carry:
                raise _CarriesParts(self.carry[carry])
        raise _NotLinearError

    def _set(self, values: Sequence[Value], mark: int) -> None:
        for v in values:
            self.mark[v] = mark


def _adds_up(dim: Dim) -> bool:
    return dim.fold is not None and folds.fold_named(dim.fold).combine is lax.add_p


def _is_inexact(v: Value) -> bool:
    return jnp.issubdtype(v.dtype, np.inexact)


def _is_float_to_float(op: Op) -> bool:
    is_float = [jnp.issubdtype(v.dtype, np.floating) for v in (op.inputs[0], op.outputs[0])]
    return op.kind == "convert_element_type" and all(is_float)
