"""The compiled peak: what XLA's buffer assignment says a compiled program holds at most, and what it does not say."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import jax

from memline.ir.graph import Graph
from memline.verify.hidden import hidden_bytes


@dataclass(frozen=True)
class CompiledPeak:
    """The buffers of a compiled program, in bytes on one device."""

    argument_bytes: int
    output_bytes: int
    temp_bytes: int
    alias_bytes: int
    """Bytes of results that live in donated arguments."""
    hidden_bytes: int = 0
    """Scratch outside XLA's account, estimated: see `memline.verify.hidden`."""

    @property
    def total_bytes(self) -> int:
        """The compiled peak: arguments, results, temporaries and hidden scratch, shared buffers counted once."""
        accounted = self.argument_bytes + self.output_bytes + self.temp_bytes - self.alias_bytes
        return accounted + self.hidden_bytes


def compiled_peak(compiled: Any, graph: Graph | None = None, known: CompiledPeak | None = None) -> CompiledPeak:
    """Returns the compiled peak of a `jax.stages.Compiled`.

    Args:
      compiled: the program.
      graph: what was compiled. Arguments that the program does not use are dropped by XLA and constants
        do not show in its account, but the caller holds both: with the graph they are counted.
      known: the compiled peak of the same program compiled before by the same compiler. Where XLA's account has not
        changed, the hidden scratch of then is taken over: to read it off a big program's text takes a while.
    """
    account = compiled.memory_analysis()
    argument_bytes = int(account.argument_size_in_bytes)
    if graph is not None and not _is_sharded(compiled):
        held = sum(v.size_bytes for v in graph.inputs) + sum(v.size_bytes for v in graph.consts)
        argument_bytes = max(argument_bytes, held)
    peak = CompiledPeak(
        argument_bytes,
        int(account.output_size_in_bytes),
        int(account.temp_size_in_bytes),
        int(account.alias_size_in_bytes),
    )
    if known is not None and replace(known, hidden_bytes=0) == peak:
        return known
    return replace(peak, hidden_bytes=hidden_bytes(compiled)) if _platform(compiled) == "cpu" else peak


def _platform(compiled: Any) -> str:
    for sharding in jax.tree.leaves((_shardings(compiled, "input"), _shardings(compiled, "output"))):
        for device in getattr(sharding, "device_set", ()):
            return device.platform
    return jax.default_backend()


def _shardings(compiled: Any, side: str) -> Any:
    try:
        return getattr(compiled, f"{side}_shardings")
    except ValueError:  # refs that a program closes over or writes into are in no tree of arguments or results
        return ()


def _is_sharded(compiled: Any) -> bool:
    shardings = jax.tree.leaves(_shardings(compiled, "input"))
    return any(len(s.device_set) > 1 for s in shardings if hasattr(s, "device_set"))
