"""One way to call one function, with the sizes and the types of its arrays, known to work."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from tests.sweep.arrays import LARGE, SMALL, Spec, sample

BATCH = (24, 21)


@dataclass(frozen=True)
class Drawn:
    """One way to call one function, known to work."""

    name: str
    number: int
    """Which of the function's ways."""
    function: Callable[..., Any]
    specs: tuple[Spec, ...]
    keywords: tuple[tuple[str, Any], ...] = ()
    """What it is called with besides, beyond what the way says."""
    small: tuple[tuple[str, int], ...] = tuple(SMALL.items())
    """The sizes of axes where the call is mapped over a batch."""
    large: tuple[tuple[str, int], ...] = tuple(LARGE.items())
    """The sizes of axes where it is alone."""
    batch: tuple[int, int] = BATCH

    def __str__(self) -> str:
        kinds = ", ".join(map(str, self.specs))
        more = "".join(f", {name}={value}" for name, value in self.keywords)
        sizes = (
            "" if self.large == tuple(LARGE.items()) else f" {_told(self.large)}, {_told(self.small)} x {self.batch}"
        )
        return f"{self.name}#{self.number}({kinds}{more}){sizes}"

    @property
    def wide(self) -> bool:
        """Whether it needs 64-bit types."""
        return any(spec.wide for spec in self.specs)


def _told(sizes: tuple[tuple[str, int], ...]) -> str:
    return " ".join(f"{name}{size}" for name, size in sizes)


def fails(drawn: Drawn) -> str | None:
    """Tells why a call cannot be traced, or None."""
    return _fails(drawn, dict(drawn.small)) or (
        None if drawn.large == tuple(LARGE.items()) else _fails(drawn, dict(drawn.large))
    )


def _fails(drawn: Drawn, sizes: Mapping[str, int]) -> str | None:
    rng = np.random.default_rng(0)
    try:
        with jax.enable_x64(drawn.wide):
            arrays = [sample(spec, sizes, rng) for spec in drawn.specs]
            leaves = jax.tree.leaves(jax.eval_shape(drawn.function, *arrays))
    except Exception as error:  # whatever JAX has against it
        return f"{type(error).__name__}: {' '.join(str(error).split())[:100]}"
    return None if leaves else "it returns no arrays"
