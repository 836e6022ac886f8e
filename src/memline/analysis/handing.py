"""How ops hand on the terms of their operands, one rule a kind of op, as `rules` has them for axes.

`rule(forms, op, operands) -> Form`, or None where the result simply waits for all that the operands wait
for, which is also so for ops without a rule. A rule looks at its own op, and where the meaning of that
depends on it, at how the operands are made.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import jax.numpy as jnp

from memline.analysis.forms import MINUS_INFINITY, MOVES, Form, Forms, Mask, Term, is_float, moved
from memline.analysis.spelling import axes_between, fill_of, is_widening, origin_of, same_elements
from memline.ir.graph import Op, Value

Rule = Callable[[Forms, Op, list[Form]], Form | None]


def _move(forms: Forms, op: Op, operands: list[Form]) -> Form | None:
    """An op that moves elements about, or converts them."""
    (form,) = operands
    if form.shift is None:
        return forms.carried(op, 0, form)
    axes = moved(form.shift.axes, axes_between(op, 0))
    return None if axes is None else replace(form, shift=replace(form.shift, axes=axes))


def _convert(forms: Forms, op: Op, operands: list[Form]) -> Form | None:
    (form,) = operands
    if not is_float(op.inputs[0]) or not is_float(op.outputs[0]):
        return None
    if form.shift is not None:
        return _move(forms, op, operands) if form.shift.subtracted or is_widening(op) else None
    has_range = jnp.finfo(op.outputs[0].dtype).max >= jnp.finfo(op.inputs[0].dtype).max
    # A core that is not known to be small might overflow in the narrower type where the value does not.
    return _move(forms, op, operands) if has_range or form.small or form.pure else None


def _neg(forms: Forms, op: Op, operands: list[Form]) -> Form | None:
    (form,) = operands
    return None if form.shift is not None or form.pure else forms.carried(op, 0, form)


def _sum(forms: Forms, op: Op, operands: list[Form]) -> Form | None:
    """A sum along axes of which its terms have none."""
    form = _neg(forms, op, operands)
    return None if form is None else replace(form, small=False)


def _product(forms: Forms, op: Op, operands: list[Form]) -> Form | None:
    """Products hand on the terms of both sides; a side that is nothing but terms leaves the other's core."""
    if any(f.shift is not None for f in operands) or not is_float(op.outputs[0]):
        return None
    pure = [f.pure for f in operands]
    if all(pure) or (any(pure) and op.inputs[pure.index(False)].shape != op.outputs[0].shape):
        return None
    sides = [forms.carried(op, i, f) for i, f in enumerate(operands)]
    by_value: dict[Value, list[Term]] = {}
    for term in (t for side in sides for t in side.terms):
        by_value.setdefault(term.value, []).append(term)
    terms, gone = [], [0]
    for value, found in by_value.items():
        power = sum(t.power for t in found)
        if power and all(t.axes == found[0].axes for t in found):
            terms.append(replace(found[0], power=power))
        else:
            gone.append(forms.whole[value])
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


def _contraction(forms: Forms, op: Op, operands: list[Form]) -> Form | None:
    return None if any(f.pure for f in operands) else _product(forms, op, operands)


def _quotient(forms: Forms, op: Op, operands: list[Form]) -> Form | None:
    above, below = operands
    if below.shift is not None:
        return None
    if not below.pure:
        return _product(forms, op, [above, forms.as_is(below)])
    inverse = replace(below, terms=tuple(replace(t, power=-t.power) for t in below.terms))
    return None if above.pure else _product(forms, op, [above, inverse])


def _addition(forms: Forms, op: Op, operands: list[Form]) -> Form | None:
    """Terms that all summands share."""
    if any(f.shift is not None or f.pure for f in operands) or len({f.unless for f in operands}) > 1:
        return None
    sides = [forms.carried(op, i, f) for i, f in enumerate(operands)]
    shared = [t for t in sides[0].terms if all(t in side.terms for side in sides)]
    sides = [forms.lost(side, shared) for side in sides]
    masked = any(f.masked for f in sides)
    return Form(max(f.stage for f in sides), tuple(shared), masked=masked, unless=sides[0].unless)


