"""Packing: the exact static memory allocator. Every buffer gets an offset, no two that live together overlap.

>>> from memline import packing
>>> problem = packing.Problem([packing.Buffer("a", 0, 3, 4), packing.Buffer("b", 2, 9, 4)])
>>> packing.check(problem, packing.Packing((0, 4)))
()
"""

from typing import TYPE_CHECKING, Any

from memline.packing.answer import Answer, Core, Minimum, Overload, Packing, Progress, Status
from memline.packing.check import check, check_answer
from memline.packing.files import read, write
from memline.packing.problem import Buffer, Gap, Pool, Problem
from memline.packing.solve import minimize, pack
from memline.packing.xla import Assignment

if TYPE_CHECKING:
    from memline.packing.programs import from_jax, xla_assignment

__all__ = [
    "Answer",
    "Assignment",
    "Buffer",
    "Core",
    "Gap",
    "Minimum",
    "Overload",
    "Packing",
    "Pool",
    "Problem",
    "Progress",
    "Status",
    "check",
    "check_answer",
    "from_jax",
    "minimize",
    "pack",
    "read",
    "write",
    "xla_assignment",
]


def __getattr__(name: str) -> Any:
    if name not in ("from_jax", "xla_assignment"):
        raise AttributeError(f"module 'memline.packing' has no attribute {name!r}")
    from memline.packing import programs  # only here: all else does without JAX

    return getattr(programs, name)
