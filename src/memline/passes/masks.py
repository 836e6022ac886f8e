"""Gives each reader of a mask, or of an array of one number, an array of its own.

JAX traces a mask once for all that read it, and the gradient of a loss reads those of its forward pass. A split cuts
a value along one of its axes: a square mask that one reader wants in rows and another, of the transposed matrix, in
columns would be held whole, and the matrix with it. Masks cost next to nothing to make, so that every reader may have
its own. XLA makes one of them again where nothing is split.
"""

from __future__ import annotations

from memline.analysis.fusion import is_elementwise
from memline.ir.build import rebuilt
from memline.ir.graph import Graph, Node, Op, Value
from memline.ir.scopes import map_scopes

_MOST_NODES = 12
"""What takes more ops to make is no mask."""
_MOST_COPIED = 48
"""A mask is copied while the copies have no more nodes together."""
_LEAST_BYTES = 1 << 16
_SMALL = 16
"""A mask may be made of values that are at most one part in so many of its size."""

_Cone = dict[Node, None]
"""The nodes that make a mask, in their order."""


def own_masks(graph: Graph) -> Graph:
    """Returns the graph, and all that loops and branches in it run, with a mask for each reader.

    >>> import jax.numpy as jnp
    >>> from memline.ir.trace import trace
    >>> graph = trace(lambda x: (jnp.tril(x).sum(0), jnp.tril(x.T * 2).sum(0)), jnp.ones((300, 300)))
    >>> [sum(node.kind == "iota" for node in g.nodes) for g in (graph, own_masks(graph))]
    [2, 4]
    """
    return map_scopes(graph, lambda scope, _: _owned_here(scope))


def _owned_here(scope: Graph) -> Graph:
    cones: dict[Value, _Cone] = {}
    for node in scope.nodes:
        cone = _cone(node, cones)
        if cone is not None:
            cones[node.outputs[0]] = cone
    taken: dict[Node, int] = {}
    nodes: list[Node] = []
    for node in scope.nodes:
        operands = list(node.inputs)
        if not (node.outputs and node.outputs[0] in cones):  # what makes a mask shares what it is made of
            for at, v in enumerate(operands):
                cone = cones.get(v)
                if cone is None or not _is_mask(cone) or not _may_be_cut_twice(v):
                    continue
                copies = max(taken.get(n, 0) for n in cone)
                taken.update(dict.fromkeys(cone, copies + 1))
                if 0 < copies <= _MOST_COPIED // len(cone):
                    made, operands[at] = _copied(cone, v, f".m{copies}")
                    nodes.extend(made)
        nodes.append(rebuilt(node, operands, node.outputs) if operands != list(node.inputs) else node)
    return Graph(scope.inputs, tuple(nodes), scope.outputs) if len(nodes) > len(scope.nodes) else scope


def _is_mask(cone: _Cone) -> bool:
    """Whether what a cone makes is decided by where an element is, or the same everywhere; else it is made of data."""
    made = {v for node in cone for v in node.outputs}
    leaves = [v for node in cone for v in node.inputs if v not in made]
    return any(node.kind == "iota" for node in cone) or all(v.ndim == 0 for v in leaves)


def _may_be_cut_twice(v: Value) -> bool:
    """Whether a value is big, and has two axes that could both run along that of a split."""
    lengths = [n for n in v.shape if n > 1]
    return v.size_bytes >= _LEAST_BYTES and len(set(lengths)) < len(lengths)


def _cone(node: Node, cones: dict[Value, _Cone]) -> _Cone | None:
    """Returns the nodes that make a node's result, if they are few and cheap; None of others."""
    if not isinstance(node, Op) or len(node.outputs) != 1 or node.effects:
        return None
    if node.kind not in ("iota", "broadcast_in_dim") and not is_elementwise(node):
        return None
    inside = [v for v in node.inputs if v in cones]
    rest = (v for v in node.inputs if v not in cones)
    if any(v.size_bytes * _SMALL > node.outputs[0].size_bytes for v in rest):
        return None
    found: _Cone = dict.fromkeys(n for v in inside for n in cones[v])
    found[node] = None
    return found if len(found) <= _MOST_NODES else None


def _copied(cone: _Cone, mask: Value, suffix: str) -> tuple[list[Node], Value]:
    """Returns the nodes of a cone with results of their own, and the mask among those."""
    own: dict[Value, Value] = {}
    made: list[Node] = []
    for node in cone:
        (result,) = node.outputs
        own[result] = Value(result.aval, result.name + suffix)
        made.append(rebuilt(node, [own.get(v, v) for v in node.inputs], [own[result]]))
    return made, own[mask]
