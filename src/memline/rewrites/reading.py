"""Reads the sum of products that a value is off the ops that make it.

Read are `dot_general`, `mul`, `reduce_sum`, broadcasts, transpositions, reshapes that split or merge whole axes (as
`kron` does), conversions to wider floats, numbers, signs, masks that are 1 on a diagonal, and diagonals taken out. A
mask on a diagonal makes two indices one. Inner values that are read elsewhere as well are factors, for they are made
anyway; and so are those that are read twice here: the square of a sum is accurate where the sum of all products of two
terms is not.

Types: all that is read has one type, or types that widen towards the result. Integers wrap around, which no order of
additions changes; but a product that wrapped in a narrow type before it was widened would not wrap in a wide one, so
that integers are not read through conversions.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

import jax.numpy as jnp
import numpy as np

from memline.analysis.fusion import is_view
from memline.analysis.products import product_of
from memline.analysis.spelling import fill_of, is_widening, keeps_floats
from memline.ir.graph import Graph, Op, Value
from memline.rewrites.diagonals import diagonal_mask, diagonal_of
from memline.rewrites.indices import Axis, Indices
from memline.rewrites.match import is_usual, op_of, operand_axes, seen_through
from memline.rewrites.sums import Factor, SumOfProducts
from memline.rewrites.work import Work, elementwise_work, product_work

_MOST_FACTORS = 32
_MOST_NODES = 256
_ROOTS = frozenset("dot_general reduce_sum mul gather".split())

# Several rules ask for the same forms, and planning asks again; the answers go with the graph.
_FORMS: WeakKeyDictionary[Graph, dict[Op, SumOfProducts | None]] = WeakKeyDictionary()


def sum_of(scope: Graph, root: Op) -> SumOfProducts | None:
    """Returns the sum of products that a node computes, or None where it is none or nothing is summed in it."""
    if root.kind not in _ROOTS or len(root.outputs) != 1 or not math.prod(root.outputs[0].shape):
        return None
    known = _FORMS.setdefault(scope, {})
    if root not in known:
        known[root] = _Reader(scope, root.outputs[0]).read()
    return known[root]


class _Reader:
    """Walks from a value towards what it is made of, and collects factors."""

    def __init__(self, scope: Graph, root: Value) -> None:
        self.scope = scope
        self.root = root
        self.indices = Indices()
        self.factors: list[Factor] = []
        self.numbers: list[Value] = []
        self.divisors: list[Value] = []
        self.is_negative = False
        self.summed: list[Axis] = []
        self.work = Work()
        self.dtypes: set[Any] = set()
        self.precisions: list[Any] = []
        self.drops_zeros = False
        self.has_sum = False
        self.has_product_of_arrays = False
        self.nodes = 0

    def read(self) -> SumOfProducts | None:
        axes = tuple(self.indices.fresh(n) for n in self.root.shape)
        self._expand(self.root, axes, False)
        dtype = self._dtype()
        precision = self._precision()
        if not self.has_sum or not self.factors or dtype is None or precision is _UNLIKE:
            return None
        resolved = tuple(self.indices.resolved(axis) for axis in axes)
        out = [index for axis in resolved for index in axis]
        if len(set(out)) < len(out):
            return None  # zero but on a diagonal: no product of the factors alone
        if len(self.factors) < 2 and not self.summed:
            return None  # no more than a diagonal
        factors = tuple(Factor(f.value, tuple(map(self.indices.resolved, f.axes))) for f in self.factors)
        return SumOfProducts(
            self.root,
            resolved,
            factors,
            tuple(self.numbers),
            tuple(self.divisors),
            self.is_negative,
            frozenset(i for axis in self.summed for i in self.indices.resolved(axis)) - set(out),
            tuple(self.indices.sizes),
            dtype,
            precision,
            self.work,
            self.drops_zeros,
        )

    def _expand(self, v: Value, axes: tuple[Axis, ...], multiplied: bool, is_made: bool = False) -> None:
        """Adds what a value is made of.

        Args:
          v: the value.
          axes: the indices along its axes.
          multiplied: whether it is a factor of something already.
          is_made: whether it is made anyway, for something else reads it, or what it is only moved to.
        """
        is_made = is_made or (v is not self.root and self._is_shared(v))
        op = op_of(self.scope, v)
        self.nodes += 1
        if op is None or self.nodes > _MOST_NODES or len(self.factors) >= _MOST_FACTORS or 0 in v.shape:
            self._leaf(v, axes)
        elif (before := self._moved(op, axes)) is not None:
            self._expand(op.inputs[0], before, multiplied, is_made)
        elif self._masked(op, axes, multiplied, is_made):
            pass
        elif op.kind in _READ and not is_made and _READ[op.kind](self, op, axes, multiplied):
            self._count(op)
        else:
            self._leaf(v, axes)

    def _leaf(self, v: Value, axes: tuple[Axis, ...]) -> None:
        if any(axes):
            self.factors.append(Factor(v, axes))
        else:
            self.numbers.append(v)

    def _count(self, op: Op) -> None:
        out = op.outputs[0]
        self.dtypes.add(out.dtype)
        made = 0 if out is self.root or is_view(op) else out.size_bytes
        if op.kind == "dot_general":
            product = product_of(op)
            self.work += product_work(product.flops, product.is_of_matrices, made)
        else:
            read = [out] if op.kind == "gather" else [out, *op.inputs]
            self.work += elementwise_work(max(math.prod(v.shape) for v in read), made)

    def _is_shared(self, v: Value) -> bool:
        """Whether a value is read twice, be it by one node, or is a result."""
        return v in self.scope.outputs or len(self.scope.consumers.get(v, ())) > 1

    def _moved(self, op: Op, axes: tuple[Axis, ...]) -> tuple[Axis, ...] | None:
        """Returns the indices along the operand's axes of an op that moves elements."""
        if op.kind == "reshape" and op.params.get("dimensions") is None:
            return self.indices.reshaped(axes, op.inputs[0].shape)
        if op.kind == "convert_element_type":
            narrow = op.inputs[0]
            return axes if is_widening(op) and is_usual(narrow.dtype) else None
        places = operand_axes(op, tuple(range(len(axes))))
        if places is None:
            return None
        return tuple(() if place is None else axes[place] for place in places)

    def _masked(self, op: Op, axes: tuple[Axis, ...], multiplied: bool, is_made: bool) -> bool:
        """Reads what is zero but on a diagonal: `where(mask, x, 0)`, or the mask itself as numbers."""
        if op.kind == "select_n" and len(op.inputs) == 3:
            predicate, zero, x = op.inputs
            pair = diagonal_mask(self.scope, predicate)
            if pair is None or fill_of(self.scope, zero) != 0 or not self._unified(axes, pair):
                return False
            self.drops_zeros = self.drops_zeros or multiplied
            self.work += elementwise_work(math.prod(x.shape), 0 if op.outputs[0] is self.root else x.size_bytes)
            self._expand(x, axes, multiplied, is_made)
            return True
        if op.kind == "convert_element_type" and op.inputs[0].dtype == np.bool_:
            pair = diagonal_mask(self.scope, op.inputs[0])
            if pair is None or not self._unified(axes, pair):
                return False
            self.drops_zeros = self.drops_zeros or multiplied
            self.work += elementwise_work(math.prod(op.outputs[0].shape), op.outputs[0].size_bytes)
            return True
        return False

    def _summed(self, size: int) -> Axis:
        """Returns a new axis that is summed over."""
        axis = self.indices.fresh(size)
        self.summed.append(axis)
        return axis

    def _unified(self, axes: tuple[Axis, ...], pair: tuple[int, int]) -> bool:
        return self.indices.unify(axes[pair[0]], axes[pair[1]])

    def _dtype(self) -> Any:
        """Returns the type to compute in, or None where the types of what is absorbed do not go together."""
        if not self.dtypes or not all(map(is_usual, self.dtypes)):
            return None
        if all(jnp.issubdtype(d, np.inexact) for d in self.dtypes):
            widest = jnp.result_type(*self.dtypes)
            narrow_range = widest == jnp.float16  # what another order makes on the way may be beyond its range
            return np.dtype(np.float32) if narrow_range else np.dtype(widest)
        if len(self.dtypes) == 1 and all(jnp.issubdtype(d, np.integer) for d in self.dtypes):
            return np.dtype(next(iter(self.dtypes)))
        return None

    def _precision(self) -> Any:
        """Returns the precision of all products; the highest where products or sums were elementwise, as those are."""
        if any(p != self.precisions[0] for p in self.precisions):
            return _UNLIKE
        if self.has_product_of_arrays or not self.precisions:
            return "highest"
        precision = self.precisions[0]
        if isinstance(precision, tuple):
            return precision[0] if precision[0] == precision[1] else _UNLIKE
        return precision

    # What is read of each op. A reader returns False where the op is to be a factor as it is.

    def dot_general(self, op: Op, axes: tuple[Axis, ...], multiplied: bool) -> bool:
        left, right = op.inputs
        if op.params.get("out_sharding") is not None or not _keeps_range(op):
            return False
        contract, batch = op.params["dimension_numbers"]
        given = iter(axes)
        taken: tuple[dict[int, Axis], dict[int, Axis]] = ({}, {})
        for a, b in zip(*batch, strict=True):
            taken[0][a] = taken[1][b] = next(given)
        for a, b in zip(*contract, strict=True):
            taken[0][a] = taken[1][b] = self._summed(left.shape[a])
        for side, v in enumerate((left, right)):
            for axis in range(v.ndim):
                if axis not in taken[side]:
                    taken[side][axis] = next(given)
        self.has_sum = True
        self.precisions.append(op.params.get("precision"))
        for side, v in enumerate((left, right)):
            self._expand(v, tuple(taken[side][axis] for axis in range(v.ndim)), True)
        return True

    def mul(self, op: Op, axes: tuple[Axis, ...], multiplied: bool) -> bool:
        if op.outputs[0].dtype == np.bool_:
            return False
        sides = [_of_operand(v, axes) for v in op.inputs]
        scaled = [_is_number(self.scope, v) for v in op.inputs]
        arrays = [seen_through(self.scope, v).value.ndim > 0 for v in op.inputs]
        self.has_product_of_arrays = self.has_product_of_arrays or all(arrays)
        for v, side, other in zip(op.inputs, sides, reversed(scaled), strict=True):
            self._expand(v, side, multiplied or not other)
        return True

    def div(self, op: Op, axes: tuple[Axis, ...], multiplied: bool) -> bool:
        over, under = op.inputs
        seen = under
        while (maker := op_of(self.scope, seen)) is not None and operand_axes(maker, (0,) * seen.ndim) is not None:
            seen = maker.inputs[0]
        if math.prod(seen.shape) != 1 or not jnp.issubdtype(op.outputs[0].dtype, np.inexact):
            return False
        self.divisors.append(seen)
        self._expand(over, _of_operand(over, axes), multiplied)
        return True

    def neg(self, op: Op, axes: tuple[Axis, ...], multiplied: bool) -> bool:
        self.is_negative = not self.is_negative
        self._expand(op.inputs[0], axes, multiplied)
        return True

    def reduce_sum(self, op: Op, axes: tuple[Axis, ...], multiplied: bool) -> bool:
        v = op.inputs[0]
        if op.params.get("out_sharding") is not None:
            return False
        given = iter(axes)
        reduced = op.params["axes"]
        self.has_sum = True
        inner = tuple(self._summed(n) if axis in reduced else next(given) for axis, n in enumerate(v.shape))
        self._expand(v, inner, multiplied)
        return True

    def gather(self, op: Op, axes: tuple[Axis, ...], multiplied: bool) -> bool:
        places = diagonal_of(self.scope, op)
        if places is None:
            return False
        self.has_sum = True
        self._expand(op.inputs[0], tuple(axes[place] for place in places), multiplied)
        return True


