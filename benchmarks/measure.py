"""Measuring the memory a call really takes: the growth of this process's peak resident memory.

Linux keeps the peak of the resident set (`VmHWM`) and lets a process reset it to the present size
by writing 5 to `/proc/self/clear_refs`. Where that file cannot be written, a thread samples the
resident size every millisecond instead, which can miss short peaks; the result says which of the
two was used.

The growth is meaningful only where freed memory has gone back to the system first (memory that
the allocator keeps would be reused without growth), so `peak_growth` asks glibc to release it.
"""

import ctypes
import gc
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from math import inf
from pathlib import Path
from typing import Any

PROC = Path("/proc/self")
SAMPLING_SECONDS = 0.001


@dataclass(frozen=True)
class Growth:
    """How far a call raised the peak over the resident size just before it."""

    bytes: int
    method: str
    """`VmHWM` (exact) or `sampled`."""


def peak_growth(call: Callable[[], Any]) -> tuple[Any, Growth]:
    """Run `call` once; its result, and the growth of peak resident memory while it ran."""
    release_freed_memory()
    if not reset_peak():
        return _sampled_growth(call)
    before = status_bytes("VmRSS")
    result = call()
    return result, Growth(max(0, status_bytes("VmHWM") - before), "VmHWM")


def release_freed_memory() -> None:
    """Collect garbage and have the C allocator hand freed memory back to the system."""
    gc.collect()
    with suppress(OSError, AttributeError):  # another C library: nothing to ask
        ctypes.CDLL("libc.so.6").malloc_trim(0)


def reset_peak() -> bool:
    """Reset the kernel's record of peak resident memory; whether it let us."""
    try:
        (PROC / "clear_refs").write_text("5")
    except OSError:
        return False
    # Some sandboxes accept the write and ignore it.
    return status_bytes("VmHWM") - status_bytes("VmRSS") < 1 << 20


def status_bytes(field: str) -> int:
    """A field of `/proc/self/status` that is given in kB, in bytes."""
    for line in (PROC / "status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"/proc/self/status has no {field}: measuring memory needs Linux")


def available_bytes() -> float:
    """Memory the machine could give to a new process now, within this control group's maximum."""
    return min(_machine_available_bytes(), _group_available_bytes())


def _machine_available_bytes() -> int:
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    raise RuntimeError("/proc/meminfo has no MemAvailable: measuring memory needs Linux")


def _group_available_bytes() -> float:
    """What the control group leaves, as containers see it; infinite where there is no maximum."""
    group = Path("/sys/fs/cgroup")
    try:
        return int((group / "memory.max").read_text()) - int((group / "memory.current").read_text())
    except (OSError, ValueError):  # no such files, or the maximum is "max"
        return inf


def die_first() -> None:
    """Should memory run out, have the kernel end this process and not another one."""
    with suppress(OSError):
        (PROC / "oom_score_adj").write_text("1000")


def _sampled_growth(call: Callable[[], Any]) -> tuple[Any, Growth]:
    page = os.sysconf("SC_PAGE_SIZE")
    statm = PROC / "statm"

    def resident() -> int:
        return int(statm.read_text().split()[1]) * page

    before = highest = resident()
    done = threading.Event()

    def sample() -> None:
        nonlocal highest
        while not done.is_set():
            highest = max(highest, resident())
            time.sleep(SAMPLING_SECONDS)

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    try:
        result = call()
    finally:
        done.set()
        thread.join()
    return result, Growth(max(highest, resident()) - before, "sampled")
