"""Writes new nodes into a graph by tracing small JAX functions, so that passes and rules read like JAX."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import jax
from jax import lax

from memline import compat
from memline.ir.graph import Graph, Node, Op, Source, Value
from memline.ir.trace import from_jaxpr


def rebuilt(node: Node, operands: Sequence[Value], outputs: Sequence[Value]) -> Node:
    """Returns a node with other operands, of the same types, and other results."""
    if isinstance(node, Op):
        return replace(node, inputs=tuple(operands), outputs=tuple(outputs))
    n_sliced, n_whole = len(node.sliced), len(node.whole)
    return replace(
        node,
        sliced=tuple(replace(s, value=v) for s, v in zip(node.sliced, operands, strict=False)),
        whole=tuple(operands[n_sliced : n_sliced + n_whole]),
        carried=tuple(operands[n_sliced + n_whole :]),
        outputs=tuple(outputs),
    )


class Builder:
    """Collects nodes for one graph under construction; names it makes up begin with its prefix.

    >>> import jax.numpy as jnp
    >>> from memline.compat import shaped
    >>> builder = Builder("%t")
    >>> x = builder.value(shaped((3,), jnp.float32))
    >>> [y] = builder.call(lambda a: jnp.exp(a) + 1, x)
    >>> [node.kind for node in builder.nodes], y.shape
    (['exp', 'add'], (3,))
    """

    def __init__(self, prefix: str) -> None:
        self.nodes: list[Node] = []
        self._prefix = prefix
        self._count = 0

    def value(self, aval: Any, name: str | None = None) -> Value:
        """Returns a fresh value; without a name it gets the next of the builder's own."""
        if name is None:
            name = f"{self._prefix}{self._count}"
            self._count += 1
        return Value(aval, name)

    def add(self, node: Node) -> tuple[Value, ...]:
        """Appends a node and returns its outputs."""
        self.nodes.append(node)
        return node.outputs

    def call(
        self,
        fun: Callable[..., Any] | tuple[Any, Callable[..., Any]],
        *inputs: Value,
        source: Source | None = None,
        memo: dict[Any, Any] | None = None,
    ) -> list[Value]:
        """Appends the nodes of a JAX function applied to values; returns the leaves of its result.

        Args:
          fun: the function; with a `memo`, a pair of a key and the function. The function is traced once
            for each key and types of inputs that the memo has not seen.
          *inputs: what it is applied to.
          source: the user's line that the nodes stand for.
          memo: where traces are kept.
        """
        if isinstance(fun, tuple):
            key, fun = fun[0], fun[1]
        else:
            key = fun
        full_key = (key, *((v.shape, v.dtype) for v in inputs))
        inner = None if memo is None else memo.get(full_key)
        if inner is None:
            with compat.wide_enough(v.dtype for v in inputs):
                inner = from_jaxpr(jax.make_jaxpr(fun)(*(jax.ShapeDtypeStruct(v.shape, v.dtype) for v in inputs)))
            if memo is not None:
                memo[full_key] = inner
        env: dict[Value, Value] = dict(zip(inner.inputs, inputs, strict=True))

        def read(v: Value) -> Value:
            return v if v.is_const else env[v]

        for op in inner.nodes:
            assert isinstance(op, Op)  # a traced function has no loops of ours
            outputs = tuple(self.value(v.aval) for v in op.outputs)
            self.add(
                Op(
                    op.primitive,
                    op.params,
                    tuple(read(v) for v in op.inputs),
                    outputs,
                    source,
                    op.context,
                    op.effects,
                )
            )
            env.update(zip(op.outputs, outputs, strict=True))
        return [read(v) for v in inner.outputs]


def with_replaced(
    scope: Graph,
    stand_in: Callable[[Op], tuple[Any, Callable[..., Any]] | None],
    suffix: str,
    memo: dict[Any, Any],
) -> Graph:
    """Returns a graph with JAX functions of their operands in the place of some of its own ops, bodies left alone.

    Args:
      scope: the graph.
      stand_in: returns what stands in for an op of one result, as a pair of a key and the function; None leaves it.
      suffix: what the names of new values have after that of the op's result.
      memo: where traces are kept, as for `Builder.call`.
    """
    nodes: list[Node] = []
    for node in scope.nodes:
        function = stand_in(node) if isinstance(node, Op) else None
        if function is None:
            nodes.append(node)
            continue
        builder = Builder(node.outputs[0].name + suffix)
        builder.call(function, *node.inputs, source=node.source, memo=memo)
        *before, last = builder.nodes
        nodes += [*before, replace(last, outputs=node.outputs)]
    changed = any(new is not old for new, old in zip(nodes, scope.nodes, strict=False)) or len(nodes) > len(scope.nodes)
    return Graph(scope.inputs, tuple(nodes), scope.outputs) if changed else scope


def op_like(op: Op, primitive: Any, params: dict[str, Any], inputs: tuple[Value, ...], output: Value) -> Op:
    """Returns an op of one result that stands where another did: same source line, same context."""
    return replace(op, primitive=primitive, params=params, inputs=inputs, outputs=(output,))


def transpose_like(op: Op, v: Value, moved: Value, order: Sequence[int]) -> Op:
    """Returns the transposition of a value into another, beside an op that wants it so."""
    return op_like(op, lax.transpose_p, {"permutation": tuple(order)}, (v,), moved)
