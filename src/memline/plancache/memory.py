"""What is remembered of a search: the plan, the program that it makes, and XLA's account of that program.

Nothing here may stop a call: what cannot be read or kept is told in the plan's notes, and searched for again.
"""

from __future__ import annotations

import dataclasses
import json
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from memline.errors import PlanError
from memline.ir.codec import decode, encode
from memline.ir.graph import Graph
from memline.ir.plain import NotPlain
from memline.plan.apply import apply_moves
from memline.plan.plan import Plan
from memline.plancache.key import Circumstances, key_of
from memline.plancache.store import Store, Unusable
from memline.verify.compiled import CompiledPeak


@dataclass(frozen=True, eq=False)
class Recalled:
    """What an earlier process found for the same program under the same circumstances."""

    plan: Plan
    graph: Graph
    peak: CompiledPeak


class Memory:
    """What the cache knows of one program.

    Args:
      graph: the program as it was written.
      asked: what else the search depends on; its options name the cache's folder, or none.
    """

    def __init__(self, graph: Graph, asked: Circumstances) -> None:
        folder = asked.options.plan_cache
        self._store = Store(Path(folder or "").expanduser())
        self._graph = graph
        self._limit_bytes = asked.limit_bytes
        self._key: str | None = None
        self.notes: list[str] = []
        """What is to be told in the plan's notes."""
        if not folder:
            return
        if asked.is_spread:
            self.notes.append("not kept in the plan cache: arrays are spread over several devices")
            return
        try:
            self._key = key_of(graph, asked)
        except NotPlain as error:
            self.notes.append(f"not kept in the plan cache: {error}")

    def recall(self) -> Recalled | None:
        """Returns what is remembered of the program, or None; nothing is compiled."""
        try:
            body = None if self._key is None else self._store.read(self._key)
            if body is None:
                return None
            recalled = self._recalled(json.loads(zlib.decompress(body)))
        except (Unusable, NotPlain, PlanError, LookupError, TypeError, ValueError, zlib.error) as error:
            self.notes.append(f"the plan cache was of no use: {error}")
            return None
        self.notes.append(f"found in the plan cache; the search took {recalled.plan.planning_seconds:.2f} s")
        return recalled

    def keep(self, plan: Plan, graph: Graph, peak: CompiledPeak) -> None:
        """Remembers what was found.

        Args:
          plan: the plan.
          graph: the program that it makes.
          peak: the compiled peak of that program.
        """
        if self._key is None:
            return
        entry = {"plan": plan.to_json(), "program": self._told(graph), "peak": dataclasses.asdict(peak)}
        try:
            self._store.write(self._key, zlib.compress(json.dumps(entry, separators=(",", ":")).encode(), 1))
        except Unusable as error:
            self.notes.append(f"not kept in the plan cache: {error}")

    def _told(self, graph: Graph) -> Any:
        """Returns the program as data, "as written", or "by its moves" where data cannot tell it."""
        if graph is self._graph:
            return "as written"
        try:
            return encode(graph, self._graph)
        except NotPlain:
            return "by its moves"

    def _recalled(self, entry: Any) -> Recalled:
        plan = Plan.from_json(entry["plan"])
        if plan.limit_bytes != self._limit_bytes:
            raise PlanError("its entry is for another limit")
        told = entry["program"]
        if told == "as written":
            graph = self._graph
        elif told == "by its moves":
            graph = apply_moves(self._graph, plan.moves)
        else:
            graph = decode(told, self._graph)
        return Recalled(plan, graph, CompiledPeak(**entry["peak"]))
