"""What a legal graph is, checked from scratch: this file imports no pass and no rule.

A graph is legal if every value is made once and before it is used, names tell values apart, every op
has the results that JAX infers for it, and every loop's bodies fit what it slices, carries and stacks.
Slow and plain on purpose: it runs in tests and when debugging, not in a user's call.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from memline import compat
from memline.ir.graph import Graph, Loop, Op, Value


class IllegalGraph(AssertionError):
    """A graph breaks a rule of the form; the message says where, what was found and what belongs there."""


def check(graph: Graph) -> None:
    """Raises `IllegalGraph` unless the graph, loop bodies included, is legal.

    >>> from memline.ir.trace import trace
    >>> check(trace(lambda x: x + 1, jax.ShapeDtypeStruct((3,), "float32")))
    """
    _check_scope(graph, "graph")


def _check_scope(graph: Graph, where: str) -> None:
    """Checks one graph with nothing in scope but its inputs and constants."""
    made: set[Value] = set()
    names: dict[str, Value] = {}

    def make(value: Value, by: str) -> None:
        _require(not value.is_const, f"{by} makes {value!r}, which is a constant")
        _require(value not in made, f"{by} makes {value!r}, which was made before")
        _require(value.name not in names, f"{by} makes {value!r}, whose name is taken by {names.get(value.name)!r}")
        made.add(value)
        names[value.name] = value

    def use(value: Value, by: str) -> None:
        if not value.is_const:
            _require(value in made, f"{by} uses {value!r} before it is made, or from outside")
            return
        _check_constant(value, by)
        if value.shape != ():  # scalars are written as numbers, so that their names do not matter
            known = names.setdefault(value.name, value)
            _require(known is value, f"{by} uses the constant {value!r}, whose name is taken by {known!r}")

    for v in graph.inputs:
        make(v, f"the input list of {where}")
    for position, node in enumerate(graph.nodes):
        here = f"node {position} ({node.kind}) of {where}"
        for v in node.inputs:
            use(v, here)
        if isinstance(node, Loop):
            _check_loop(node, here)
        else:
            _check_op(node, here)
        for v in node.outputs:
            make(v, here)
    for v in graph.outputs:
        use(v, f"the output list of {where}")


def _check_constant(value: Value, by: str) -> None:
    found = compat.aval_of(value.const)
    _require(
        _type(value) == (found.shape, found.dtype),
        f"{by} uses the constant {value!r}, whose data is {found.str_short()}",
    )


def _check_op(op: Op, here: str) -> None:
    """An op's results are those that JAX infers from its operands and params."""
    if op.bodies:
        _check_bodies(op, here)
        return
    if not all(compat.is_array_aval(v.aval) for v in op.inputs):
        return  # tokens and references cannot be evaluated on their own
    operands = [jax.ShapeDtypeStruct(v.shape, v.dtype) for v in op.inputs]
    try:
        with compat.wide_enough(v.dtype for v in op.inputs):
            inferred = jax.eval_shape(lambda *xs: compat.bind(op.primitive, op.params, xs, op.context), *operands)
    except Exception as error:
        raise IllegalGraph(f"{here}: JAX refuses the op on {op.inputs}: {error}") from error
    expected = [(x.shape, x.dtype) for x in inferred]
    found = [_type(v) for v in op.outputs]
    _require(found == expected, f"{here} has results {_types_text(found)}, JAX infers {_types_text(expected)}")


