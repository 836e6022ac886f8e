"""Packing: the exact static memory allocator. Every buffer gets an offset, no two that live together overlap.

>>> from memline import packing
>>> problem = packing.Problem([packing.Buffer("a", 0, 3, 4), packing.Buffer("b", 2, 9, 4)])
>>> packing.check(problem, packing.Packing((0, 4)))
()
"""

from memline.packing.answer import Answer, Core, Minimum, Overload, Packing, Progress, Status
from memline.packing.check import check, check_answer
from memline.packing.files import read, write
from memline.packing.problem import Buffer, Gap, Pool, Problem
from memline.packing.solve import minimize, pack

__all__ = [
    "Answer",
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
    "minimize",
    "pack",
    "read",
    "write",
]
