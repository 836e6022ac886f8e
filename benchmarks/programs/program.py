"""What a benchmark program is: a function, its inputs, a memory limit and a target time."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

MIB = 1 << 20


@dataclass(frozen=True)
class Rival:
    """Another way to a program's result, timed beside it."""

    name: str
    prepare: Callable[..., Callable[[], Any]]
    """Takes the inputs and returns what is timed; an `ImportError` says that a package is not installed."""
    target_ratio: float
    """The largest acceptable time of memline over the rival's."""


@dataclass(frozen=True)
class Program:
    """One row of the benchmark table.

    `make_args` builds the full-size inputs from a seed, as NumPy arrays; `warm_args` builds inputs
    of the same structure with small shapes, on which a process warms up before it is measured.
    """

    name: str
    title: str
    fun: Callable[..., Any]
    make_args: Callable[[int], tuple]
    warm_args: Callable[[], tuple]
    limit_bytes: int
    """The memory limit; on top of the arguments where `limit_over_arguments` is set."""
    target_ratio: float
    """The largest acceptable time of memline over the time of plain `jax.jit`."""
    limit_over_arguments: bool = False
    most_temp_bytes: int | None = None
    """The largest acceptable temporaries of memline by XLA's account; None for any."""
    most_temp_share: float | None = None
    """The same as a share of those of plain `jit`, compiled without library fusions."""
    x64: bool = False
    tolerance: float = 1e-4
    """The largest relative difference that still counts as the same result."""
    tied: tuple[tuple[int, int], ...] = ()
    """Pairs `(values, indices)` of output leaves: indices may differ where values tie."""
    note: Callable[[], str] | None = None
    """Anything the reader of the result must know about the inputs."""
    plain_fits: bool = False
    """Whether plain `jit` is known to fit, although without library fusions its account does not."""
    rivals: tuple[Rival, ...] = ()
    """What else is timed in the same process, turn by turn."""

    def limit(self, argument_bytes: int) -> int:
        """The limit in bytes on arguments, outputs and temporaries together."""
        return self.limit_bytes + argument_bytes * self.limit_over_arguments

    def temp_limit_bytes(self, honest_temp_bytes: int) -> int | None:
        """The largest acceptable temporaries where plain `jit` accounts for so many; None for any."""
        if self.most_temp_share is not None:
            return int(self.most_temp_share * honest_temp_bytes)
        return self.most_temp_bytes

    @property
    def limit_text(self) -> str:
        """The limit as the table shows it."""
        text = f"{self.limit_bytes / MIB:g} MiB"
        return f"arguments + {text}" if self.limit_over_arguments else text


RELU_TOLERANCE = 1e-2
"""For gradients through ReLU: they jump where rounding carries a pre-activation across zero."""


def relu_note() -> str:
    """Why results through ReLU differ by more than rounding."""
    return (
        "ReLU's gradient jumps where rounding carries a pre-activation across zero; "
        "plain jit in float32 is itself that far from float64"
    )


def argument_bytes(args: Any) -> int:
    """Bytes held by the array leaves of `args`."""
    return sum(np.asarray(leaf).nbytes for leaf in jax.tree.leaves(args))


def normal(rng: np.random.Generator, *shape: int, scale: float = 1.0) -> np.ndarray:
    """Normally distributed float32 values."""
    return rng.standard_normal(shape, dtype=np.float32) * np.float32(scale)