_UNLIKE = object()
_Read = Callable[[_Reader, Op, tuple[Axis, ...], bool], bool]
_READ: dict[str, _Read] = {
    "dot_general": _Reader.dot_general,
    "mul": _Reader.mul,
    "div": _Reader.div,
    "neg": _Reader.neg,
    "reduce_sum": _Reader.reduce_sum,
    "gather": _Reader.gather,
}


def _of_operand(v: Value, axes: tuple[Axis, ...]) -> tuple[Axis, ...]:
    """Returns the indices along the axes of an operand of an elementwise op; it may be a number or have unit axes."""
    return tuple(() if n == 1 else axis for n, axis in zip(v.shape, axes, strict=False))


def _is_number(scope: Graph, v: Value) -> bool:
    """Whether a value is one finite number everywhere."""
    fill = fill_of(scope, v)
    return fill is not None and bool(np.isfinite(fill))


def _keeps_range(op: Op) -> bool:
    """Whether the result of a product is as wide as its operands: as a narrower one it is rounded on purpose."""
    made = op.outputs[0].dtype
    if jnp.issubdtype(made, np.inexact):
        return all(v.dtype == made or keeps_floats(v.dtype, made) for v in op.inputs)
    return all(is_usual(v.dtype) and v.dtype.itemsize <= made.itemsize for v in op.inputs)
