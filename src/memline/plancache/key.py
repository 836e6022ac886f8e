"""The key of a plan in the cache: a digest of all that the search for it depends on."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
from jaxlib import version as jaxlib_version

from memline import compat
from memline.analysis.fusion import model_for
from memline.analysis.machine import machine_for
from memline.devices import thread_count
from memline.ir.codec import digest
from memline.ir.graph import Graph
from memline.ir.inplace import Takers
from memline.options import Options


@dataclass(frozen=True)
class Circumstances:
    """What a search depends on beside the program."""

    limit_bytes: int
    alias_bytes: int
    donated: tuple[bool, ...]
    platform: str
    options: Options
    compiler_options: dict[str, Any]
    is_spliced: bool = False
    """Whether the plan is for a program inside another one."""
    is_spread: bool = False
    """Whether arrays are spread over several devices."""
    takers: Takers = field(default_factory=dict)
    """Which result takes over which donated argument."""
    kernels: bool = False
    """Whether memline's own kernels are used."""


def key_of(graph: Graph, circumstances: Circumstances) -> str:
    """Returns the key, the same in every process.

    Raises:
      NotPlain: the program holds something of which no stable text can be made.
    """
    asked = {
        **{f.name: getattr(circumstances, f.name) for f in dataclasses.fields(circumstances)},
        "takers": sorted(circumstances.takers.items()),
        "options": {**dataclasses.asdict(circumstances.options), "plan_cache": None},
        "compiler_options": sorted((name, repr(value)) for name, value in circumstances.compiler_options.items()),
    }
    told = [asked, _surroundings(circumstances.platform), digest(graph)]
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def _surroundings(platform: str) -> Sequence[Any]:
    """What the machine, the libraries and their settings have to say in a choice of plan."""
    return (
        own_digest(),
        jax.__version__,
        jaxlib_version.__version__,
        jax.devices(platform)[0].device_kind,
        repr(machine_for(platform)),
        repr(model_for(platform)),
        thread_count(),
        os.environ.get("XLA_FLAGS", ""),
        repr(compat.ambient_context()),
    )


@functools.cache
def own_digest() -> str:
    """Returns a digest that tells this memline from every other one, a working copy that was edited since included."""
    return sources_digest(os.path.dirname(os.path.dirname(__file__)))


def sources_digest(root: str) -> str:
    """Returns a digest of the names, sizes and times of the Python files below a folder.

    To read them all would take five times as long as to ask for that, in every process.
    """
    found: list[tuple[str, int, int]] = []
    folders = [root]
    while folders:
        with os.scandir(folders.pop()) as entries:
            for entry in entries:
                if entry.is_dir():
                    folders.append(entry.path)
                elif entry.name.endswith(".py"):
                    stat = entry.stat()
                    found.append((os.path.relpath(entry.path, root), stat.st_size, stat.st_mtime_ns))
    return hashlib.sha256(json.dumps(sorted(found)).encode()).hexdigest()
