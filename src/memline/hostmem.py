"""How much host memory this process may use: physical memory, or less where a control group says so."""

import os
from pathlib import Path


def usable_bytes(root: Path = Path("/")) -> int | None:
    """The most memory this process may ever hold: physical memory under every control group limit above it.

    Args:
        root: where ``proc`` and ``sys`` are looked for; tests put a made-up tree there.

    Returns:
        Bytes, or None on a system that does not say.

    Example:
        >>> usable_bytes() > 2**20
        True
    """
    known = [n_bytes for n_bytes in (_physical_bytes(), _cgroup_bytes(root)) if n_bytes is not None]
    return min(known, default=None)


def _physical_bytes() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):  # no sysconf on Windows, or it lacks these names
        return None


def _cgroup_bytes(root: Path) -> int | None:
    """The smallest limit of this process's memory control groups, version 2 and version 1."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return None
    limits: list[int] = []
    for line in lines:
        _, controllers, group = line.split(":", 2)
        if controllers == "":
            limits += _limits_upwards(root / "sys/fs/cgroup", group, "memory.max")
        elif "memory" in controllers.split(","):
            limits += _limits_upwards(root / "sys/fs/cgroup/memory", group, "memory.limit_in_bytes")
    return min(limits, default=None)


def _limits_upwards(mount: Path, group: str, name: str) -> list[int]:
    """Limits of a group and of all groups above it: a child may not use more than its parents allow."""
    path = mount / group.strip("/")
    limits: list[int] = []
    # Inside a container the group's own path is often not mounted; its root, which is always tried, is.
    for folder in [path, *path.parents]:
        if not folder.is_relative_to(mount):
            break
        try:
            text = (folder / name).read_text().strip()
        except OSError:
            continue
        if text.isdigit():  # "max" means no limit
            limits.append(int(text))
    return limits
