"""Which sums of a region need not wait for the whole of what their summands are scaled by.

Two reasons to wait are none, and a later stage that has no other can run in an earlier loop:

- A *factor* h (or divisor) that does not run along the summed axis: sum_j u_j h = h sum_j u_j, so h is
  wanted only after the loop.
- A *maximum* m that is subtracted in an exponent: with exp(x_j - m) taken at the maximum so far, the sum
  so far is mended by exp(m_old - m_new) whenever the maximum grows. That is the online softmax of
  Milakov and Gimelshein, "Online normalizer calculation for softmax" (2018), and with a contraction
  after it the attention of Rabe and Staats, "Self-attention does not need O(n^2) memory" (2021), and
  of Dao et al., "FlashAttention" (2022).

Every value of the region gets a `Form`: it is a core times the powers of such terms. Linear ops hand terms
on; what an op cannot hand on, its result waits for. One walk over the graph, each op looked at once.

A running maximum is trusted only with the very array it is the maximum of, for then no exponent is ever
positive. With another array exp(a - m) at an early, low m might overflow where the final m would not.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import jax.numpy as jnp
import numpy as np

from memline.analysis.axes import Region
from memline.analysis.running import Running
from memline.analysis.spelling import axes_between, fill_of, is_widening, same_elements
from memline.ir.graph import Op, Value

Axes = tuple[int | None, ...]

_MOVES = frozenset("broadcast_in_dim reshape squeeze transpose expand_dims copy stop_gradient".split())
_MAXIMUM_DTYPES = frozenset(["float16", "bfloat16", "float32", "float64"])
_MINUS_INFINITY = -math.inf


@dataclass(frozen=True)
class Term:
    """A factor of a value that the value's core lacks: `value` or, of a maximum, exp(-value), to a power."""

    value: Value
    maximum: Op | None
    power: int
    axes: Axes
    """For each axis of `value` (of the maximum itself, if there is one) the holder's axis along it."""


@dataclass(frozen=True)
class Shift:
    """A running value as it lies in a value of the region: the value itself, or what is subtracted in it."""

    running: Running
    axes: Axes
    subtracted: bool


@dataclass(frozen=True)
class Mask:
    """The predicate of a `select_n` and the case of it in which a value can be trusted."""

    predicate: Value
    case: int


@dataclass(frozen=True)
class Form:
    """A value as a core times terms."""

    stage: int
    """The stage in which the core can be computed, running maxima not waited for."""
    terms: tuple[Term, ...] = ()
    shift: Shift | None = None
    pure: bool = False
    """The core is 1 everywhere."""
    small: bool = False
    """The core is at most 1 in size."""
    masked: bool = False
    """Some elements may be zeros instead of core times terms."""
    unless: Mask | None = None
    """Only where this mask holds does the core belong to the array behind the maximum."""


@dataclass(frozen=True, eq=False)
class Deferral:
    """A fold of the region that can run earlier: with these terms applied after it, or made up for in it."""

    terms: tuple[Term, ...]
    masked: bool


@dataclass(frozen=True, eq=False)
class Rescalable:
    """What the walk found."""

    forms: dict[Value, Form]
    running: dict[Value, Running]
    folds: dict[Op, Deferral]


def rescalable(region: Region) -> Rescalable:
    """Returns which folds of a region can run in an earlier stage than `region.stage` says, and how."""
    walk = _Walk(region)
    for node in region.graph.nodes:
        if isinstance(node, Op) and node in region.dims:
            walk.inside(node)
        else:
            ready = max((walk.whole.get(v, 0) for v in node.inputs), default=0)
            walk.whole.update((v, ready) for v in node.outputs)
            if isinstance(node, Op) and ready:
                walk.follow(node)
    return Rescalable(walk.forms, walk.running, walk.folds)


