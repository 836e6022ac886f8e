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
(What is left of that: a summand beside exp(x - m) that is near the largest float can overflow early.)
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from memline.analysis.axes import Region
from memline.analysis.forms import MINUS_INFINITY, MOVES, Form, Forms, Shift, Term, is_float, moved, size_axes
from memline.analysis.handing import RULES
from memline.analysis.running import Running
from memline.analysis.spelling import axes_between, fill_of, is_widening
from memline.ir.graph import Node, Op, Value

_MAXIMUM_DTYPES = frozenset(["float16", "bfloat16", "float32", "float64"])


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
        if node.bodies and node in region.dims:
            walk.inside_bodies(node)
        elif isinstance(node, Op) and node in region.dims:
            walk.inside(node)
        else:
            ready = max((walk.forms.whole.get(v, 0) for v in node.inputs), default=0)
            walk.forms.whole.update((v, ready) for v in node.outputs)
            if isinstance(node, Op) and ready:
                walk.follow(node)
    return Rescalable(walk.forms.of, walk.running, walk.folds)


class _Walk:
    def __init__(self, region: Region) -> None:
        self.region = region
        self.graph = region.graph
        self.forms = Forms(region.graph)
        self.stage: dict[Op, int] = {}  # of the maxima
        self.running: dict[Value, Running] = {}
        self.folds: dict[Op, Deferral] = {}
        self.tests: dict[Value, tuple[Op, int]] = {}  # m tested for infinity, and the case in which a guard keeps m

    # Inside the region.

    def inside(self, op: Op) -> None:
        rule = RULES.get(op.kind)
        operands = [self._operand(op, i) for i in range(len(op.inputs))]
        form = rule(self.forms, op, operands) if rule is not None and len(op.outputs) == 1 else None
        if form is None:
            form = self.forms.as_is(*operands)
        if self.region.dims[op].fold is not None:
            self._fold(op, operands, form)
            return
        for v in op.outputs:
            self.forms.of[v] = form
            self.forms.whole[v] = self.forms.plain(form) + 1

    def inside_bodies(self, node: Node) -> None:
        """A loop or branch that the split passes through: it waits for all that it reads."""
        form = self.forms.as_is(*(self._operand(node, i) for i in range(len(node.inputs))))
        for v in node.outputs:
            if v in self.region.along:
                self.forms.of[v] = form
            self.forms.whole[v] = form.stage + 1

    def _operand(self, op: Node, position: int) -> Form:
        v = op.inputs[position]
        if self.region.aligned(op, position):
            return self.forms.of[v]
        ready = self.forms.whole.get(v, 0)
        if not ready or not is_float(v) or self.region.piece(op, position) is not None:
            return Form(ready)
        if v in self.running:
            return Form(0, shift=Shift(self.running[v], self.running[v].axes, subtracted=False))
        return Form(0, (Term(v, None, 1, size_axes(v)),), pure=True)

    def _fold(self, op: Op, operands: list[Form], form: Form) -> None:
        """Decides in which stage a fold runs: as early as its terms can be left out."""
        stage = form.stage
        left_out = []
        for term in form.terms:
            if self._can_leave_out(op, operands, form, term):
                left_out.append(term)
                stage = max(stage, self.stage[term.maximum] if term.maximum else 0)
            else:
                stage = max(stage, self.forms.whole[term.value])
        if form.shift is not None or form.pure:
            stage, left_out = self.forms.plain(form), []
        # What is ready by then anyway is applied where it is written.
        left_out = [t for t in left_out if self.forms.whole[t.value] > stage]
        if left_out:
            self.folds[op] = Deferral(tuple(left_out), form.masked)
        for v in op.outputs:
            self.forms.whole[v] = stage + 1
        if _is_maximum(op):
            (m,) = op.outputs
            self.stage[op] = stage
            self.running[m] = Running(op, m, m, (), size_axes(m))

    def _can_leave_out(self, op: Op, operands: list[Form], form: Form, term: Term) -> bool:
        if op.kind not in ("reduce_sum", "dot_general") or not is_float(op.outputs[0]):
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
            self.tests[out] = (op, 1)
        elif op.kind == "eq" and fill_of(self.graph, op.inputs[1 - position]) == MINUS_INFINITY:
            self.tests[out] = (op, 0)
        elif op.kind in MOVES or (op.kind == "convert_element_type" and is_widening(op)):
            self._extend(op, before, (op,), root=before.root)
        elif op.kind == "stop_gradient" or (op.kind == "convert_element_type" and is_float(out)):
            self._extend(op, before, (op,), root=out)
        elif op.kind == "max":
            other = op.inputs[1 - position]
            if other not in self.running and self.forms.whole.get(other, 0) <= self.stage[before.maximum]:
                unchanged = fill_of(self.graph, other) == MINUS_INFINITY
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
        axes = moved(before.axes, axes_between(op, op.inputs.index(before.value)))
        if axes is None or str(out.dtype) not in _MAXIMUM_DTYPES:
            return
        if root is out and math.prod(out.shape) != math.prod(before.maximum.outputs[0].shape):
            return
        self.running[out] = Running(before.maximum, out, root, (*before.ops, *ops), axes)


def _is_maximum(op: Op) -> bool:
    return op.kind == "reduce_max" and str(op.outputs[0].dtype) in _MAXIMUM_DTYPES
