"""Estimated time of a graph on a machine: enough to rank plans, not to predict a stopwatch.

Every kernel costs the greater of its arithmetic and its traffic, and a launch. Traffic is cheaper the
smaller the buffers are, for they stay in a cache: that is why a program cut into chunks can be faster
than the whole one. Temporaries are fresh pages of the operating system's, and the first touch of each
costs time as well.
"""

from __future__ import annotations

import math
from dataclasses import replace

from memline.analysis.fusion import FusionModel, is_read_transposed, is_view
from memline.analysis.machine import Machine
from memline.analysis.peak import Peak
from memline.analysis.products import product_of, product_seconds, turned_seconds
from memline.analysis.steps import SMALL_TOUCHED_BYTES, small_kernels, touched_bytes
from memline.ir.graph import Graph, Loop, Node, Op, Value
from memline.rules import table
from memline.rules.elementwise import COSTLY_OPS

TURNS_OF_A_WHILE = 10
"""How often a `while` is taken to turn: nobody knows beforehand, and plans for its body do not depend on it."""
_SERIAL_FLOPS = 1e5
_ROW_BY_ROW = frozenset(["top_k", "sort"])
_CONTRACTIONS = frozenset(["conv_general_dilated", "triangular_solve", "cholesky"])


def seconds(graph: Graph, peak: Peak, fusion: FusionModel, machine: Machine) -> float:
    """Returns the estimated time of one call of the graph, in seconds."""
    fresh_bytes = peak.temp_bytes + peak.output_bytes
    if machine.whole_step_bytes and small_kernels(graph) is not None:  # then it is told so: see plan.strategies
        machine = replace(machine, whole_step_bytes=SMALL_TOUCHED_BYTES)
    return _body_seconds(graph, fusion, machine) + fresh_bytes / machine.first_touch_bytes_per_s


def _body_seconds(graph: Graph, fusion: FusionModel, machine: Machine, in_loop: bool = False) -> float:
    buffers = fusion.materialised(graph)
    given = set(graph.inputs)
    spent = 0.0
    for node in graph.nodes:
        spent += node_seconds(node, buffers, given, fusion, machine, in_loop)
        if isinstance(node, Op) and node.kind == "transpose" and not is_read_transposed(graph, node):
            spent += _columns_seconds(node, machine)
    return spent


def node_seconds(
    node: Node,
    buffers: frozenset[Value],
    given: set[Value],
    fusion: FusionModel,
    machine: Machine,
    in_loop: bool = False,
) -> float:
    """Returns the estimated time of one node, in seconds.

    Args:
      node: the node.
      buffers: the values of its graph that get a buffer, from `fusion.materialised`.
      given: the graph's inputs.
      fusion: what the backend fuses.
      machine: how fast it is.
      in_loop: whether the graph is a loop's body.
    """
    if isinstance(node, Loop):
        if touched_bytes(node.body) <= machine.whole_step_bytes:
            machine = machine.inside_one_function()
        inner = _body_seconds(node.body, fusion, machine, True) + machine.loop_s
        streamed = (*(s.value for s in node.sliced), *node.outputs[len(node.carried) :])
        inner += sum(_chunk_bytes(v, node) / _rate(v.size_bytes, machine) for v in streamed)
        return inner * node.length / node.chunk
    if node.bodies:
        spent = [_body_seconds(body, fusion, machine, node.kind == "while") for body in node.bodies]
        return max(spent) if node.kind == "cond" else sum(spent) * TURNS_OF_A_WHILE
    return 0.0 if is_view(node) else op_seconds(node, buffers, given, fusion, machine, in_loop)