class _Walk:
    def __init__(self, region: Region) -> None:
        self.region = region
        self.graph = region.graph
        self.forms: dict[Value, Form] = {}
        self.whole: dict[Value, int] = {}  # the stage in which a value can be read whole
        self.stage: dict[Op, int] = {}  # of the maxima
        self.running: dict[Value, Running] = {}
        self.folds: dict[Op, Deferral] = {}
        self.tests: dict[Value, tuple[Op, bool]] = {}  # is_finite(m), and m == -inf: true where m is kept, or not

    # Inside the region.

    def inside(self, op: Op) -> None:
        rule = _RULES.get(op.kind)
        operands = [self._operand(op, i) for i in range(len(op.inputs))]
        form = rule(self, op, operands) if rule is not None and len(op.outputs) == 1 else None
        if form is None:
            form = self.as_is(*operands)
        if self.region.dims[op].fold is not None:
            self._fold(op, operands, form)
            return
        for v in op.outputs:
            self.forms[v] = form
            self.whole[v] = self.plain(form) + 1

    def plain(self, form: Form) -> int:
        """The stage in which a value can be computed as it is written."""
        stage = max((form.stage, *(self.whole[t.value] for t in form.terms)))
        return stage if form.shift is None else max(stage, self.whole[form.shift.running.value])

    def as_is(self, *operands: Form) -> Form:
        return Form(max((self.plain(f) for f in operands), default=0))

    def _operand(self, op: Op, position: int) -> Form:
        v = op.inputs[position]
        if self.region.aligned(op, position):
            return self.forms[v]
        ready = self.whole.get(v, 0)
        if not ready or not _is_float(v) or self.region.piece(op, position) is not None:
            return Form(ready)
        if v in self.running:
            return Form(0, shift=Shift(self.running[v], self.running[v].axes, subtracted=False))
        axes = tuple(axis if size != 1 else None for axis, size in enumerate(v.shape))
        return Form(0, (Term(v, None, 1, axes),), pure=True)

    def _fold(self, op: Op, operands: list[Form], form: Form) -> None:
        """Decides in which stage a fold runs: as early as its terms can be left out."""
        stage = form.stage
        left_out = []
        for term in form.terms:
            if self._can_leave_out(op, operands, form, term):
                left_out.append(term)
                stage = max(stage, self.stage[term.maximum] if term.maximum else 0)
            else:
                stage = max(stage, self.whole[term.value])
        if form.shift is not None or form.pure:
            stage, left_out = self.plain(form), []
        # What is ready by then anyway is applied where it is written.
        left_out = [t for t in left_out if self.whole[t.value] > stage]
        if left_out:
            self.folds[op] = Deferral(tuple(left_out), form.masked)
        for v in op.outputs:
            self.whole[v] = stage + 1
        if _is_maximum(op):
            (m,) = op.outputs
            self.stage[op] = stage
            axes = tuple(axis if size != 1 else None for axis, size in enumerate(m.shape))
            self.running[m] = Running(op, m, m, (), axes)

    def _can_leave_out(self, op: Op, operands: list[Form], form: Form, term: Term) -> bool:
        if op.kind not in ("reduce_sum", "dot_general") or not _is_float(op.outputs[0]):
            return False
        if term.maximum is not None:
            return term.power >= 1 and form.unless is None
        if op.kind == "reduce_sum" and op.outputs[0].dtype.itemsize < 4:
            return False  # the bare sum might overflow where the scaled one does not
        scaled = [v for v, f in zip(op.inputs, operands, strict=True) if f.terms]
        return math.prod(op.outputs[0].shape) <= max(math.prod(v.shape) for v in scaled)

    # From a maximum outwards.

    def follow(self, op: Op) -> None:
        """Notes what an op outside the region makes of a running value."""
        if len(op.outputs) != 1:
            return
        position = next((i for i, v in enumerate(op.inputs) if v in self.running), None)
        if position is None:
            return
        before, (out,) = self.running[op.inputs[position]], op.outputs
        if op.kind == "is_finite":
            self.tests[out] = (op, True)
        elif op.kind == "eq" and fill_of(self.graph, op.inputs[1 - position]) == _MINUS_INFINITY:
            self.tests[out] = (op, False)
        elif op.kind in _MOVES or (op.kind == "convert_element_type" and is_widening(op)):
            self._extend(op, before, (op,), root=before.root)
        elif op.kind == "convert_element_type" and _is_float(out):
            self._extend(op, before, (op,), root=out)
        elif op.kind == "max":
            other = op.inputs[1 - position]
            if other not in self.running and self.whole.get(other, 0) <= self.stage[before.maximum]:
                unchanged = fill_of(self.graph, other) == _MINUS_INFINITY
                self._extend(op, before, (op,), root=before.root if unchanged else out)
        elif op.kind == "select_n" and op.inputs[0] in self.tests:
            self._follow_guard(op, before)

    def _follow_guard(self, op: Op, before: Running) -> None:
        """A maximum with zeros where it is not finite, or where it is -inf."""
        test, kept_case = self.tests[op.inputs[0]]
        if len(op.inputs) != 3 or op.inputs[1 + kept_case] is not before.value or before.value not in test.inputs:
            return
        if fill_of(self.graph, op.inputs[2 - kept_case]) == 0:
            self._extend(op, before, (test, op), root=op.outputs[0])

    def _extend(self, op: Op, before: Running, ops: tuple[Op, ...], root: Value) -> None:
        (out,) = op.outputs
        axes = _moved(before.axes, axes_between(op, op.inputs.index(before.value)))
        if axes is None or str(out.dtype) not in _MAXIMUM_DTYPES:
            return
        m = before.maximum.outputs[0]
        if root is out and (out.shape != before.value.shape or not _lies_like(m, out, axes)):
            return
        # A root is read in the shape of the maximum.
        self.running[out] = Running(before.maximum, out, root, (*before.ops, *ops), axes)

    def lost(self, form: Form, kept: Sequence[Term]) -> Form:
        """Returns the form with only some of its terms; for the others it waits."""
        gone = [self.whole[t.value] for t in form.terms if t not in kept]
        return replace(form, stage=max((form.stage, *gone)), terms=tuple(kept))

    def carried(self, op: Op, position: int, form: Form) -> Form:
        """Returns a form's terms as the op's result has them, by the result's axes; others are waited for."""
        link = axes_between(op, position)
        moved = {t: _moved(t.axes, link) for t in form.terms}
        bare = self.lost(form, [t for t in form.terms if moved[t] is not None])
        return replace(bare, terms=tuple(replace(t, axes=moved[t] or ()) for t in bare.terms))


