"""Drops what no output and no side effect needs: nodes, and results that a loop makes for nobody."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from memline.ir.graph import Graph, Loop, Node, Op, Value


def drop_dead(graph: Graph) -> Graph:
    """Returns the graph without what no output and no side effect needs, also inside loops.

    >>> import jax
    >>> from memline.ir.trace import trace
    >>> graph = trace(lambda x: (x + 1, x * 2), jax.ShapeDtypeStruct((3,), "float32"))
    >>> [node.kind for node in drop_dead(Graph(graph.inputs, graph.nodes, graph.outputs[:1])).nodes]
    ['add']
    """
    live = set(graph.outputs)
    kept: list[Node] = []
    changed = False
    for node in reversed(graph.nodes):
        if any(v in live for v in node.outputs) or _has_effects(node):
            pruned = _pruned(node, live) if isinstance(node, Loop) else node
            kept.append(pruned)
            changed = changed or pruned is not node
            live.update(pruned.inputs)
    if len(kept) == len(graph.nodes) and not changed:
        return graph
    return Graph(graph.inputs, tuple(reversed(kept)), graph.outputs)


def _has_effects(node: Node) -> bool:
    if isinstance(node, Op) and node.effects:
        return True
    return any(_has_effects(inner) for body in node.bodies for inner in body.nodes)


def _pruned(loop: Loop, live: set[Value]) -> Loop:
    """Returns a loop without the results that nobody reads, and without what it reads for those only."""
    n_carried = len(loop.carried)
    needed = {at for at, v in enumerate(loop.outputs) if v in live}
    while True:
        bodies = [_with_outputs(body, sorted(needed)) for body in loop.bodies]
        read = [_read_inputs(body) for body in bodies]
        first_carry = len(loop.body.inputs) - n_carried
        carries = {at for at in range(n_carried) if any(first_carry + at in indices for indices in read)}
        if carries <= needed:
            break
        needed |= carries
    inputs = set().union(*read)
    sliced = [at for at in range(len(loop.sliced)) if 1 + at in inputs]
    whole = [at for at in range(len(loop.whole)) if 1 + len(loop.sliced) + at in inputs]
    all_read = (len(needed), len(sliced), len(whole)) == (len(loop.outputs), len(loop.sliced), len(loop.whole))
    if all_read and all(new.nodes == old.nodes for new, old in zip(bodies, loop.bodies, strict=True)):
        return loop
    kept = sorted(needed)
    places = [0, *(1 + at for at in sliced), *(1 + len(loop.sliced) + at for at in whole)]
    places += [first_carry + at for at in kept if at < n_carried]
    body, *tail = (Graph(_at(b.inputs, places), b.nodes, b.outputs) for b in bodies)
    return replace(
        loop,
        sliced=tuple(loop.sliced[at] for at in sliced),
        whole=_at(loop.whole, whole),
        carried=_at(loop.carried, [at for at in kept if at < n_carried]),
        stacked=tuple(loop.stacked[at - n_carried] for at in kept if at >= n_carried),
        outputs=_at(loop.outputs, kept),
        body=body,
        tail=tail[0] if tail else None,
    )


def _with_outputs(body: Graph, kept: Sequence[int]) -> Graph:
    return drop_dead(Graph(body.inputs, body.nodes, _at(body.outputs, kept)))


def _read_inputs(body: Graph) -> set[int]:
    """Returns which inputs of a body anything reads; a carry that is only handed on is read by its own output."""
    read = {v for node in body.nodes for v in node.inputs} | set(body.outputs)
    return {at for at, v in enumerate(body.inputs) if v in read}


def _at(values: Sequence[Value], places: Sequence[int]) -> tuple[Value, ...]:
    return tuple(values[at] for at in places)
