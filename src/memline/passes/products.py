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
from memline.analysis.products import Product, copied_operands, product_of, product_seconds, turned_seconds
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
    done: set[Node] = set()
    for node in graph.nodes:
        if isinstance(node, Op) and _is_swappable(node) and _is_better_swapped(graph, node, machine):
            reader = _transposes_it_back(graph, node)
            nodes.extend(_swapped(node, reader))
            done |= {node, reader} if reader is not None else {node}
        elif node not in done:
            nodes.append(node)
    return Graph(graph.inputs, tuple(nodes), graph.outputs) if done else graph


def _with_transposes_folded(graph: Graph) -> Graph:
    """Returns the graph with products reading arrays instead of their transposes, as XLA compiles them."""
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
    if not isinstance(maker, Op) or maker.kind != "transpose":
        return op
    order, source = maker.params["permutation"], maker.inputs[0]
    contract, batch = (list(axes) for axes in op.params["dimension_numbers"])
    free = [order[a] for a in range(source.ndim) if a not in contract[side] and a not in batch[side]]
    if free != sorted(free):
        return op  # the result's axes would come in another order
    contract[side], batch[side] = (tuple(int(order[a]) for a in axes[side]) for axes in (contract, batch))
    inputs = list(op.inputs)
    inputs[side] = source
    numbers = (tuple(contract), tuple(batch))
    folded = replace(op, inputs=tuple(inputs), params={**op.params, "dimension_numbers": numbers})
    return op if source in copied_operands(folded) else folded


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


def _is_swappable(op: Op) -> bool:
    """Whether an op is a product along one axis, whose operands can change places."""
    if op.kind != "dot_general" or op.params.get("out_sharding") is not None:
        return False
    (contract, _), _ = op.params["dimension_numbers"]
    return len(contract) == 1


def _is_better_turned(product: Product, machine: Machine) -> bool:
    return turned_seconds(product, machine) < _CLEARLY * product_seconds(product, machine)


def _is_better_swapped(graph: Graph, op: Op, machine: Machine) -> bool:
    product = product_of(op)
    (_, right_contract), _ = op.params["dimension_numbers"]
    is_last = op.inputs[1].ndim - 1 in right_contract
    now = min(product_seconds(product, machine), turned_seconds(product, machine))
    other = product.swapped(is_last)
    then = product_seconds(other, machine) if is_last else turned_seconds(other, machine)
    transposing = product.result_bytes / machine.turned_bytes_per_s
    if _transposes_it_back(graph, op) is None:
        return then + transposing < _CLEARLY * now
    return then < _CLEARLY * (now + transposing)


def _transposes_it_back(graph: Graph, op: Op) -> Op | None:
    """Returns the only reader, where it transposes the result to where the swapped product has it anyway."""
    (result,) = op.outputs
    readers = graph.consumers.get(result, ())
    if len(readers) != 1 or result in graph.outputs:
        return None
    reader = readers[0][0]
    if not isinstance(reader, Op) or reader.kind != "transpose":
        return None
    back, order = _order_back(op), reader.params["permutation"]
    return reader if [back[a] for a in order] == sorted(back) else None


def _order_back(op: Op) -> tuple[int, ...]:
    """Returns the order that takes the result of a swapped product to that of the product."""
    _, (left_batch, _) = op.params["dimension_numbers"]
    batch, free = len(left_batch), op.inputs[1].ndim - len(left_batch) - 1
    ndim = op.outputs[0].ndim
    return (*range(batch), *range(batch + free, ndim), *range(batch, batch + free))


def _swapped(op: Op, reader: Op | None) -> list[Node]:
    """Returns the product with its operands swapped, and the transposition that its readers need, if any."""
    contract, batch = op.params["dimension_numbers"]
    left, right = op.inputs
    (result,) = op.outputs
    order = _order_back(op)
    shape = [0] * result.ndim
    for k, axis in enumerate(order):
        shape[axis] = result.shape[k]
    raw = Value(compat.shaped(shape, result.dtype), f"{result.name}.s") if reader is None else reader.outputs[0]
    params = {**op.params, "dimension_numbers": ((contract[1], contract[0]), (batch[1], batch[0]))}
    if isinstance(params.get("precision"), tuple):
        params["precision"] = params["precision"][::-1]
    product = op_like(op, op.primitive, params, (right, left), raw)
    return [product] if reader is not None else [product, transpose_like(op, raw, result, order)]


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
