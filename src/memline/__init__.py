"""memline compiles JAX programs under a memory limit: `memline.jit(fun, memory_limit="512MiB")`."""

from memline import rules as rules
from memline.api import jit, limit, plan
from memline.errors import (
    ArgumentError,
    LimitError,
    MeasureError,
    MemlineError,
    MemoryLimitError,
    PlanError,
)
from memline.options import Options
from memline.plan.moves import Compile, Keep, Recompute, SplitAxis, TurnProducts
from memline.plan.plan import Plan

__version__ = "0.1.0"

__all__ = [
    "ArgumentError",
    "Compile",
    "Keep",
    "LimitError",
    "MeasureError",
    "MemlineError",
    "MemoryLimitError",
    "Options",
    "Plan",
    "PlanError",
    "Recompute",
    "SplitAxis",
    "TurnProducts",
    "jit",
    "limit",
    "plan",
]
