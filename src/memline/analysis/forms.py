"""Values as a core times terms: what `analysis.rescale` knows of each value of a region.

A form says in which stage a value's core can be computed, and which terms it lacks. A term is a factor
that is known later, or exp(-m) of a maximum m that is still running.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import jax.numpy as jnp
import numpy as np

from memline.analysis.running import Running
from memline.analysis.spelling import axes_between
from memline.ir.graph import Graph, Op, Value

Axes = tuple[int | None, ...]

MINUS_INFINITY = -math.inf
# Ops that only move elements about. `stop_gradient` is none: what is written beside it is not behind it.
MOVES = frozenset("broadcast_in_dim reshape squeeze transpose expand_dims copy".split())


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


class Forms:
    """The forms of a graph's values, found in program order, and the stages in which values can be read whole."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.of: dict[Value, Form] = {}
        self.whole: dict[Value, int] = {}

    def plain(self, form: Form) -> int:
        """The stage in which a value can be computed as it is written."""
        stage = max((form.stage, *(self.whole[t.value] for t in form.terms)))
        return stage if form.shift is None else max(stage, self.whole[form.shift.running.value])

    def as_is(self, *operands: Form) -> Form:
        """The form of a value that waits for all that its operands wait for."""
        return Form(max((self.plain(f) for f in operands), default=0))

    def lost(self, form: Form, kept: Sequence[Term]) -> Form:
        """Returns the form with only some of its terms; for the others it waits."""
        gone = [self.whole[t.value] for t in form.terms if t not in kept]
        return replace(form, stage=max((form.stage, *gone)), terms=tuple(kept))

    def carried(self, op: Op, position: int, form: Form) -> Form:
        """Returns a form's terms as the op's result has them, by the result's axes; others are waited for."""
        link = axes_between(op, position)
        places = {t: moved(t.axes, link) for t in form.terms}
        bare = self.lost(form, [t for t in form.terms if places[t] is not None])
        return replace(bare, terms=tuple(replace(t, axes=places[t] or ()) for t in bare.terms))


def moved(axes: Axes, link: dict[int, int]) -> Axes | None:
    """Returns where axes end up that an op moves; None if one of them is lost on the way."""
    if any(axis is not None and axis not in link for axis in axes):
        return None
    return tuple(None if axis is None else link[axis] for axis in axes)


def size_axes(v: Value) -> Axes:
    """Returns the axes of a value, None for those of size 1."""
    return tuple(axis if size != 1 else None for axis, size in enumerate(v.shape))


def is_float(v: Value) -> bool:
    """Whether a value holds real floating-point numbers."""
    return v.dtype is not None and jnp.issubdtype(v.dtype, np.floating)
