"""Meters for the peak memory of this process, or of an accelerator's allocator, between two moments.

Three ways, best first:

- ``"allocator"``: an accelerator's allocator counts for us (``memory_stats`` of the device).
- ``"high-water mark"``: Linux keeps the highest resident set of a process (``VmHWM``) and resets it to the
  present one when ``5`` is written to ``/proc/self/clear_refs``. Nothing between two moments escapes it.
- ``"sampled"``: where that write is forbidden, a thread reads the resident set about a thousand times a second.
  A peak shorter than that is missed.

Known limits: resident memory has the grain of a page (4 KiB), and Linux 6.2 and later batches its counters, so a
reading may be off by some 128 KiB a core. Pages of library code that run for the first time count as well.
"""

import ctypes
import gc
import os
import threading
from pathlib import Path
from typing import Protocol

from memline.devices import Device
from memline.errors import MeasureError

_STATUS = Path("/proc/self/status")
_CLEAR_REFS = Path("/proc/self/clear_refs")
_STATM = Path("/proc/self/statm")


class Meter(Protocol):
    """Measures between `start` and `stop`; `method` names the way, for reports."""

    method: str

    def start(self) -> int:
        """Begin. Returns the bytes held now, the baseline."""
        ...

    def stop(self) -> int:
        """End. Returns the most bytes held at any moment since `start`, baseline included."""
        ...


class HighWaterMeter:
    """Reads the kernel's own record of the highest resident set."""

    method = "high-water mark"

    def start(self) -> int:
        """Reset the record. Returns the resident bytes now."""
        _CLEAR_REFS.write_text("5")
        return _status_bytes("VmRSS")

    def stop(self) -> int:
        """Returns the highest resident bytes since `start`."""
        return _status_bytes("VmHWM")

    @staticmethod
    def works() -> bool:
        """Whether this system lets a process reset its record, and really resets it."""
        try:
            _CLEAR_REFS.write_text("5")
            # Some sandboxes accept the write and ignore it. A reset record is close to the present.
            return _status_bytes("VmHWM") - _status_bytes("VmRSS") < 2**22
        except (OSError, MeasureError):
            return False


class SamplingMeter:
    """Reads the resident set again and again from a thread.

    Args:
        interval_s: seconds between two readings.
    """

    method = "sampled"

    def __init__(self, interval_s: float = 0.001) -> None:
        self._interval_s = interval_s
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._peak_bytes = 0

    def start(self) -> int:
        """Start the thread. Returns the resident bytes now."""
        self._peak_bytes = baseline_bytes = resident_bytes()
        self._thread.start()
        return baseline_bytes

    def stop(self) -> int:
        """Stop the thread. Returns the highest resident bytes it saw."""
        self._stopping.set()
        self._thread.join()
        return max(self._peak_bytes, resident_bytes())

    def _watch(self) -> None:
        while not self._stopping.wait(self._interval_s):
            self._peak_bytes = max(self._peak_bytes, resident_bytes())


class AllocatorMeter:
    """Asks an accelerator's allocator. Its record cannot be reset, so use it in a fresh process.

    Args:
        device: the device to ask; its `memory_stats` must report ``bytes_in_use`` and ``peak_bytes_in_use``.
    """

    method = "allocator"

    def __init__(self, device: Device) -> None:
        self._device = device

    def start(self) -> int:
        """Returns the bytes allocated now."""
        return self._stat("bytes_in_use")

    def stop(self) -> int:
        """Returns the most bytes allocated since the process began: an upper bound of the peak since `start`."""
        return self._stat("peak_bytes_in_use")

    def _stat(self, name: str) -> int:
        return int((self._device.memory_stats() or {})[name])


def best_meter(device: Device) -> Meter:
    """The most exact meter for programs on `device`.

    Args:
        device: where the program runs.

    Raises:
        MeasureError: this system offers no way to measure.

    Example:
        >>> import jax
        >>> meter = best_meter(jax.local_devices(backend="cpu")[0])
        >>> baseline_bytes = meter.start()
        >>> block = bytearray(b"1" * 2**26)
        >>> meter.stop() - baseline_bytes >= 2**26
        True
    """
    stats = device.memory_stats() or {}
    if {"bytes_in_use", "peak_bytes_in_use"} <= stats.keys():
        return AllocatorMeter(device)
    if device.platform != "cpu":
        raise MeasureError(f"{device} does not report its allocations, so a peak on it cannot be measured.")
    if HighWaterMeter.works():
        return HighWaterMeter()
    resident_bytes()  # raises where there is nothing to sample
    return SamplingMeter()


def resident_bytes() -> int:
    """The resident set of this process now, in bytes.

    Raises:
        MeasureError: this system has no ``/proc/self/statm``.
    """
    try:
        pages = int(_STATM.read_text().split()[1])
    except OSError as error:
        raise MeasureError(
            f"measuring on the CPU needs Linux's /proc: {error}. "
            "The compiled peak, memory_analysis(), works everywhere."
        ) from error
    return pages * os.sysconf("SC_PAGE_SIZE")


def return_memory_at_once() -> None:
    """Make the C library give freed blocks of 128 KiB and more straight back to the system, until `keep_memory`.

    Call it early. By itself the C library keeps such blocks, up to 64 MiB for each of its arenas, and a program
    that grew into them would seem smaller than it is: a 4 MiB result would measure as nothing.
    """
    _set_malloc_thresholds(mmap_bytes=2**17, trim_bytes=2**17)


def keep_memory() -> None:
    """Empty the C library's pools, then let it keep freed blocks again, as it does in any process that has run
    for a while: each call of a program would otherwise pay for fresh pages, and its times would mislead."""
    gc.collect()
    _call_malloc("malloc_trim", 0)
    _set_malloc_thresholds(mmap_bytes=2**25, trim_bytes=2**26)  # where glibc's own adaptation ends


def _set_malloc_thresholds(mmap_bytes: int, trim_bytes: int) -> None:
    m_trim_threshold, m_mmap_threshold = -1, -3  # from malloc.h
    _call_malloc("mallopt", m_mmap_threshold, mmap_bytes)
    _call_malloc("mallopt", m_trim_threshold, trim_bytes)


def _call_malloc(function: str, *numbers: int) -> None:
    """Call a GNU extension of the C library's allocator; elsewhere do nothing, and memory stays as it is."""
    try:
        getattr(ctypes.CDLL(None), function)(*numbers)
    except (AttributeError, OSError, TypeError):
        return


def _status_bytes(field: str) -> int:
    """A field of /proc/self/status, which writes them in units of 1024 bytes."""
    for line in _STATUS.read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise MeasureError(f"this system's /proc/self/status has no {field}.")
