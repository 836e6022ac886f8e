"""Ways to call a function: what arrays it takes, and what else."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tests.sweep.arrays import Spec


@dataclass(frozen=True)
class Way:
    """One way to call a function: specs of its arrays, and a call that is given the function and the arrays."""

    specs: tuple[Spec, ...]
    call: Callable[..., Any]

    def bound(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Returns the function of the arrays alone."""
        call = self.call
        return lambda *arrays: call(function, *arrays)


def way(*specs: str, **keywords: Any) -> Way:
    """A call with the arrays in order, and keywords."""
    return Way(tuple(map(Spec.parse, specs)), lambda f, *xs: f(*xs, **keywords))


def by(call: Callable[..., Any], *specs: str) -> Way:
    """A call of any other form."""
    return Way(tuple(map(Spec.parse, specs)), call)


def unpacked(*specs: str, **keywords: Any) -> Way:
    """A call with the arrays as one list."""
    return Way(tuple(map(Spec.parse, specs)), lambda f, *xs: f(list(xs), **keywords))


Table = dict[str, tuple[Way, ...]]
"""The ways to call each function, by its name."""
