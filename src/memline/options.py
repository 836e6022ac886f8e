"""Every option in one frozen value that travels with a call: there are no global switches."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass, fields

from memline.errors import ArgumentError


@dataclass(frozen=True)
class Options:
    """How memline plans; every field has a default that suits most programs.

    Args:
      max_compiles: at most so many plans are compiled on the way to the limit; at least 1. Where none of them meets
        it, one more is, the smallest that is found, and where plans help little, the program as written as well.
      honest_accounting: on CPU, compile with XLA's library fusions off, for they allocate memory that no
        account shows. Switch it off only if you measure the peak yourself.
      split_for_speed: a program that fits its limit is still split if the estimated time falls below
        this share of the whole program's; 0 leaves every program that fits alone.
      max_moves: at most so many moves in one plan.
      plain_below: a program all of whose values together take less than this share of the limit is compiled as plain
        `jax.jit` does it, without a search; 0 searches for every program. Values together are more than any peak,
        but for scratch memory that libraries take: leave that some room, as 1/16 does.
      plan_cache: a folder in which plans are kept, so that a process does not search for what another one has
        found; it is made when first written to. "" for none; None for what the environment variable
        MEMLINE_PLAN_CACHE says, and none where it is not set. Whoever may write there decides what runs.
      tune_seconds: for how long, when a program is first compiled, it may be compiled and run under strategies of
        XLA's own (vector width, whole loops as one function, and so on) to find the fastest; 0 tries none. It runs on
        the arguments of that first call, or on made-up ones where only shapes are given (those are allocated then).
      rewrites: what rewriting the program may do to its results: "exact" for nothing, "reassociates" for the same
        terms added or multiplied in another order, "approximate" for an error of the rewriting's own, but no greater
        than `rtol`; any of the three, in any order. () runs the program's arithmetic as it is written.
      rtol: how large that error may be, relative to a result's largest element; None for the usual tolerance of the
        result's type, 64 units of rounding (4 for types of 16 bits and less).
      kernels: on CPU, compute with memline's own kernels what XLA computes slowly there: `lax.top_k`, with the same
        results bit for bit. Switch it off for a program that is saved and loaded where memline is not.
      reuse_memory: on CPU, write large results into huge pages, which the system hands out in a fraction of the time
        that ordinary ones take; None where this system has them for those who ask, False nowhere. It takes memline's
        own native code, as `kernels` does, and takes no more memory. See docs/reuse.md.

    Raises:
      ArgumentError: a field is out of its range.

    >>> Options(max_compiles=2).max_compiles
    2
    """

    max_compiles: int = 4
    honest_accounting: bool = True
    split_for_speed: float = 0.6
    max_moves: int = 64
    plain_below: float = 0.0
    plan_cache: str | None = None
    tune_seconds: float = 0.0
    rewrites: tuple[str, ...] = ("exact", "reassociates", "approximate")
    rtol: float | None = None
    kernels: bool = True
    reuse_memory: bool | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.max_compiles, int) or self.max_compiles < 1:
            raise ArgumentError(f"max_compiles is a whole number from 1, not {self.max_compiles!r}")
        if not isinstance(self.max_moves, int) or self.max_moves < 1:
            raise ArgumentError(f"max_moves is a whole number from 1, not {self.max_moves!r}")
        if not isinstance(self.split_for_speed, int | float) or not 0 <= self.split_for_speed <= 1:
            raise ArgumentError(f"split_for_speed is a share from 0 to 1, not {self.split_for_speed!r}")
        if not isinstance(self.plain_below, int | float) or not 0 <= self.plain_below <= 1:
            raise ArgumentError(f"plain_below is a share from 0 to 1, not {self.plain_below!r}")
        if isinstance(self.plan_cache, os.PathLike):
            object.__setattr__(self, "plan_cache", os.fspath(self.plan_cache))
        if self.plan_cache is not None and not isinstance(self.plan_cache, str):
            raise ArgumentError(f"plan_cache is the path of a folder, not {self.plan_cache!r}")

        if (
            isinstance(self.tune_seconds, bool)
            or not isinstance(self.tune_seconds, int | float)
            or not 0 <= self.tune_seconds < math.inf
        ):
            raise ArgumentError(f"tune_seconds is a number of seconds from 0, not {self.tune_seconds!r}")
        known = ("exact", "reassociates", "approximate")
        if not isinstance(self.rewrites, list | tuple) or not all(kind in known for kind in self.rewrites):
            raise ArgumentError(f"rewrites are any of {', '.join(known)}, not {self.rewrites!r}")
        object.__setattr__(self, "rewrites", tuple(kind for kind in known if kind in self.rewrites))
        if self.rtol is not None and (
            isinstance(self.rtol, bool) or not isinstance(self.rtol, int | float) or not 0 <= self.rtol < math.inf
        ):
            raise ArgumentError(f"rtol is a number from 0, or None, not {self.rtol!r}")
        if not isinstance(self.kernels, bool):
            raise ArgumentError(f"kernels is True or False, not {self.kernels!r}")
        if self.reuse_memory is not None and not isinstance(self.reuse_memory, bool):
            raise ArgumentError(f"reuse_memory is True, False or None, not {self.reuse_memory!r}")

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """Returns the names of all options."""
        return tuple(f.name for f in fields(cls))