def _check_bodies(op: Op, here: str) -> None:
    """What a `while` or a `cond` runs takes its operands and gives its results."""
    operands, results = [_type(v) for v in op.inputs], [_type(v) for v in op.outputs]
    if op.kind == "cond":
        expected = [(operands[1:], results)] * len(op.bodies)
    else:
        n_test, n_body = op.params["cond_nconsts"], op.params["body_nconsts"]
        _require(operands[n_test + n_body :] == results, f"{here} begins with other types than it ends with")
        of_test = [*operands[:n_test], *results]
        # A batched test has axes; each element then stops by itself.
        tests = [_type(v) for v in op.bodies[0].outputs]
        _require(
            len(tests) == 1 and tests[0][1] == np.bool_, f"body 0 of {here} gives {_types_text(tests)}, for a bool"
        )
        expected = [(of_test, tests), (operands[n_test:], results)]
    for number, (body, (takes, gives)) in enumerate(zip(op.bodies, expected, strict=True)):
        where = f"body {number} of {here}"
        _compare(body.inputs, takes, f"{where} takes")
        _compare(body.outputs, gives, f"{where} gives")
        _check_scope(body, where)


def _check_loop(loop: Loop, here: str) -> None:
    _require(loop.length >= 1, f"{here} has length {loop.length}")
    _require(1 <= loop.chunk <= loop.length, f"{here} has chunk {loop.chunk} of length {loop.length}")
    for s in loop.sliced:
        _check_axis(s.value, s.axis, s.unit, loop.length, f"{here} slices")
    n_results = len(loop.carried) + len(loop.stacked)
    _require(
        len(loop.outputs) == n_results,
        f"{here} has {len(loop.outputs)} outputs for {len(loop.carried)} carried and {len(loop.stacked)} stacked",
    )
    for before, after in zip(loop.carried, loop.outputs, strict=False):
        _require(_type(before) == _type(after), f"{here} carries {before!r} in and {after!r} out")
    for s, v in zip(loop.stacked, loop.outputs[len(loop.carried) :], strict=True):
        _check_axis(v, s.axis, s.unit, loop.length, f"{here} stacks")

    rest = loop.length % loop.chunk
    _require(
        (loop.tail is not None) == (rest > 0),
        f"{here} {'has a' if loop.tail is not None else 'lacks a'} tail, with {rest} steps left over",
    )
    _check_body(loop, loop.body, loop.chunk, f"the body of {here}")
    if loop.tail is not None:
        _check_body(loop, loop.tail, rest, f"the tail of {here}")


def _check_body(loop: Loop, body: Graph, steps: int, where: str) -> None:
    """A body takes the first step, chunks, whole values, accumulators; it gives accumulators and chunks."""
    inputs = [((), "int32")]
    inputs += [_chunk_type(s.value, s.axis, s.unit * steps) for s in loop.sliced]
    inputs += [_type(v) for v in (*loop.whole, *loop.carried)]
    _compare(body.inputs, inputs, f"{where} takes")
    outputs = [_type(v) for v in loop.carried]
    stacked = loop.outputs[len(loop.carried) :]
    outputs += [_chunk_type(v, s.axis, s.unit * steps) for s, v in zip(loop.stacked, stacked, strict=True)]
    _compare(body.outputs, outputs, f"{where} gives")
    _check_scope(body, where)


def _check_axis(value: Value, axis: int, unit: int, length: int, what: str) -> None:
    _require(0 <= axis < value.ndim, f"{what} axis {axis} of {value!r}")
    _require(unit >= 1, f"{what} {value!r} with unit {unit}")
    _require(
        value.shape[axis] == length * unit,
        f"{what} {value!r} along axis {axis}: {value.shape[axis]} elements for {length} steps of {unit}",
    )


def _compare(values: Sequence[Value], expected: Sequence[tuple[Any, Any]], what: str) -> None:
    found = [_type(v) for v in values]
    _require(found == expected, f"{what} {_types_text(found)}, for {_types_text(expected)}")


def _type(value: Value) -> tuple[Any, Any]:
    return value.shape, value.dtype


def _chunk_type(value: Value, axis: int, size: int) -> tuple[Any, Any]:
    return (*value.shape[:axis], size, *value.shape[axis + 1 :]), value.dtype


def _types_text(types: Sequence[tuple[Any, Any]]) -> str:
    return ", ".join(f"{dtype}[{','.join(map(str, shape))}]" for shape, dtype in types) or "nothing"


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise IllegalGraph(message)
