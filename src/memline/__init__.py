"""memline compiles JAX programs under a memory limit: `memline.jit(fun, memory_limit="512MiB")`.

The public names are loaded when they are first asked for, so that what needs no JAX (`memline pack`) does not wait for
it.
"""

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from memline import packing as packing
    from memline import rules as rules
    from memline.api import curve, jit, limit, plan, report
    from memline.errors import (
        ArgumentError,
        LimitError,
        MeasureError,
        MemlineError,
        MemoryLimitError,
        MissingPackageError,
        PackingError,
        PlanError,
        ReportError,
    )
    from memline.options import Options
    from memline.plan.moves import Compile, Keep, Recompute, Rewrite, SlimTape, SplitAxis, TurnProducts
    from memline.plan.plan import Plan
    from memline.report.report import Report
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
    "PackingError",
    "Plan",
    "PlanError",
    "Point",
    "Recompute",
    "Report",
    "ReportError",
    "Rewrite",
    "SlimTape",
    "SplitAxis",
    "TurnProducts",
    "curve",
    "jit",
    "limit",
    "plan",
    "report",
]

_HOMES = {
    **dict.fromkeys(("curve", "jit", "limit", "plan", "report"), "memline.api"),
    **dict.fromkeys((name for name in __all__ if name.endswith("Error")), "memline.errors"),
    **dict.fromkeys(
        ("Compile", "Keep", "Recompute", "Rewrite", "SlimTape", "SplitAxis", "TurnProducts"), "memline.plan.moves"
    ),
    **dict.fromkeys(("Curve", "Point"), "memline.tradeoff.curve"),
    "Options": "memline.options",
    "Plan": "memline.plan.plan",
    "Report": "memline.report.report",
}
_MODULES = {"packing", "rules"}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return importlib.import_module(f"memline.{name}")
    if name not in _HOMES:
        raise AttributeError(f"module 'memline' has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_MODULES})


class _Package(ModuleType):
    """Keeps `memline.plan` and `memline.report` functions: imported, the packages of these names would replace them."""

    def __setattr__(self, name: str, value: Any) -> None:
        if not (name in _HOMES and isinstance(value, ModuleType)):
            super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Package
