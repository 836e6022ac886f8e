"""Writes matrix products in the order of operands that the backend runs fast (see `analysis.products`).

Before anything is split, `orient_products` puts first the operand that is cheaper to write anew. In loops,
`turn_products` then writes it anew: a chunk is transposed in the cache, and on pages that the process has
touched before. Barriers keep XLA from folding the transposition into the product.
"""

from __future__ import annotations

from dataclasses import replace

from jax import lax

from memline import compat
from memline.analysis.machine import Machine
from memline.analysis.products import Product, product_of, product_seconds, turned_seconds
from memline.ir.build import op_like, transpose_like
from memline.ir.dead import drop_dead
from memline.ir.graph import Graph, Node, Op, Value
from memline.ir.scopes import loop_bodies, map_scopes

_CLEARLY = 0.95
"""A product is rewritten where that takes at most so much of its time."""


def orient_products(graph: Graph, machine: Machine) -> Graph:
    """Returns the graph with the operands of its products in the faster order; results are transposed back."""
    graph = _with_transposes_folded(graph)
    nodes: list[Node] = []
    for node in graph.nodes:
        if isinstance(node, Op) and _is_turnable(node) and _is_better_swapped(graph, node, machine):
            nodes.extend(_swapped(node))
        else:
            nodes.append(node)
    if len(nodes) == len(graph.nodes):
        return graph
    return Graph(graph.inputs, tuple(nodes), graph.outputs)


def _with_transposes_folded(graph: Graph) -> Graph:
    """Returns the graph with products reading matrices instead of their transposes, as XLA compiles them."""
    nodes: list[Node] = []
    for node in graph.nodes:
        if isinstance(node, Op) and node.kind == "dot_general":
            node = _folded(graph, _folded(graph, node, 0), 1)
        nodes.append(node)
    if all(a is b for a, b in zip(nodes, graph.nodes, strict=True)):
        return graph
    return drop_dead(Graph(graph.inputs, tuple(nodes), graph.outputs))


def _folded(graph: Graph, op: Op, side: int) -> Op:
    maker = graph.producer.get(op.inputs[side])
    contract, batch = op.params["dimension_numbers"]
    is_matrix = op.inputs[side].ndim == 2 and not batch[side] and len(contract[side]) == 1
    if not isinstance(maker, Op) or maker.kind != "transpose" or not is_matrix:
        return op
    if tuple(maker.params["permutation"]) != (1, 0):
        return op
    contract, inputs = list(contract), list(op.inputs)
    contract[side], inputs[side] = (1 - contract[side][0],), maker.inputs[0]
    return replace(op, inputs=tuple(inputs), params={**op.params, "dimension_numbers": (tuple(contract), batch)})


def slow_products(graph: Graph, machine: Machine) -> tuple[str, ...]:
    """Returns the names of the results of products in loops that are faster with their left operands turned."""
    return tuple(
        node.outputs[0].name
        for body in loop_bodies(graph)
        for node in body.nodes
        if isinstance(node, Op) and _is_turnable(node) and _is_better_turned(product_of(node), machine)
    )


def turn_products(graph: Graph, names: frozenset[str]) -> tuple[Graph, frozenset[str]]:
    """Returns the graph with the left operands of products written anew, contracted axis last; and whose it found.

    Args:
      graph: a graph; products in the bodies of its loops count.
      names: the names of the products' results.
    """
    found: set[str] = set()

    def transform(scope: Graph, is_tail: bool) -> Graph:
        nodes: list[Node] = []
        for node in scope.nodes:
            if isinstance(node, Op) and node.outputs and node.outputs[0].name in names and _is_turnable(node):
                found.add(node.outputs[0].name)
                nodes.extend(_turned(node))
            else:
                nodes.append(node)
        return scope if len(nodes) == len(scope.nodes) else Graph(scope.inputs, tuple(nodes), scope.outputs)

    return map_scopes(graph, transform), frozenset(found)


def _is_turnable(op: Op) -> bool:
    """Whether an op is a product whose left operand is contracted, along one axis, but not along its last."""
    if op.kind != "dot_general" or op.params.get("out_sharding") is not None:
        return False
    (contract, _), _ = op.params["dimension_numbers"]
    return len(contract) == 1 and contract[0] != op.inputs[0].ndim - 1


def _is_better_turned(product: Product, machine: Machine) -> bool:
    return turned_seconds(product, machine) < _CLEARLY * product_seconds(product, machine)


def _is_better_swapped(graph: Graph, op: Op, machine: Machine) -> bool:
    product = product_of(op)
    (_, right_contract), _ = op.params["dimension_numbers"]
    is_last = op.inputs[1].ndim - 1 in right_contract
    now = min(product_seconds(product, machine), turned_seconds(product, machine))
    other = product.swapped(is_last)
    then = product_seconds(other, machine) if is_last else turned_seconds(other, machine)
    if not _is_transposed_back(graph, op):
        then += product.result_bytes / machine.turned_bytes_per_s
    return then < _CLEARLY * now


def _is_transposed_back(graph: Graph, op: Op) -> bool:
    """Whether the only reader transposes the result to where the swapped product would have it."""
    (result,) = op.outputs
    readers = graph.consumers.get(result, ())
    if len(readers) != 1 or result in graph.outputs:
        return False
    reader = readers[0][0]
    return isinstance(reader, Op) and reader.kind == "transpose" and reader.params["permutation"] == _order_back(op)


def _order_back(op: Op) -> tuple[int, ...]:
    """Returns the order that takes the result of a swapped product to that of the product."""
    _, (left_batch, _) = op.params["dimension_numbers"]
    batch, free = len(left_batch), op.inputs[1].ndim - len(left_batch) - 1
    ndim = op.outputs[0].ndim
    return (*range(batch), *range(batch + free, ndim), *range(batch, batch + free))


def _swapped(op: Op) -> list[Node]:
    contract, batch = op.params["dimension_numbers"]
    left, right = op.inputs
    (result,) = op.outputs
    order = _order_back(op)
    shape = [0] * result.ndim
    for k, axis in enumerate(order):
        shape[axis] = result.shape[k]
    raw = Value(compat.shaped(shape, result.dtype), f"{result.name}.s")
    params = {**op.params, "dimension_numbers": ((contract[1], contract[0]), (batch[1], batch[0]))}
    if isinstance(params.get("precision"), tuple):
        params["precision"] = params["precision"][::-1]
    return [op_like(op, op.primitive, params, (right, left), raw), transpose_like(op, raw, result, order)]


def _turned(op: Op) -> list[Node]:
    (contract, right_contract), (batch, right_batch) = op.params["dimension_numbers"]
    left, right = op.inputs
    (result,) = op.outputs
    free = [a for a in range(left.ndim) if a not in batch and a not in contract]
    order = (*batch, *free, *contract)
    name = result.name
    made = Value(left.aval, f"{name}.m")
    turned = Value(compat.shaped([left.shape[a] for a in order], left.dtype), f"{name}.t")
    ready = Value(turned.aval, f"{name}.r")
    numbers = (((left.ndim - 1,), right_contract), (tuple(range(len(batch))), right_batch))
    return [
        op_like(op, lax.optimization_barrier_p, {}, (left,), made),
        transpose_like(op, made, turned, order),
        op_like(op, lax.optimization_barrier_p, {}, (turned,), ready),
        op_like(op, op.primitive, {**op.params, "dimension_numbers": numbers}, (ready, right), result),
    ]
