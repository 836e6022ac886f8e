"""How far two results of one program are apart."""

from dataclasses import dataclass
from typing import Any

import jax
import numpy as np


@dataclass(frozen=True)
class Difference:
    """The largest relative difference of the floating leaves, and how many integers differ."""

    largest_relative: float
    integers_differing: int = 0

    def within(self, tolerance: float) -> bool:
        """Whether the results agree: floats to the tolerance, integers exactly."""
        return self.largest_relative <= tolerance and not self.integers_differing


def difference(expected: Any, actual: Any, tied: tuple[tuple[int, int], ...] = ()) -> Difference:
    """Compare two results leaf by leaf: `max|a - b| / max|a|` for floats, equality for integers.

    `tied` holds pairs `(values, indices)` of leaf numbers, as returned by a top-k: an index may
    differ where the values at its place are equal in both results, hence tied.
    """
    ours, theirs = jax.tree.leaves(expected), jax.tree.leaves(actual)
    if len(ours) != len(theirs):
        raise ValueError(f"results have {len(ours)} and {len(theirs)} leaves")
    pairs = [(np.asarray(a), np.asarray(b)) for a, b in zip(ours, theirs, strict=True)]
    for number, (a, b) in enumerate(pairs):
        if a.shape != b.shape or a.dtype != b.dtype:
            raise ValueError(f"leaf {number}: {a.dtype}{a.shape} against {b.dtype}{b.shape}")

    values_of = {indices: values for values, indices in tied}
    relative, integers = 0.0, 0
    for number, (a, b) in enumerate(pairs):
        if np.issubdtype(a.dtype, np.inexact):
            relative = max(relative, relative_difference(a, b))
            continue
        differs = a != b
        if number in values_of:
            values, other_values = pairs[values_of[number]]
            differs &= values != other_values
        integers += int(differs.sum())
    return Difference(relative, integers)


def relative_difference(a: np.ndarray, b: np.ndarray) -> float:
    """`max|a - b| / max|a|`; infinite where one is not finite and the other is something else."""
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    if same.all():
        return 0.0
    if not (np.isfinite(a[~same]).all() and np.isfinite(b[~same]).all()):
        return float("inf")
    scale = np.abs(a[np.isfinite(a)]).max()
    if not scale:
        return float("inf")
    return float(np.abs(a[~same] - b[~same]).max() / scale)
