"""The tables of rules, and the vocabulary that rules are written in.

A rule for *axes* lists an op's `Dim`s. A `Dim` is one direction in which the op's work can be cut:
which axes of operands and results run along it together. Step i of a dim covers elements
[i * unit, (i + 1) * unit) of each member axis; every member's size is `steps * unit`. A dim whose
`fold` is None is *parallel*: results at step i need the member operands only at step i. Otherwise the
dim is *folded*: it has no results, and partial results over chunks of steps are merged by the fold.
An operand that is not a member of a dim is needed whole at every step of it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from memline.ir.graph import Op

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Member:
    """One axis of one operand or result that runs along a dim, `unit` elements a step."""

    position: int
    axis: int
    unit: int = 1


@dataclass(frozen=True)
class Dim:
    """One direction in which an op can be cut."""

    operands: tuple[Member, ...]
    results: tuple[Member, ...] = ()
    fold: str | None = None

    def scaled(self, factor: int) -> Dim:
        """Returns the same dim with `factor` of its steps taken as one."""

        def grow(members: tuple[Member, ...]) -> tuple[Member, ...]:
            return tuple(Member(m.position, m.axis, m.unit * factor) for m in members)

        return Dim(grow(self.operands), grow(self.results), self.fold)


AxesRule = Callable[[Op], Sequence[Dim]]
ResizeRule = Callable[[Op, Sequence[Shape], Sequence[Shape]], dict[str, Any]]
LocalRule = Callable[..., Any]
FlopsRule = Callable[[Op], float]
_R = TypeVar("_R", bound=Callable[..., Any])

_axes: dict[Any, AxesRule] = {}
_resize: dict[Any, ResizeRule] = {}
_local: dict[Any, LocalRule] = {}
_flops: dict[Any, FlopsRule] = {}


def axes(*primitives: Any) -> Callable[[_R], _R]:
    """Registers the rule that lists an op's dims: `rule(op) -> [Dim, ...]`."""
    return _registrar(_axes, primitives)


def resize(*primitives: Any) -> Callable[[_R], _R]:
    """Registers the rule that makes an op's params for other sizes.

    `rule(op, operand_shapes, result_shapes) -> params`, with the shapes that the cut op shall have.
    Without a rule the params are taken over, which is right when they hold no shape.
    """
    return _registrar(_resize, primitives)


def local(*primitives: Any) -> Callable[[_R], _R]:
    """Registers the rule for an op whose value depends on where along the axis it is computed.

    `rule(cut, whole, member, start, *operands) -> results` is plain JAX, run in the loop instead of the
    op: `cut` has the cut params, `whole` is the op as it was, `member` is the result's member and `start`
    its first element's index.
    """
    return _registrar(_local, primitives)


def flops(*primitives: Any) -> Callable[[_R], _R]:
    """Registers the rule that counts an op's floating-point operations: `rule(op) -> float`."""
    return _registrar(_flops, primitives)


def _registrar(table: dict[Any, Any], primitives: Sequence[Any]) -> Callable[[_R], _R]:
    def register(rule: _R) -> _R:
        for primitive in primitives:
            if primitive in table:
                raise ValueError(f"{primitive} has a rule already: {table[primitive].__name__}")
            table[primitive] = rule
        return rule

    return register


def dims_of(op: Op) -> tuple[Dim, ...]:
    """Returns the dims of an op; none for a primitive without a rule, or one with side effects."""
    rule = _axes.get(op.primitive)
    if rule is None or op.effects:
        return ()
    return tuple(rule(op))


def has_axes_rule(primitive: Any) -> bool:
    """Tells whether memline knows how the primitive's axes hang together."""
    return primitive in _axes


def resized_params(op: Op, operand_shapes: Sequence[Shape], result_shapes: Sequence[Shape]) -> dict[str, Any]:
    """Returns the op's params for operands and results of other sizes."""
    rule = _resize.get(op.primitive)
    return op.params if rule is None else rule(op, operand_shapes, result_shapes)


def local_rule(primitive: Any) -> LocalRule | None:
    """Returns the rule that computes the op at an offset, for primitives that need one."""
    return _local.get(primitive)


def flops_of(op: Op) -> float:
    """Returns the op's floating-point operations; by default one for each element of its results."""
    rule = _flops.get(op.primitive)
    if rule is not None:
        return rule(op)
    return float(sum(math.prod(v.shape) for v in op.outputs))


def registered_primitives() -> tuple[Any, ...]:
    """Returns every primitive with an axes rule, sorted by name."""
    return tuple(sorted(_axes, key=lambda primitive: primitive.name))
