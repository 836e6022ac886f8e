"""Estimated time of a graph on a machine: enough to rank plans, not to predict a stopwatch.

Every kernel costs the greater of its arithmetic and its traffic, and a launch. Traffic is cheaper the
smaller the buffers are, for they stay in a cache: that is why a program cut into chunks can be faster
than the whole one. Temporaries are fresh pages of the operating system's, and the first touch of each
costs time as well.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from memline.analysis.fusion import FusionModel, is_view
from memline.analysis.peak import Peak
from memline.ir.graph import Graph, Loop, Node, Op, Value
from memline.rules import table

_ROW_BY_ROW = frozenset(["top_k", "sort"])
_CONTRACTIONS = frozenset(["dot_general", "conv_general_dilated", "triangular_solve", "cholesky"])


@dataclass(frozen=True)
class Machine:
    """What the estimate takes a device to be; rates are per second for the whole device."""

    contraction_flops: float
    """Multiply-adds of float32 matrix products, counted as two."""
    elementwise_flops: float
    cache_bytes: tuple[tuple[int, float], ...]
    """Pairs (buffers up to this size, bytes per second), fastest first."""
    memory_bytes_per_s: float
    first_touch_bytes_per_s: float
    kernel_s: float
    """Launch of a kernel."""
    loop_s: float
    """An iteration of a loop, beside its kernels."""
    row_s: float
    """Beginning one more row of a sort or a top-k."""
    serial_bytes: int
    """Kernels that write less than this do not use more than one core (or fill the device)."""
    cores: int


CPU = Machine(
    contraction_flops=300e9,
    elementwise_flops=30e9,
    cache_bytes=((1 << 19, 80e9), (4 << 20, 40e9), (16 << 20, 20e9)),
    memory_bytes_per_s=9e9,
    first_touch_bytes_per_s=2.5e9,
    kernel_s=5e-6,
    loop_s=10e-6,
    row_s=1e-6,
    serial_bytes=1 << 16,
    cores=2,
)
GPU = Machine(
    contraction_flops=40e12,
    elementwise_flops=10e12,
    cache_bytes=((32 << 20, 5e12),),
    memory_bytes_per_s=2e12,
    first_touch_bytes_per_s=1e15,
    kernel_s=4e-6,
    loop_s=10e-6,
    row_s=1e-9,
    serial_bytes=1 << 20,
    cores=8,
)


def machine_for(platform: str) -> Machine:
    """Returns the machine that estimates for a platform are made with."""
    return CPU if platform == "cpu" else GPU


def seconds(graph: Graph, peak: Peak, fusion: FusionModel, machine: Machine) -> float:
    """Returns the estimated time of one call of the graph, in seconds."""
    fresh_bytes = peak.temp_bytes + peak.output_bytes
    return _body_seconds(graph, fusion, machine) + fresh_bytes / machine.first_touch_bytes_per_s


def _body_seconds(graph: Graph, fusion: FusionModel, machine: Machine) -> float:
    buffers = fusion.materialised(graph)
    given = set(graph.inputs)
    spent = 0.0
    for node in graph.nodes:
        if isinstance(node, Loop):
            inner = _body_seconds(node.body, fusion, machine) + machine.loop_s
            inner += sum(_move(_chunk_bytes(v, node), machine) for v in node.outputs[len(node.carried) :])
            spent += inner * node.length / node.chunk
            continue
        if is_view(node):
            continue
        spent += op_seconds(node, buffers, given, fusion, machine)
    return spent


def op_seconds(
    op: Op,
    buffers: frozenset[Value],
    given: set[Value],
    fusion: FusionModel,
    machine: Machine,
) -> float:
    """Returns the estimated time of one op; of an inlined one only its arithmetic counts."""
    launched = any(v in buffers for v in op.outputs)
    written = sum(v.size_bytes for v in op.outputs if v in buffers)
    work = table.flops_of(op)
    if op.kind in _CONTRACTIONS:
        wide = max((v.dtype.itemsize for v in op.outputs), default=4)
        arithmetic = work / (machine.contraction_flops * 4 / max(wide, 4))
        arithmetic = max(arithmetic, _skinny_seconds(op, work, machine))
    else:
        wide = max((v.dtype.itemsize for v in op.outputs if v.ndim), default=4)
        arithmetic = work * max(wide, 4) / 4 / machine.elementwise_flops
        if op.kind in _ROW_BY_ROW:
            arithmetic += machine.row_s * math.prod(op.inputs[0].shape[:-1])
    traffic = sum(_move(v.size_bytes, machine) for v in op.outputs if v in buffers)
    for v in op.inputs:
        if (v in buffers or v in given or v.is_const) and v.ndim:
            traffic += _move(v.size_bytes, machine)
    if written < machine.serial_bytes and work < 1e5:
        arithmetic *= machine.cores
        traffic *= machine.cores
    return max(arithmetic, traffic) + (machine.kernel_s if launched else 0.0)


def _skinny_seconds(op: Op, work: float, machine: Machine) -> float:
    """Products with a short side do not reach the full rate: they are bound by loads."""
    if op.kind != "dot_general":
        return 0.0
    (left_contract, _), _ = op.params["dimension_numbers"]
    k = math.prod(op.inputs[0].shape[a] for a in left_contract)
    size = math.prod(op.outputs[0].shape)
    m = math.prod(op.inputs[0].shape) / max(k, 1)
    n = math.prod(op.inputs[1].shape) / max(k, 1)
    batch = max(m * n / max(size, 1), 1.0)
    shortest = max(min(k, m / batch, n / batch), 1.0)
    return work / (machine.contraction_flops * min(1.0, shortest / 32))


def _chunk_bytes(v: Value, loop: Loop) -> int:
    return v.size_bytes * loop.chunk // max(loop.length, 1)


def _move(size_bytes: int, machine: Machine) -> float:
    for limit_bytes, rate in machine.cache_bytes:
        if size_bytes <= limit_bytes:
            return size_bytes / rate
    return size_bytes / machine.memory_bytes_per_s


def node_name(node: Node) -> str:
    """Returns how a node is called in reasons: its kind and where the user wrote it."""
    return f"{node.kind} ({node.source})" if node.source else node.kind
