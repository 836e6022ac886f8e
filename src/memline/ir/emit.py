"""From a graph back to JAX: evaluates a graph on arrays or tracers, so that any transformation can hold it."""

from __future__ import annotations

import functools
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from memline import compat
from memline.ir.graph import Graph, Loop, Op, Value
from memline.ir.inplace import NO_TAKERS, Takers, read_before, reads_first, written_over
from memline.ir.served import is_served, run_served
from memline.kernels import fresh
from memline.kernels.native import NO_NATIVE, Native


def to_jaxpr(graph: Graph, *, native: Native = NO_NATIVE) -> Any:
    """Returns the closed jaxpr of a graph; `native` as in `evaluate`.

    >>> from memline.ir.trace import trace
    >>> graph = trace(lambda x: x + 1, jax.ShapeDtypeStruct((3,), "float32"))
    >>> [eqn.primitive.name for eqn in to_jaxpr(graph).jaxpr.eqns]
    ['add']
    """
    weak = (getattr(v.aval, "weak_type", False) for v in graph.inputs)
    args = [jax.ShapeDtypeStruct(v.shape, v.dtype, weak_type=w) for v, w in zip(graph.inputs, weak, strict=True)]
    return jax.make_jaxpr(lambda *xs: evaluate(graph, xs, native=native))(*args)


def run_program(
    graph: Graph, args: Sequence[Any], takers: Takers = NO_TAKERS, *, native: Native = NO_NATIVE
) -> list[Any]:
    """Computes a whole program's results, weakly typed where it promises that: loops make strongly typed arrays.

    The arguments are those of `evaluate`.
    """
    results = evaluate(graph, args, takers, native=native)
    return [promised(v.aval, x) for v, x in zip(graph.outputs, results, strict=True)]


def promised(aval: Any, x: Any) -> Any:
    """Returns an array weakly typed where an abstract value promises that."""
    if not getattr(aval, "weak_type", False) or compat.aval_of(x).weak_type:
        return x
    params = {"new_dtype": aval.dtype, "weak_type": True, "sharding": None}
    return lax.convert_element_type_p.bind(x, **params)


def evaluate(graph: Graph, args: Sequence[Any], takers: Takers = NO_TAKERS, *, native: Native = NO_NATIVE) -> list[Any]:
    """Computes the graph's outputs from `args`, one array or tracer for each of its inputs.

    Args:
      graph: the program.
      args: its inputs.
      takers: which result takes over which donated argument; a loop that can write over the argument does.
      native: what native code of memline's is called; XLA has to know it: see `kernels.native`.
    """
    over = written_over(graph, takers)
    results = frozenset(graph.outputs)
    env: dict[Value, Any] = dict(zip(graph.inputs, args, strict=True))

    def read(value: Value) -> Any:
        return value.const if value.is_const else env[value]

    for node in graph.nodes:
        if node in over:
            env.update(_after_others(graph, node, over[node].values(), env))
        inputs = [read(v) for v in node.inputs]
        with compat.at_source(node.source and node.source.traceback):
            if isinstance(node, Loop):
                # What is no result may share memory with what died before, which an array that a call made cannot.
                own = results if native.fresh else frozenset()
                outputs = _run_loop(node, inputs, over.get(node, {}), native.inside, own)
            elif node.bodies:
                outputs = _run_bodies(node, inputs, native)
            else:
                outputs = run_served(node, inputs) if native.kernels and is_served(node) else _run_op(node, inputs)
        env.update(zip(node.outputs, outputs, strict=True))
    return [read(v) for v in graph.outputs]


def _after_others(graph: Graph, loop: Loop, old: Collection[Value], env: Mapping[Value, Any]) -> dict[Value, Any]:
    """Returns the values that a loop writes over as they are when everything else that reads them has run."""
    others = read_before(graph, loop, old)
    if not others:
        return {}
    tied = (*dict.fromkeys(old), *others)
    return dict(zip(tied, lax.optimization_barrier([env[v] for v in tied]), strict=True))


def _run_op(op: Op, inputs: Sequence[Any]) -> list[Any]:
    # JAX folds an op on constants with NumPy, which warns of a cast to infinity; the program may want it.
    with np.errstate(over="ignore", invalid="ignore"):
        return compat.bind(op.primitive, op.params, inputs, op.context)


