"""In which order a backend runs a graph's kernels: what is held at once depends on it.

XLA:CPU starts every kernel as soon as what it reads is there, first ready first run, so that its threads
have something to do. Independent parts of a program are then held at the same time, whatever the order
in which they were written: three kernel matrices that are summed one after the other all exist at once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

from memline.analysis.fusion import FusionModel, is_view
from memline.ir.graph import Graph, Loop, Node, Value


def run_order(graph: Graph, fusion: FusionModel, buffers: frozenset[Value]) -> Sequence[Node]:
    """Returns the graph's nodes in the order in which they run; computed inside others, they come just before.

    Args:
      graph: the graph.
      fusion: what the backend fuses, and whether it runs what is ready first.
      buffers: the values that get a buffer, from `fusion.materialised`.
    """
    if not fusion.runs_what_is_ready:
        return graph.nodes
    kernels = [n for n in graph.nodes if isinstance(n, Loop) or not n.outputs or not buffers.isdisjoint(n.outputs)]
    is_kernel = set(kernels)
    waits: dict[Node, int] = {}
    readers: dict[Node, list[Node]] = {}
    for kernel in kernels:
        makers = _makers_read(graph, fusion, is_kernel, kernel)
        waits[kernel] = len(makers)
        for maker in makers:
            readers.setdefault(maker, []).append(kernel)
    ready = deque(kernel for kernel in kernels if not waits[kernel])
    order: dict[Node, None] = {}
    while ready:
        kernel = ready.popleft()
        _place(graph, kernel, order)
        for reader in readers.get(kernel, ()):
            waits[reader] -= 1
            if not waits[reader]:
                ready.append(reader)
    for node in graph.nodes:  # what no kernel reads, such as a view that is returned
        _place(graph, node, order)
    return tuple(order)


def _makers_read(graph: Graph, fusion: FusionModel, is_kernel: set[Node], kernel: Node) -> set[Node]:
    """Returns the kernels that make what one kernel reads, also by way of what it computes inside itself."""
    found: set[Node] = set()
    repeats = not isinstance(kernel, Loop) and not is_view(kernel) and fusion.inlines_operands(kernel)
    todo = list(kernel.inputs)
    seen: set[Value] = set()
    while todo:
        v = todo.pop()
        maker = graph.producer.get(v)
        if maker is None or v in seen:
            continue
        seen.add(v)
        if maker in is_kernel and not (repeats and fusion.is_repeated(maker)):
            found.add(maker)
        else:
            todo.extend(maker.inputs)
    return found


def _place(graph: Graph, node: Node, order: dict[Node, None]) -> None:
    """Appends a node to the order, after those of its makers that are not in it yet."""
    todo = [node]
    while todo:
        last = todo[-1]
        missing = [m for m in map(graph.producer.get, last.inputs) if m is not None and m not in order]
        if missing and last not in order:
            todo.extend(missing)
        else:
            order.setdefault(todo.pop())
