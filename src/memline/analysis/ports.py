"""Where values go into what a loop, a `while` or a `cond` runs, and come out of it."""

from __future__ import annotations

from dataclasses import dataclass

from memline.ir.graph import Loop, Node, Op, Value


@dataclass(frozen=True, eq=False)
class Port:
    """An operand or a result of a node that runs graphs, or both where it is carried, and what they are inside.

    All of these run along a split's axis in the same way, or none does.

    Args:
      operand: its position among the node's operands, if any.
      result: its position among the node's results, if any.
      inputs: the inputs of bodies that it goes into.
      outputs: what it comes out of: the number of a body and the position among its outputs.
    """

    operand: int | None
    result: int | None
    inputs: tuple[Value, ...]
    outputs: tuple[tuple[int, int], ...]


def ports_of(node: Node) -> tuple[Port, ...]:
    """Returns the ports of a loop, an opened `while` or an opened `cond`; the index of a `cond` has none.

    >>> import jax
    >>> from memline.ir.trace import from_jaxpr
    >>> doubled = jax.make_jaxpr(lambda x: jax.lax.while_loop(lambda x: x < 9.0, lambda x: 2 * x, x))(1.0)
    >>> [op] = from_jaxpr(doubled, open_bodies=True).nodes
    >>> [(port.operand, port.result, len(port.inputs), port.outputs) for port in ports_of(op)]
    [(0, 0, 2, ((1, 0),))]
    """
    if isinstance(node, Loop):
        return _of_loop(node)
    if node.kind == "cond":
        return _of_cond(node)
    test, body = node.bodies
    n_test, n_body = node.params["cond_nconsts"], node.params["body_nconsts"]
    return (
        *(Port(at, None, (v,), ()) for at, v in enumerate(test.inputs[:n_test])),
        *(Port(n_test + at, None, (v,), ()) for at, v in enumerate(body.inputs[:n_body])),
        *(
            Port(n_test + n_body + at, at, (tested, v), ((1, at),))
            for at, (tested, v) in enumerate(zip(test.inputs[n_test:], body.inputs[n_body:], strict=True))
        ),
    )


def _of_loop(loop: Loop) -> tuple[Port, ...]:
    n_carried = len(loop.carried)
    first_carry = len(loop.inputs) - n_carried
    inputs = loop.body.inputs[1:]
    return (
        *(Port(at, None, (v,), ()) for at, v in enumerate(inputs[:first_carry])),
        *(Port(first_carry + at, at, (v,), ((0, at),)) for at, v in enumerate(inputs[first_carry:])),
        *(Port(None, at, (), ((0, at),)) for at in range(n_carried, len(loop.outputs))),
    )


def _of_cond(op: Op) -> tuple[Port, ...]:
    numbers = range(len(op.bodies))
    columns = zip(*(body.inputs for body in op.bodies), strict=True)
    return (
        *(Port(1 + at, None, values, ()) for at, values in enumerate(columns)),
        *(Port(None, at, (), tuple((number, at) for number in numbers)) for at in range(len(op.outputs))),
    )
