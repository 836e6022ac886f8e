"""A graph as text a person can read: one line a node, loops indented, the user's line at the end.

    %7 f32[512,200000] = dot_general %3 %5   # knn.py:12 (distances)

The names are those that moves use.
"""

from __future__ import annotations

import numpy as np

from memline.ir.graph import Graph, Loop, Node, Op, Value

_INDENT = "  "
_SHOWN_PARAMS = ("axes", "axis", "dimension", "dimension_numbers", "permutation", "new_dtype", "y", "k")


def value_text(value: Value) -> str:
    """Returns how a value is written where it is used: its name, or the number itself.

    >>> import jax.numpy as jnp
    >>> from memline.compat import aval_of
    >>> value_text(Value(aval_of(jnp.float32(2)), "%c0", np.float32(2)))
    '2.0'
    """
    if value.is_const and value.shape == () and np.ndim(value.const) == 0:
        try:
            return str(np.asarray(value.const)[()])
        except (TypeError, ValueError):
            return value.name
    return value.name


def node_name(node: Node) -> str:
    """Returns how a node is called in reasons: its kind and where the user wrote it."""
    return f"{node.kind} ({node.source})" if node.source else node.kind


def graph_text(graph: Graph, indent: int = 0) -> str:
    """Returns the graph as text; `indent` is the depth at which its lines begin."""
    pad = _INDENT * indent
    lines = [f"{pad}inputs " + " ".join(f"{v.name} {v.aval.str_short()}" for v in graph.inputs)]
    for const in graph.consts if indent == 0 else ():
        if const.shape != ():
            lines.append(f"{pad}const {const.name} {const.aval.str_short()}")
    for node in graph.nodes:
        lines.extend(_loop_lines(node, indent) if isinstance(node, Loop) else _op_lines(node, indent))
    lines.append(f"{pad}return " + " ".join(value_text(v) for v in graph.outputs))
    return "\n".join(lines)


def _op_lines(op: Op, indent: int) -> list[str]:
    return [_op_line(op, indent), *(graph_text(body, indent + 1) for body in op.bodies)]


def _op_line(op: Op, indent: int) -> str:
    results = ", ".join(f"{v.name} {v.aval.str_short()}" for v in op.outputs)
    params = " ".join(f"{k}={_param(op.params[k])}" for k in _SHOWN_PARAMS if k in op.params)
    params = f"[{params}]" if params else ""
    operands = " ".join(value_text(v) for v in op.inputs)
    source = f"   # {op.source}" if op.source else ""
    return f"{_INDENT * indent}{results} = {op.kind}{params} {operands}".rstrip() + source


def _param(value: object) -> str:
    return str(value).replace(" ", "")


def _loop_lines(loop: Loop, indent: int) -> list[str]:
    pad = _INDENT * indent
    results = ", ".join(f"{v.name} {v.aval.str_short()}" for v in loop.outputs)
    rest = loop.length - loop.trips * loop.chunk
    tail = f" tail={rest}" if loop.tail is not None else ""
    source = f"   # {loop.source}" if loop.source else ""
    order = " reverse" if loop.reverse else ""
    lines = [f"{pad}{results} = loop length={loop.length} chunk={loop.chunk} trips={loop.trips}{tail}{order}{source}"]
    inner = pad + _INDENT
    if loop.sliced:
        slices = (f"{s.value.name} axis={s.axis}" + (f" unit={s.unit}" if s.unit != 1 else "") for s in loop.sliced)
        lines.append(f"{inner}slices " + ", ".join(slices))
    if loop.whole:
        lines.append(f"{inner}whole " + " ".join(v.name for v in loop.whole))
    if loop.carried:
        lines.append(f"{inner}carries " + " ".join(value_text(v) for v in loop.carried))
    if loop.stacked:
        stacks = (f"axis={s.axis}" + (f" unit={s.unit}" if s.unit != 1 else "") for s in loop.stacked)
        lines.append(f"{inner}stacks " + ", ".join(stacks))
    lines.append(graph_text(loop.body, indent + 1))
    return lines
