"""What becomes of donated arguments: which results take over their memory, and which donations nobody uses.

JAX gives the memory of a donated array to a result of the same shape and type, first come first served, then what is
left of both to each other where they have equally many elements of the same width. An array that the program does not
read is not passed to it. A donation that no result can take over frees nothing: the array stays in memory.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from memline.ir.graph import Graph, Value
from memline.ir.inplace import takeovers
from memline.units import format_bytes


@dataclass(frozen=True)
class Donations:
    """The donated arguments of one program.

    Attributes:
      graph: the program.
      flags: for each of its inputs, whether it is donated.
      keep_unused: whether arguments that the program does not read are passed to it all the same.
    """

    graph: Graph
    flags: tuple[bool, ...]
    keep_unused: bool = False

    @property
    def takers(self) -> dict[int, int]:
        """Which result takes over which donated argument: places among the graph's outputs and inputs."""
        offered = [index for index, _ in self._donated() if self._is_passed(index)]
        found: dict[int, int] = {}
        for key in (lambda v: (v.shape, v.dtype), lambda v: (math.prod(v.shape), v.size_bytes)):
            left: dict[Any, list[int]] = {}
            for index in offered:
                if index not in found.values():
                    left.setdefault(key(self.graph.inputs[index]), []).append(index)
            for index, v in enumerate(self.graph.outputs):
                if index not in found and left.get(key(v)):
                    found[index] = left[key(v)].pop(0)
        return found

    @property
    def shared_bytes(self) -> int:
        """The bytes of results that live in donated arguments."""
        return sum(self.graph.outputs[index].size_bytes for index in self.takers)

    def unused(self, names: Sequence[str] = ()) -> tuple[str, ...]:
        """Returns a sentence for each donated argument whose memory no result takes over.

        Args:
          names: how the user calls each input; without a name, the place of its leaf is told.

        >>> import jax.numpy as jnp
        >>> from memline.ir.trace import trace
        >>> graph = trace(lambda a, b: (a + 1, b.sum()), jnp.ones(1000), jnp.ones((1000, 2)))
        >>> Donations(graph, (True, True)).unused(("a", "b"))
        ('donating b (float32[1000,2], 7.81 KiB) frees nothing: no result of its size is left to take it over',)
        """
        taken = set(self.takers.values())
        sentences = []
        for index, v in self._donated():
            if index in taken:
                continue
            why = "no result of its size is left to take it over"
            if not self._is_passed(index):
                why = "the program does not read it"
            sentences.append(f"donating {_text(v, index, names)} frees nothing: {why}")
        return tuple(sentences)

    def written_over(self, planned: Graph, names: Sequence[str] = ()) -> tuple[str, ...]:
        """Returns sentences on the donated arguments that loops of the planned program write over, or cannot.

        Args:
          planned: what became of the program.
          names: how the user calls each input.
        """
        found = takeovers(planned, self.takers)
        places = {v: index for index, v in enumerate(planned.inputs)}
        over = [each.argument for each in found if not each.objection]
        sentences = []
        if over:
            count = f"{len(over)} donated argument{'s are' if len(over) > 1 else ' is'}"
            size = format_bytes(sum(v.size_bytes for v in over))
            sentences.append(f"{count} written over in place, chunk by chunk: {size} that no loop holds twice")
        sentences += [
            f"the donated {_text(each.argument, places[each.argument], names)} is copied: {each.objection}"
            for each in found
            if each.objection
        ]
        return tuple(sentences)

    def _donated(self) -> list[tuple[int, Value]]:
        pairs = zip(self.graph.inputs, self.flags, strict=False)
        return [(index, v) for index, (v, is_donated) in enumerate(pairs) if is_donated]

    def _is_passed(self, index: int) -> bool:
        v = self.graph.inputs[index]
        return self.keep_unused or v in self.graph.consumers or v in self.graph.outputs


def _text(v: Value, index: int, names: Sequence[str]) -> str:
    name = names[index] if index < len(names) and names[index] else f"argument leaf {index}"
    return f"{name} ({v.aval.str_short()}, {format_bytes(v.size_bytes)})"
