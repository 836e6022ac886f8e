"""Indices of a sum of products while it is read: found to be equal, or to be made of several."""

from __future__ import annotations

import math
from collections.abc import Sequence

Axis = tuple[int, ...]
"""The indices that run along one axis of an array, the slowest first; none where its size is 1."""


class Indices:
    """Indices by number. Two can become one, and one can be found to be made of a slower and a faster one.

    >>> indices = Indices()
    >>> rows, columns = indices.fresh(6), indices.fresh(4)
    >>> indices.reshaped((rows, columns), (2, 3, 4))
    ((2,), (3,), (1,))
    >>> indices.resolved(rows)
    (2, 3)
    """

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self._parts: dict[int, Axis] = {}

    def fresh(self, size: int) -> Axis:
        """Returns the indices of a new axis of a size: one, or none for size 1."""
        if size == 1:
            return ()
        self.sizes.append(size)
        return (len(self.sizes) - 1,)

    def resolved(self, axis: Axis) -> Axis:
        """Returns an axis in the indices that are known now."""
        return tuple(part for index in axis for part in self._leaves(index))

    def _leaves(self, index: int) -> Axis:
        parts = self._parts.get(index)
        return (index,) if parts is None else self.resolved(parts)

    def _size(self, axis: Axis) -> int:
        return math.prod(self.sizes[index] for index in axis)

    def reshaped(self, axes: Sequence[Axis], shape: Sequence[int]) -> tuple[Axis, ...] | None:
        """Returns the axes of an array of another shape with the same elements; None where indices would not fit."""
        waiting = [index for axis in axes for index in self.resolved(axis)]
        found = []
        for size in shape:
            axis = self._taken(waiting, size)
            if axis is None:
                return None
            found.append(axis)
        return None if waiting else tuple(found)

    def _taken(self, waiting: list[int], size: int) -> Axis | None:
        """Takes the first indices that make up a size off those that wait, cutting the last of them if need be."""
        axis: list[int] = []
        while size > 1:
            if not waiting:
                return None
            index = waiting.pop(0)
            n = self.sizes[index]
            if n > size:
                if n % size:
                    return None
                parts = (*self.fresh(size), *self.fresh(n // size))
                self._parts[index] = parts
                waiting[:] = [part for i in waiting for part in self._leaves(i)]
                index, n = parts[0], size
                waiting.insert(0, parts[1])
            if size % n:
                return None
            axis.append(index)
            size //= n
        return tuple(axis)

    def unify(self, a: Axis, b: Axis) -> bool:
        """Makes two axes run together; False where they are of other sizes or cut elsewhere."""
        a, b = self.resolved(a), self.resolved(b)
        if self._size(a) != self._size(b):
            return False
        if len(a) != len(b):
            a, b = (a, b) if len(a) < len(b) else (b, a)
            again = self.reshaped((a,), [self.sizes[index] for index in b])
            if again is None:
                return False
            a = tuple(index for axis in again for index in axis)
            b = self.resolved(b)
        if [self.sizes[i] for i in a] != [self.sizes[i] for i in b]:
            return False
        for i, j in zip(a, b, strict=True):
            (i,), (j,) = self._leaves(i), self._leaves(j)
            if i != j:
                self._parts[i] = (j,)
        return True