def _subtraction(forms: Forms, op: Op, operands: list[Form]) -> Form | None:
    """An array less its own maximum; else a sum like any other."""
    shift = operands[1].shift
    if shift is None or shift.subtracted or operands[0].shift is not None:
        return _addition(forms, op, operands)
    x, maximum = op.inputs[0], shift.running.maximum
    behind, unless = maximum.inputs[0], None
    homes = _homes(forms, x, behind)
    if homes is None:
        behind, unless = _unmasked_array(forms, behind)
        homes = _homes(forms, x, behind) if behind is not None else None
    if homes is None or x.shape != op.outputs[0].shape:
        return None
    reduced = {int(a) for a in maximum.params["axes"]}
    kept = [axis for axis in range(maximum.inputs[0].ndim) if axis not in reduced]
    pairs = zip(shift.axes, kept, strict=True)
    if any(axis is not None and axis != homes.get(home) for axis, home in pairs):
        return None
    stage = forms.plain(operands[0])
    return Form(stage, shift=replace(shift, subtracted=True), unless=unless)


def _homes(forms: Forms, x: Value, behind: Value) -> dict[int, int] | None:
    """Returns where the axes of the array behind a maximum are in x, if x has the same elements."""
    if same_elements(forms.graph, x, behind):
        return {axis: axis for axis in range(x.ndim)}
    (origin, in_x), (origin_behind, in_behind) = origin_of(forms.graph, x), origin_of(forms.graph, behind)
    if not same_elements(forms.graph, origin, origin_behind):
        return None
    return {in_behind[axis]: in_x[axis] for axis in in_behind}


def _unmasked_array(forms: Forms, masked: Value) -> tuple[Value | None, Mask | None]:
    """Returns an array of which -inf hides some elements, and the mask that says where it can be seen."""
    select = forms.graph.producer.get(masked)
    if isinstance(select, Op) and select.kind == "select_n" and len(select.inputs) == 3:
        for case in (0, 1):
            if fill_of(forms.graph, select.inputs[2 - case]) == MINUS_INFINITY:
                return select.inputs[1 + case], Mask(select.inputs[0], case)
    return None, None


def _exp(forms: Forms, op: Op, operands: list[Form]) -> Form | None:
    (form,) = operands
    if form.shift is None or not form.shift.subtracted:
        return None
    running = form.shift.running
    term = Term(running.root, running.maximum, 1, form.shift.axes)
    return Form(form.stage, (term,), small=True, masked=form.masked, unless=form.unless)


def _select(forms: Forms, op: Op, operands: list[Form]) -> Form | None:
    """A choice between scaled values and zeros; of exponents, between them and -inf."""
    predicate, *cases = operands
    shifted = any(f.shift is not None for f in cases)
    blank = MINUS_INFINITY if shifted else 0
    blanks = [fill_of(forms.graph, v) == blank for v in op.inputs[1:]]
    live = [i for i, is_blank in enumerate(blanks) if not is_blank]
    if not live or any(cases[i].pure for i in live):
        return None
    unless = {_unmasked(op, i, cases[i]) if len(live) == 1 else cases[i].unless for i in live}
    if len(unless) > 1:
        return None
    waited = forms.plain(predicate)
    first = cases[live[0]]
    if shifted:
        shift = first.shift
        if len(live) > 1 or shift is None or not shift.subtracted:
            return None
        return replace(first, stage=max(first.stage, waited), masked=True, unless=unless.pop())
    sides = [forms.carried(op, 1 + i, cases[i]) for i in live]
    shared = [t for t in sides[0].terms if all(t in side.terms for side in sides)]
    sides = [forms.lost(side, shared) for side in sides]
    stage = max(waited, *(f.stage for f in sides))
    small = all(f.small for f in sides)
    return Form(stage, tuple(shared), small=small, masked=True, unless=unless.pop())


def _unmasked(op: Op, case: int, form: Form) -> Mask | None:
    """The mask that is left on the one live case of a `select_n` that hides all others."""
    return None if form.unless == Mask(op.inputs[0], case) else form.unless


RULES: dict[str, Rule] = {
    **dict.fromkeys(MOVES, _move),
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
