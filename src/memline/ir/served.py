"""Which ops of a graph memline's own kernels serve, and how those are called; the graph shows ordinary ops."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from memline.ir.graph import Graph, Node, Op
from memline.kernels import top_k


def is_served(node: Node) -> bool:
    """Tells whether a kernel computes the node where kernels are used."""
    return node.kind == "top_k" and isinstance(node, Op) and top_k.serves(*_type(node), node.params["k"])


def run_served(op: Op, inputs: Sequence[Any]) -> list[Any]:
    """Returns the results of an op that is served."""
    return top_k.run(inputs[0], op.params["k"], _axis(op))


def served_scratch_bytes(op: Op) -> int:
    """Returns the bytes that the op's kernel takes for itself, outside XLA's account."""
    return top_k.scratch_bytes(*_type(op), op.params["k"], _axis(op))


def served_copies_bytes(op: Op) -> int:
    """Returns the bytes of copies with rows that lie one after the other, where the op's axis is not the last."""
    if _axis(op) == op.inputs[0].ndim - 1:
        return 0
    return op.inputs[0].size_bytes + sum(v.size_bytes for v in op.outputs)


def served_ops(graph: Graph) -> Iterator[Op]:
    """Yields the ops that kernels serve, those of bodies included, those of tails not."""
    for node in graph.nodes:
        if isinstance(node, Op) and is_served(node):
            yield node
        for body in node.inner:
            yield from served_ops(body)


def kernel_notes(graph: Graph, why_not: str) -> tuple[str, ...]:
    """Returns what a plan is to tell of kernels: what runs as one, or why none is used; nothing if none would serve.

    Args:
      graph: the planned program.
      why_not: why kernels are not used; "" where they are.
    """
    served = [f"{op.kind} of {op.inputs[0].aval.str_short()}{_at(op)}" for op in served_ops(graph)]
    told = tuple(dict.fromkeys(served))
    if not why_not:
        return tuple(f"{text} runs as memline's own kernel" for text in told)
    return (f"memline's own kernels are not used ({why_not}), for {', '.join(told)}",) if told else ()


def _at(op: Op) -> str:
    return "" if op.source is None else f" ({op.source})"


def _axis(op: Op) -> int:
    return op.params["axis"] % op.inputs[0].ndim


def _type(op: Op) -> tuple[tuple[int, ...], Any]:
    return op.inputs[0].shape, op.inputs[0].dtype
