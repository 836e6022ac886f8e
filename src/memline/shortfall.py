"""Why a limit cannot be met, and what the user can do: the errors of programs that do not fit."""

from __future__ import annotations

from collections.abc import Sequence

from memline.errors import MemoryLimitError
from memline.ir.graph import Graph, Loop, Node, Value
from memline.plan.search import Outcome
from memline.units import format_bytes


def held_bytes(graph: Graph) -> tuple[int, int]:
    """Returns the bytes of arguments and of results, each once."""
    arguments = sum(v.size_bytes for v in (*graph.inputs, *graph.consts))
    return arguments, sum(v.size_bytes for v in set(graph.outputs))


def require_room(graph: Graph, limit_bytes: int, alias_bytes: int, donated: Sequence[bool]) -> None:
    """Raises where arguments and results alone are over the limit: no plan can help then.

    Args:
      graph: the program as written.
      limit_bytes: the limit.
      alias_bytes: bytes of donated arguments that results take over.
      donated: which inputs are given away.

    Raises:
      MemoryLimitError: they are.
    """
    fixed = sum(held_bytes(graph)) - alias_bytes
    if fixed <= limit_bytes:
        return
    largest = max((*graph.inputs, *graph.consts, *graph.outputs), key=lambda v: v.size_bytes)
    # How much more than this the program needs is not known before a plan is tried.
    more = f"raise the limit well over the {format_bytes(fixed, up=True)} that arguments and results take by themselves"
    raise MemoryLimitError(
        fixed, limit_bytes, largest=_value_text(graph, largest), options=(more, *_ways_out(graph, donated, fixed))
    )


def too_big(
    graph: Graph, outcome: Outcome, limit_bytes: int, donated: Sequence[bool], each_bytes: int | None = None
) -> MemoryLimitError:
    """Returns the error of a program that no plan makes fit.

    Where arrays are spread over devices, `each_bytes` is what the program as written takes on each of them.
    """
    worst = outcome.whole_peak.worst
    held = [v for v in worst.live if v in graph.producer] if worst else []
    largest = max((*held, *graph.outputs, *graph.inputs), key=lambda v: v.size_bytes)
    needed = max(outcome.whole_peak.total_bytes if each_bytes is None else each_bytes, outcome.floor_bytes or 0)
    bound = outcome.peak.worst
    return MemoryLimitError(
        needed,
        limit_bytes,
        outcome.floor_bytes,
        largest=_value_text(graph, largest) + (" over all devices" if each_bytes is not None else ""),
        options=_ways_out(graph, donated, outcome.floor_bytes or needed),
        floor_bound_by=f"{bound.node.kind} ({bound.node.source})" if bound and bound.node.source else "",
    )


def _value_text(graph: Graph, v: Value) -> str:
    text = f"{v.aval.str_short()} ({format_bytes(v.size_bytes)})"
    maker = graph.producer.get(v)
    if maker is not None and maker.source is not None:
        return f"{text} from {maker.source}"
    if v in graph.inputs:
        return f"{text}, argument leaf {graph.inputs.index(v)}"
    return text


def _ways_out(graph: Graph, donated: Sequence[bool], least_needed_bytes: int) -> list[str]:
    """Returns what the user can do beside raising the limit."""
    wanted = {(v.shape, v.dtype) for v in graph.outputs}
    least_bytes = max(1, least_needed_bytes // 64)  # less would not help
    ways = []
    for index, v in enumerate(graph.inputs):
        is_donated = index < len(donated) and donated[index]
        if not is_donated and v.size_bytes >= least_bytes and (v.shape, v.dtype) in wanted:
            ways.append(f"donate argument leaf {index} ({format_bytes(v.size_bytes)})")
    held = _read_by_a_loop(graph, least_needed_bytes // 2)
    if held is not None:
        value, loop = held
        about = f"make {_value_text(graph, value)} inside the loop at {loop.source}"
        ways.insert(0, f"{about} that reads it, for each step")
    if 8 * sum(v.size_bytes for v in graph.outputs) >= least_needed_bytes:
        ways.append("return less")
    return ways[:3]


def _read_by_a_loop(graph: Graph, least_bytes: int) -> tuple[Value, Node] | None:
    """Returns the largest value, if it is that large, that is made once and read whole by all steps of a user's loop.

    Such a value is held while the loop runs; if each step made it, it could be made in pieces.
    """
    found: list[tuple[Value, Node]] = []
    for node in graph.nodes:
        if node.source is None:
            continue
        if isinstance(node, Loop):
            found += [(v, node) for v in node.whole]
        elif node.kind == "while":
            found += [(v, node) for v in node.inputs[: len(node.inputs) - len(node.carried)]]
    found = [(v, node) for v, node in found if v in graph.producer and v.size_bytes >= max(1, least_bytes)]
    return max(found, key=lambda each: each[0].size_bytes, default=None)
