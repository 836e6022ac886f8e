"""memline compiles JAX programs under a memory limit: `memline.jit(fun, memory_limit="512MiB")`."""

from memline import rules as rules
from memline.api import curve, jit, limit, plan
from memline.errors import (
    ArgumentError,
    LimitError,
    MeasureError,
    MemlineError,
    MemoryLimitError,
    MissingPackageError,
    PlanError,
)
from memline.options import Options
from memline.plan.moves import Compile, Keep, Recompute, Rewrite, SlimTape, SplitAxis, TurnProducts
from memline.plan.plan import Plan
from memline.tradeoff.curve import Curve, Point

__version__ = "0.1.0"

__all__ = [
    "ArgumentError",
    "Compile",
    "Curve",
    "Keep",
    "LimitError",
    "MeasureError",
    "MemlineError",
    "MemoryLimitError",
    "MissingPackageError",
    "Options",
    "Plan",
    "PlanError",
    "Point",
    "Recompute",
    "Rewrite",
    "SlimTape",
    "SplitAxis",
    "TurnProducts",
    "curve",
    "jit",
    "limit",
    "plan",
]
