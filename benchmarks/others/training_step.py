"""Training steps of transformers with `optax.adamw`, and what its first step makes of rounding."""

from collections.abc import Callable
from typing import Any

from benchmarks.programs.program import MIB, Program

FIRST_STEP_TOLERANCE = 1e-2
"""For parameters after a first step of adamw, which is as long for a gradient of rounding as for any other."""


def first_step_note() -> str:
    """Why parameters differ by more than rounding."""
    return (
        "adamw's first step divides each gradient by its own size, so that rounding in the smallest ones shows in "
        "parameters that start at zero; the gradients' averages, which are results too, agree to rounding"
    )


def transformer_step(build: Callable[..., Any], name: str, title: str, *, scanned: bool, limit_mib: int) -> Program:
    """The row of a language model of 12 layers; `build` gives its step and its arguments by `(seed, batch)`."""
    step, make_args = build(layers=12, width=128, heads=4, tokens=128, scanned=scanned)
    return Program(
        name=name,
        title=f"{title}, 64 texts of 128 tokens, width 128, adamw step",
        fun=step,
        make_args=lambda seed: make_args(seed, 64),
        warm_args=lambda: make_args(0, 2),
        limit_bytes=limit_mib * MIB,
        target_ratio=1.15,
        tolerance=FIRST_STEP_TOLERANCE,
        note=first_step_note,
    )
