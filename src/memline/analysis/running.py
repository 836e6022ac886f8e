"""What a region says of maxima that are read while they still run, and of the sums that make up for it.

Plain data, made by `analysis.rescale`, carried by `analysis.axes.Region`, acted on by `passes.online`.
"""

from __future__ import annotations

from dataclasses import dataclass

from memline.ir.graph import Op, Value


@dataclass(frozen=True, eq=False)
class Running:
    """A value that follows from a maximum by small ops, so that it can be had of a running maximum too."""

    maximum: Op
    """The `reduce_max` that the region folds."""
    value: Value
    root: Value
    """The last value on the way from the maximum that differs from it in numbers, or in what gradients it lets
    pass; what comes after only moves elements about."""
    ops: tuple[Op, ...]
    """The ops from the maximum to `value`, in program order."""
    axes: tuple[int | None, ...]
    """For each axis of the maximum, the one of `value` that runs along it; None for an axis of size 1."""

    @property
    def whole_operands(self) -> tuple[Value, ...]:
        """What the ops read beside the maximum and each other."""
        made = {self.maximum.outputs[0], *(v for op in self.ops for v in op.outputs)}
        found = dict.fromkeys(v for op in self.ops for v in op.inputs)
        return tuple(v for v in found if v not in made and not (v.is_const and v.ndim == 0))


@dataclass(frozen=True, eq=False)
class Rescale:
    """A folded sum that holds the factor exp(-power * root) while the maximum behind `root` is still running."""

    root: Running
    power: int
    axes: tuple[int | None, ...]
    """For each axis of the maximum, the one of the sum that runs along it; None for an axis of size 1."""
    masked: bool
    """Whether some summands may be zeros put in the place of what was computed."""