_Rule = Callable[[_Walk, Op, list[Form]], Form | None]


def _move(walk: _Walk, op: Op, operands: list[Form]) -> Form | None:
    """An op that moves elements about, or converts them."""
    (form,) = operands
    if form.shift is None:
        return walk.carried(op, 0, form)
    axes = _moved(form.shift.axes, axes_between(op, 0))
    return None if axes is None else replace(form, shift=replace(form.shift, axes=axes))


def _convert(walk: _Walk, op: Op, operands: list[Form]) -> Form | None:
    (form,) = operands
    if not _is_float(op.inputs[0]) or not _is_float(op.outputs[0]):
        return None
    if form.shift is not None:
        return _move(walk, op, operands) if form.shift.subtracted or is_widening(op) else None
    has_range = jnp.finfo(op.outputs[0].dtype).max >= jnp.finfo(op.inputs[0].dtype).max
    # A core that is not known to be small might overflow in the narrower type where the value does not.
    return _move(walk, op, operands) if has_range or form.small or form.pure else None


def _neg(walk: _Walk, op: Op, operands: list[Form]) -> Form | None:
    (form,) = operands
    return None if form.shift is not None or form.pure else walk.carried(op, 0, form)


def _sum(walk: _Walk, op: Op, operands: list[Form]) -> Form | None:
    """A sum along axes of which its terms have none."""
    form = _neg(walk, op, operands)
    return None if form is None else replace(form, small=False)


def _product(walk: _Walk, op: Op, operands: list[Form]) -> Form | None:
    """Products hand on the terms of both sides; a side that is nothing but terms leaves the other's core."""
    if any(f.shift is not None for f in operands) or not _is_float(op.outputs[0]):
        return None
    pure = [f.pure for f in operands]
    if all(pure) or (any(pure) and op.inputs[pure.index(False)].shape != op.outputs[0].shape):
        return None
    sides = [walk.carried(op, i, f) for i, f in enumerate(operands)]
    by_value: dict[Value, list[Term]] = {}
    for term in (t for side in sides for t in side.terms):
        by_value.setdefault(term.value, []).append(term)
    terms, gone = [], [0]
    for value, found in by_value.items():
        power = sum(t.power for t in found)
        if power and all(t.axes == found[0].axes for t in found):
            terms.append(replace(found[0], power=power))
        else:
            gone.append(walk.whole[value])
    unless = {f.unless for f in sides} - {None}
    if len(unless) > 1:
        return None
    return Form(
        max(*gone, *(side.stage for side in sides)),
        tuple(terms),
        small=any(pure) and all(f.small or f.pure for f in sides),
        masked=any(f.masked for f in sides),
        unless=next(iter(unless), None),
    )


def _contraction(walk: _Walk, op: Op, operands: list[Form]) -> Form | None:
    return None if any(f.pure for f in operands) else _product(walk, op, operands)


def _quotient(walk: _Walk, op: Op, operands: list[Form]) -> Form | None:
    above, below = operands
    if below.shift is not None:
        return None
    if not below.pure:
        return _product(walk, op, [above, walk.as_is(below)])
    inverse = replace(below, terms=tuple(replace(t, power=-t.power) for t in below.terms))
    return None if above.pure else _product(walk, op, [above, inverse])


def _addition(walk: _Walk, op: Op, operands: list[Form]) -> Form | None:
    """Terms that all summands share."""
    if any(f.shift is not None or f.pure for f in operands) or len({f.unless for f in operands}) > 1:
        return None
    sides = [walk.carried(op, i, f) for i, f in enumerate(operands)]
    shared = [t for t in sides[0].terms if all(t in side.terms for side in sides)]
    sides = [walk.lost(side, shared) for side in sides]
    masked = any(f.masked for f in sides)
    return Form(max(f.stage for f in sides), tuple(shared), masked=masked, unless=sides[0].unless)


