"""Arrays that nobody has written to yet, in huge pages: what large results are written into.

The system hands out the pages of a large new block one by one as they are first touched, each with a page fault. The
kernel here computes nothing: it asks for huge pages within its result, and leaves the result as it is. What else lies
beside the result in memory is not touched, so that a program takes no more than it would have.
"""

from __future__ import annotations

import functools
import math
from pathlib import Path
from typing import Any

import jax
from jax import lax

from memline.compat import itemsize_bytes, wide_enough
from memline.kernels.native import FRESH, Native, not_used
from memline.options import Options

LEAST_BYTES = 1 << 21
"""A huge page. What is smaller has none in it, and the C library keeps its memory from call to call."""
NEVER_KEPT_BYTES = 1 << 25
"""From here on glibc takes fresh pages for every block, and gives them back when it is freed."""
_TYPES = frozenset(
    """bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 bfloat16 float32 float64
    complex64 complex128""".split()
)
"""Those whose size XLA's headers have known from the first on: the handler asks for pages by it."""
_SETTING = Path("/sys/kernel/mm/transparent_hugepage/enabled")


def native_of(options: Options, platform: str, *, is_spread: bool) -> tuple[Native, str]:
    """Returns what native code a program calls, and why it calls no kernels; "" where it may.

    Args:
      options: its options.
      platform: where it runs.
      is_spread: whether arrays are spread over several devices.
    """
    why_not = not_used(options, platform, is_spread=is_spread)
    wanted = huge_pages_on_request() if options.reuse_memory is None else options.reuse_memory
    return Native(kernels=not why_not, fresh=wanted and not why_not), why_not


@functools.cache
def huge_pages_on_request() -> bool:
    """Whether this system gives huge pages to those who ask, and only to those.

    >>> huge_pages_on_request() in (True, False)
    True
    """
    try:
        return "[madvise]" in _SETTING.read_text()
    except OSError:
        return False


def empty(shape: tuple[int, ...], dtype: Any) -> Any:
    """Returns an array of undefined values, to be written over, on the CPU; a small one as JAX makes it.

    Args:
      shape: its shape.
      dtype: its type.
    """
    if str(dtype) not in _TYPES or math.prod(shape) * itemsize_bytes(dtype) < LEAST_BYTES:
        return lax.empty(shape, dtype)
    with wide_enough([dtype]):
        return jax.ffi.ffi_call(FRESH, jax.ShapeDtypeStruct(shape, dtype))()