def _run_bodies(op: Op, inputs: Sequence[Any], native: Native) -> list[Any]:
    """Runs a `while` or a `cond`."""
    if op.kind == "cond":
        index, *operands = inputs
        branches = [functools.partial(_run_body, body, native.inside) for body in op.bodies]
        return list(lax.switch(index, branches, *operands))
    # Not `lax.while_loop`: under `vmap` the test of this primitive may have axes, each element stopping by itself.
    test, body = (to_jaxpr(body, native=native.inside) for body in op.bodies)
    return compat.bind(op.primitive, {**op.params, "cond_jaxpr": test, "body_jaxpr": body}, inputs, op.context)


def _run_body(body: Graph, native: Native, *args: Any) -> list[Any]:
    return evaluate(body, args, native=native)


def _run_loop(
    loop: Loop, inputs: Sequence[Any], over: Mapping[int, Value], native: Native, own: frozenset[Value]
) -> list[Any]:
    """Runs a loop.

    Args:
      loop: the loop.
      inputs: its operands.
      over: which of its stacked results start with, and write over, which sliced value.
      native: what native code its body calls.
      own: the values that begin in fresh pages.
    """
    n_sliced, n_carried = len(loop.sliced), len(loop.carried)
    sliced, rest = inputs[:n_sliced], inputs[n_sliced:]
    whole, carried = rest[: len(loop.whole)], list(rest[len(loop.whole) :])
    old = dict(zip(loop.inputs, sliced, strict=False))
    stacked = [
        old[over[place]] if place in over else (fresh.empty if v in own else lax.empty)(v.shape, v.dtype)
        for place, v in enumerate(loop.outputs[n_carried:])
    ]
    written = {v: place for place, v in over.items()}
    first = reads_first(loop, over)

    def step(body: Graph, start: Any, size: int, state: Sequence[Any]) -> list[Any]:
        accumulators, arrays = state[:n_carried], state[n_carried:]
        # What is written over is read where it is written, or XLA would keep a copy to read from.
        current = [arrays[written[s.value]] if s.value in written else x
                   for x, s in zip(sliced, loop.sliced, strict=True)]  # fmt: skip
        chunks = [_take(x, start, size, s.axis, s.unit) for x, s in zip(current, loop.sliced, strict=True)]
        if first:
            chunks = lax.optimization_barrier(chunks)
        given = [jnp.asarray(start, jnp.int32), *chunks, *whole, *accumulators]
        results = evaluate(body, given, native=native)
        updated = [
            _put(array, piece, start, s.axis, s.unit)
            for array, piece, s in zip(arrays, results[n_carried:], loop.stacked, strict=True)
        ]
        return [*results[:n_carried], *updated]

    state = [*carried, *stacked]
    done = loop.trips * loop.chunk
    if loop.tail is not None and loop.reverse:
        state = step(loop.tail, done, loop.length - done, state)
    if loop.trips == 1:
        state = step(loop.body, 0, loop.chunk, state)
    elif loop.trips > 1:
        state = lax.fori_loop(
            0,
            loop.trips,
            lambda i, s: step(loop.body, _start(loop, i), loop.chunk, s),
            state,
        )
    if loop.tail is not None and not loop.reverse:
        state = step(loop.tail, done, loop.length - done, state)
    return list(state)


def _start(loop: Loop, trip: Any) -> Any:
    order = jnp.int32(loop.trips - 1) - trip if loop.reverse else trip
    return order * jnp.int32(loop.chunk)


def _take(x: Any, start: Any, size: int, axis: int, unit: int) -> Any:
    if isinstance(start, int):
        return lax.slice_in_dim(x, start * unit, (start + size) * unit, axis=axis)
    sizes = [*x.shape]
    sizes[axis] = size * unit
    return lax.dynamic_slice(x, _starts(x, start, axis, unit), sizes, allow_negative_indices=False)


def _put(array: Any, piece: Any, start: Any, axis: int, unit: int) -> Any:
    return lax.dynamic_update_slice(array, piece, _starts(array, start, axis, unit), allow_negative_indices=False)


def _starts(x: Any, start: Any, axis: int, unit: int) -> list[Any]:
    zero = jnp.int32(0)
    first = jnp.asarray(start, jnp.int32) * jnp.int32(unit)
    return [first if d == axis else zero for d in range(x.ndim)]