def _subtraction(walk: _Walk, op: Op, operands: list[Form]) -> Form | None:
    """An array less its own maximum; else a sum like any other."""
    shift = operands[1].shift
    if shift is None or shift.subtracted or operands[0].shift is not None:
        return _addition(walk, op, operands)
    x, maximum = op.inputs[0], shift.running.maximum
    axes = _moved(shift.axes, {axis: axis for axis in range(op.outputs[0].ndim)})
    reduced = {int(a) for a in maximum.params["axes"]}
    kept = [axis for axis in range(maximum.inputs[0].ndim) if axis not in reduced]
    if x.shape != op.outputs[0].shape or axes is None:
        return None
    if any(axis is not None and axis != home for axis, home in zip(axes, kept, strict=True)):
        return None
    unless = _trust(walk, x, maximum)
    if unless is False:
        return None
    stage = walk.plain(operands[0])
    return Form(stage, shift=Shift(shift.running, axes, subtracted=True), unless=unless)


def _trust(walk: _Walk, x: Value, maximum: Op) -> Mask | None | bool:
    """Returns None where x is the array behind a maximum, the mask under which it is, or False."""
    behind = maximum.inputs[0]
    if same_elements(walk.graph, x, behind):
        return None
    select = walk.graph.producer.get(behind)
    if not isinstance(select, Op) or select.kind != "select_n" or len(select.inputs) != 3:
        return False
    for case in (0, 1):
        hidden = fill_of(walk.graph, select.inputs[2 - case]) == _MINUS_INFINITY
        if hidden and same_elements(walk.graph, x, select.inputs[1 + case]):
            return Mask(select.inputs[0], case)
    return False


def _exp(walk: _Walk, op: Op, operands: list[Form]) -> Form | None:
    (form,) = operands
    if form.shift is None or not form.shift.subtracted:
        return None
    running = form.shift.running
    term = Term(running.root, running.maximum, 1, form.shift.axes)
    return Form(form.stage, (term,), small=True, masked=form.masked, unless=form.unless)


def _select(walk: _Walk, op: Op, operands: list[Form]) -> Form | None:
    """A choice between scaled values and zeros; of exponents, between them and -inf."""
    predicate, *cases = operands
    shifted = any(f.shift is not None for f in cases)
    blank = _MINUS_INFINITY if shifted else 0
    blanks = [fill_of(walk.graph, v) == blank for v in op.inputs[1:]]
    live = [i for i, is_blank in enumerate(blanks) if not is_blank]
    if not live or any(cases[i].pure for i in live):
        return None
    unless = {_unmasked(op, i, cases[i]) if len(live) == 1 else cases[i].unless for i in live}
    if len(unless) > 1:
        return None
    waited = walk.plain(predicate)
    first = cases[live[0]]
    if shifted:
        shift = first.shift
        if len(live) > 1 or shift is None or not shift.subtracted:
            return None
        return replace(first, stage=max(first.stage, waited), masked=True, unless=unless.pop())
    sides = [walk.carried(op, 1 + i, cases[i]) for i in live]
    shared = [t for t in sides[0].terms if all(t in side.terms for side in sides)]
    sides = [walk.lost(side, shared) for side in sides]
    stage = max(waited, *(f.stage for f in sides))
    small = all(f.small for f in sides)
    return Form(stage, tuple(shared), small=small, masked=True, unless=unless.pop())


def _unmasked(op: Op, case: int, form: Form) -> Mask | None:
    """The mask that is left on the one live case of a `select_n` that hides all others."""
    return None if form.unless == Mask(op.inputs[0], case) else form.unless


_RULES: dict[str, _Rule] = {
    **{kind: _move for kind in _MOVES},
    "convert_element_type": _convert,
    "neg": _neg,
    "reduce_sum": _sum,
    "mul": _product,
    "dot_general": _contraction,
    "div": _quotient,
    "add": _addition,
    "add_any": _addition,
    "sub": _subtraction,
    "exp": _exp,
    "select_n": _select,
}


def _moved(axes: Axes, link: dict[int, int]) -> Axes | None:
    """Returns where axes end up that an op moves; None if one of them is lost on the way."""
    if any(axis is not None and axis not in link for axis in axes):
        return None
    return tuple(None if axis is None else link[axis] for axis in axes)


def _lies_like(m: Value, v: Value, axes: Axes) -> bool:
    """Whether v has the elements of m in the same order, with axes of size 1 here and there."""
    order = [axis for axis in axes if axis is not None]
    return math.prod(v.shape) == math.prod(m.shape) and order == sorted(order)


def _is_float(v: Value) -> bool:
    return v.dtype is not None and jnp.issubdtype(v.dtype, np.floating)


def _is_maximum(op: Op) -> bool:
    return op.kind == "reduce_max" and str(op.outputs[0].dtype) in _MAXIMUM_DTYPES