def op_seconds(
    op: Op,
    buffers: frozenset[Value],
    given: set[Value],
    fusion: FusionModel,
    machine: Machine,
    in_loop: bool = False,
) -> float:
    """Returns the estimated time of one op; of an inlined one only its arithmetic counts."""
    launched = any(v in buffers for v in op.outputs)
    written = sum(v.size_bytes for v in op.outputs if v in buffers)
    work = table.flops_of(op)
    if fusion.is_own_kernel(op):
        arithmetic = _own_top_k_seconds(op, machine)
    elif op.kind == "dot_general":
        arithmetic = _product_seconds(op, machine, in_loop)
    elif op.kind in _CONTRACTIONS:
        wide = max((v.dtype.itemsize for v in op.outputs), default=4)
        arithmetic = work / (machine.other_flops * 4 / max(wide, 4))
    else:
        wide = max((v.dtype.itemsize for v in op.outputs if v.ndim), default=4)
        arithmetic = work * max(wide, 4) / 4 / machine.elementwise_flops
        if op.primitive in COSTLY_OPS:
            arithmetic *= _by_row_length(op.outputs[0].shape, machine)
        if op.kind in _ROW_BY_ROW:
            arithmetic += machine.row_s * math.prod(op.inputs[0].shape[:-1])
        if launched:
            arithmetic += _row_starts_seconds(op, machine)
    traffic = sum(_move(v.size_bytes, machine) for v in op.outputs if v in buffers)
    for v in op.inputs:
        if (v in buffers or v in given or v.is_const) and v.ndim:
            traffic += _move(v.size_bytes, machine)
    begin = machine.kernel_s if launched else 0.0
    if op.kind in _CONTRACTIONS or (op.kind == "dot_general" and product_of(op).is_of_matrices):
        begin += machine.library_s
    if written < machine.serial_bytes and work < _SERIAL_FLOPS:
        arithmetic *= machine.cores
        traffic *= machine.cores
    elif launched:
        begin += machine.share_s
    return max(arithmetic, traffic) + begin


def _own_top_k_seconds(op: Op, machine: Machine) -> float:
    """One comparison an element, and more for each that is among the best so far: of n random ones k (1 + log n/k)."""
    elements = math.prod(op.inputs[0].shape)
    length, k = op.inputs[0].shape[op.params["axis"]], op.params["k"]
    better = elements / length * k * (1.0 + math.log(length / k))
    return elements / machine.compared_per_s + better * machine.better_s / machine.cores


def _product_seconds(op: Op, machine: Machine, in_loop: bool) -> float:
    product = product_of(op)
    as_it_is = product_seconds(product, machine)
    if not in_loop or product.is_left_contracted_last:
        return as_it_is
    return min(as_it_is, turned_seconds(product, machine))  # see passes.products


def _by_row_length(shape: tuple[int, ...], machine: Machine) -> float:
    """Returns how many times longer an element takes for the length of the rows that it is in."""
    length = shape[-1] if shape else 1
    if length % machine.vector == 0 or math.prod(shape) == 1:
        return 1.0
    return min(1.0 + machine.ragged / length, machine.one_by_one)


def _row_starts_seconds(op: Op, machine: Machine) -> float:
    """Returns what it takes to begin the rows of the largest array that an op reads or writes, if they are short.

    Measured, rows of half a vector and less are computed as if they were one long row, unless each of them is summed.
    """
    shape = max((v.shape for v in (*op.inputs, *op.outputs)), key=math.prod, default=())
    is_summed = bool(shape) and len(shape) - 1 in op.params.get("axes", ()) and op.kind.startswith("reduce_")
    shortest = 1 if is_summed else machine.vector / 2
    if not shape or not shortest < shape[-1] < machine.short_row:
        return 0.0
    return machine.short_row_s * math.prod(shape[:-1]) / machine.cores


def _columns_seconds(op: Op, machine: Machine) -> float:
    """Returns what it takes besides to read by columns an array whose rows all begin in the same places of a cache.

    Measured for rows of multiples of 1 and of 2 KiB: a column of a thousand elements then finds no room there, and
    each element is read from farther away.
    """
    (x,), (y,) = op.inputs, op.outputs
    row_bytes = x.shape[-1] * x.dtype.itemsize if x.ndim else 0
    if not x.ndim or y.shape[-1] == 1 or x.shape[-1] == 1 or row_bytes % 1024:
        return 0.0
    if op.params["permutation"][-1] == x.ndim - 1:  # rows stay rows
        return 0.0
    share = (1.0 if row_bytes % 2048 == 0 else 0.25) * min(y.shape[-1] / 1000, 1.0)
    return share * machine.far_element_s * math.prod(x.shape) / machine.cores


def _chunk_bytes(v: Value, loop: Loop) -> int:
    return v.size_bytes * loop.chunk // max(loop.length, 1)


def _move(size_bytes: int, machine: Machine) -> float:
    return size_bytes / _rate(size_bytes, machine)


def _rate(size_bytes: int, machine: Machine) -> float:
    """Returns how fast an array is read or written: one that fits into a cache is taken to be there."""
    return next(
        (rate for limit_bytes, rate in machine.cache_bytes if size_bytes <= limit_bytes), machine.memory_bytes_per_s
    )
