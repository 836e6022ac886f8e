"""The native module of memline's kernels: registered with XLA once a process, when it is first asked for."""

from __future__ import annotations

import functools
import importlib
from dataclasses import dataclass

import jax

from memline.options import Options

TOP_K = "memline_top_k"
FRESH = "memline_fresh"
"""What XLA calls the handlers; a compiled program names them."""


@dataclass(frozen=True)
class Native:
    """What native code of memline's a program calls."""

    kernels: bool = False
    """Whether kernels compute what they serve."""
    fresh: bool = False
    """Whether large results of the program are written into arrays that `kernels.fresh` makes."""

    @property
    def inside(self) -> Native:
        """What the bodies of loops and branches call: their results are no results of the program."""
        return Native(self.kernels)


NO_NATIVE = Native()


@functools.cache
def missing() -> str:
    """Returns why this process has no kernels; "" where it has them, and XLA then knows them.

    >>> from memline.kernels import native
    >>> native.missing() in ("", native.NOT_BUILT)
    True
    """
    try:
        module = importlib.import_module("memline.kernels._native")
    except ImportError:
        return NOT_BUILT
    jax.devices("cpu")  # XLA refuses a handler that it does not take at once if it has begun; if not, when it begins
    try:
        for name, handler in ((TOP_K, module.top_k()), (FRESH, module.fresh())):
            jax.ffi.register_ffi_target(name, handler, platform="cpu")
    except Exception as error:  # jaxlib raises several kinds for one that was built for a later version
        return f"this jaxlib does not take memline's native module: {error}"
    return ""


NOT_BUILT = "memline's native module was not built here; pip install . builds it with a C++ compiler"


def not_used(options: Options, platform: str, *, is_spread: bool) -> str:
    """Returns why a program does without memline's kernels; "" where it may have them.

    Args:
      options: its options.
      platform: where it runs.
      is_spread: whether arrays are spread over several devices, over which XLA cannot share out a call of ours.
    """
    if platform != "cpu":
        return f"they are for the CPU, and the program is for {platform}"
    if not options.kernels:
        return "Options(kernels=False)"
    if is_spread:
        return "arrays are spread over several devices"
    return missing()
