"""What memline asks of a device, how much memory one has, and with how many threads the CPU computes."""

import functools
import os
from typing import Any, Protocol

import jax

from memline import hostmem
from memline.errors import LimitError


class Device(Protocol):
    """The part of a `jax.Device` that memline uses."""

    @property
    def platform(self) -> str:
        """Such as ``"cpu"``, ``"gpu"`` or ``"tpu"``."""
        ...

    def memory_stats(self) -> dict[str, Any] | None:
        """The allocator's figures, in bytes; None where it keeps none, as on the CPU."""
        ...


def device_bytes(device: Device | None = None) -> int:
    """How much memory a device has, as far as this process may use it.

    An accelerator is asked for the limit of its allocator. CPU devices get the physical memory, or the
    smallest limit of the control groups this process runs in, shared equally among the local CPU devices.

    Args:
        device: the device to ask; by default the first local one.

    Returns:
        Bytes.

    Raises:
        LimitError: the device does not say, so a percentage of it means nothing.

    Example:
        >>> device_bytes() > 0
        True
    """
    asked: Device = jax.local_devices()[0] if device is None else device
    stats = asked.memory_stats()
    if stats and stats.get("bytes_limit"):
        return int(stats["bytes_limit"])
    if asked.platform == "cpu":
        total_bytes = hostmem.usable_bytes()
        if total_bytes is not None:
            return total_bytes // len(jax.local_devices(backend="cpu"))
    raise LimitError(
        f"a percentage needs the memory size of {asked}, and that device does not report one. "
        "Write the limit in bytes, or as text such as '2GiB'."
    )


@functools.cache
def thread_count() -> int:
    """How many threads XLA:CPU computes with.

    Example:
        >>> thread_count() > 0
        True
    """
    for name in ("PJRT_NPROC", "NPROC"):  # what XLA:CPU itself looks at
        if os.environ.get(name, "").isdigit():
            return max(1, int(os.environ[name]))
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
