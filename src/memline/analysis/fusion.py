"""Which values a backend really writes to memory, and which it computes inside the kernel that reads them.

Calibrated against compiled programs, not against wishes. XLA:CPU (jax 0.10, library fusions off) fuses
elementwise chains, broadcasts, slices and short reductions into elementwise readers; it does not fuse
anything into a matrix product, a convolution, a sort, a call into LAPACK, or a long reduction, which
it first rewrites as a tree. XLA:GPU also fuses into reductions.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TypeGuard
from weakref import WeakKeyDictionary

import numpy as np

from memline.ir.graph import Graph, Loop, Node, Op, Value
from memline.ir.served import is_served
from memline.rules import elementwise

_MOVES = frozenset(
    """broadcast_in_dim reshape squeeze transpose slice pad iota rev concatenate dynamic_slice gather
    select_n convert_element_type bitcast_convert_type split copy expand_dims reduce_precision
    random_bits threefry2x32 clamp random_wrap random_unwrap""".split()
)
_REDUCTIONS = frozenset(
    """reduce_sum reduce_max reduce_min reduce_prod reduce_and reduce_or reduce_xor argmax argmin
    reduce_precision""".split()
)
_NEVER_FUSED = frozenset(["concatenate"])
# Reductions that XLA:CPU does not rewrite as a tree compute their operand inside themselves, however long.
_FUSING_REDUCTIONS = frozenset(["argmax", "argmin"])
# A scan is rewritten over a padded copy of its operand, which is computed right into the copy.
SCANS = frozenset(["cumsum", "cumprod", "cummax", "cummin", "cumlogsumexp"])
# Computed again in every kernel that reads them, unless they are of the costly ones.
_DIVISIONS = frozenset(["div", "integer_pow", "square"])

# Peaks and times are asked of the same graphs; the answers go with them.
_BUFFERS: WeakKeyDictionary[Graph, dict[FusionModel, frozenset[Value]]] = WeakKeyDictionary()


@dataclass(frozen=True)
class FusionModel:
    """What one backend fuses.

    Attributes:
      short_reduction: a reduction over at most so many elements is computed inside its reader, and
        computes what it reads inside itself.
      fuses_into_reductions: whether long reductions compute their operand inside themselves.
      runs_what_is_ready: whether kernels run as soon as they can, instead of in the order of the program.
      hides_scratch: whether kernels take scratch that the account of a compiled program does not show.
      kernels: whether memline's own kernels compute what they serve.
    """

    name: str
    short_reduction: int
    fuses_into_reductions: bool
    runs_what_is_ready: bool
    hides_scratch: bool
    kernels: bool = False

    def materialised(self, graph: Graph) -> frozenset[Value]:
        """Returns the values of a graph that get a buffer of their own; bodies of loops not included.

        Inputs of a loop's body count too: a chunk that is read by a fusing kernel is never copied out.
        """
        known = _BUFFERS.setdefault(graph, {})
        if self not in known:
            known[self] = self._buffers(graph)
        return known[self]

    def _buffers(self, graph: Graph) -> frozenset[Value]:
        outputs = set(graph.outputs)
        found: set[Value] = set()
        for v in reversed(list(graph.values())):  # readers first
            if v in outputs or not self._is_inlined(graph, v, found):
                found.add(v)
        return frozenset(found)

    def _is_inlined(self, graph: Graph, v: Value, buffers: set[Value]) -> bool:
        maker = graph.producer.get(v)
        uses = graph.consumers.get(v, ())
        if maker is not None and adds_to_its_reader(graph, maker):
            return True
        if maker is not None and not self.can_be_inlined(maker):
            return False
        for node, position in uses:
            if position == 0 and adds_to_its_reader(graph, node):
                continue
            is_seen = is_view(node) or is_read_transposed(graph, node)
            if not self.inlines_operands(node) or (is_seen and node.outputs[0] in buffers):
                return False
        return len({id(node) for node, _ in uses}) <= 1 or not _is_costly(maker)

    def is_repeated(self, node: Node) -> bool:
        """Whether kernels that inline operands compute the node themselves even where it also has a buffer.

        So it is for cheap ops with at most one big operand; what they read is then held until the last of
        those kernels has run.
        """
        if not is_elementwise(node) or not self.can_be_inlined(node):
            return False
        if _is_costly(node) and node.kind not in _DIVISIONS:
            return False
        return sum(v.shape == node.outputs[0].shape for v in set(node.inputs)) <= 1

    def is_own_kernel(self, node: Node) -> TypeGuard[Op]:
        """Whether one of memline's own kernels computes the node."""
        return self.kernels and is_served(node)

    def can_be_inlined(self, node: Node) -> bool:
        """Whether the node's result may be computed inside the kernel that reads it."""
        if isinstance(node, Loop) or node.kind in _NEVER_FUSED or len(node.outputs) != 1:
            return False
        if node.kind in _REDUCTIONS:
            return _reduced_size(node) <= self.short_reduction
        return is_elementwise(node) or node.kind in _MOVES or is_outer_product(node)

    def inlines_operands(self, node: Node) -> bool:
        """Whether the node's kernel may compute its operands inside itself."""
        if isinstance(node, Loop):
            return False
        if self.is_own_kernel(node):
            return False
        if node.kind in _FUSING_REDUCTIONS or widens_keys(node):
            return True
        if node.kind in _REDUCTIONS:
            return self.fuses_into_reductions or _reduced_size(node) <= self.short_reduction
        if node.kind in _NEVER_FUSED:
            return self.fuses_into_reductions
        if node.kind in SCANS or node.kind == "dynamic_update_slice" or is_outer_product(node):
            return True
        return is_elementwise(node) or node.kind in _MOVES


CPU = FusionModel("cpu", short_reduction=32, fuses_into_reductions=False, runs_what_is_ready=True, hides_scratch=True)
GPU = FusionModel(
    "gpu", short_reduction=1 << 62, fuses_into_reductions=True, runs_what_is_ready=False, hides_scratch=False
)


def model_for(platform: str, *, kernels: bool = False) -> FusionModel:
    """Returns the fusion model of a platform; an unknown one is taken to fuse as XLA:GPU does.

    Args:
      platform: as JAX calls it.
      kernels: whether memline's own kernels are used.
    """
    return replace(CPU if platform == "cpu" else GPU, kernels=kernels)


def is_elementwise(node: Node) -> TypeGuard[Op]:
    """Whether the node is an op with the elementwise axes rule."""
    return isinstance(node, Op) and node.primitive in _ELEMENTWISE


def is_outer_product(node: Node) -> bool:
    """Whether the node is a product of two arrays that sums over one element at most: it is a multiplication to XLA."""
    if not isinstance(node, Op) or node.kind != "dot_general":
        return False
    contracted, _ = node.params["dimension_numbers"]
    return all(node.inputs[0].shape[axis] == 1 for axis in contracted[0])


def is_view(node: Node) -> bool:
    """Whether the node's result is its operand's buffer seen otherwise, so that it takes no memory."""
    if isinstance(node, Loop):
        return False
    if node.kind in ("reshape", "squeeze", "expand_dims", "stop_gradient", "optimization_barrier"):
        return True
    if node.kind == "broadcast_in_dim":
        return math.prod(node.inputs[0].shape) == math.prod(node.outputs[0].shape)
    if node.kind == "transpose":
        kept = [a for a in node.params["permutation"] if node.inputs[0].shape[a] != 1]
        return kept == sorted(kept)
    return False


def _reduced_size(op: Op) -> int:
    axes = op.params.get("axes", ())
    return math.prod(op.inputs[0].shape[a] for a in axes)


def _is_costly(node: Node | None) -> bool:
    return isinstance(node, Op) and (node.primitive in _COSTLY or node.kind in _REDUCTIONS or node.kind == "pad")


def widens_keys(node: Node) -> bool:
    """Whether a top-k compares elements of 32 bits instead of its operand's, which it computes from their makers.

    Up to jax 0.10 they are of float32; since then an element and its place are packed into one integer.
    """
    return node.kind == "top_k" and str(node.inputs[0].dtype) == "bfloat16"


def adds_to_its_reader(graph: Graph, node: Node) -> bool:
    """Whether the node scatters into zeros that are then added to an array: it is made to scatter into that."""
    if node.kind not in ("scatter-add", "scatter_add"):
        return False
    zeros = graph.producer.get(node.inputs[0])
    readers = graph.consumers.get(node.outputs[0], ())
    if len(readers) != 1 or readers[0][0].kind not in ("add", "add_any") or node.outputs[0] in graph.outputs:
        return False
    return zeros is not None and zeros.kind == "broadcast_in_dim" and _is_zero(zeros.inputs[0])


def _is_zero(v: Value) -> bool:
    return v.is_const and v.shape == () and not np.asarray(v.const).any()


def is_read_transposed(graph: Graph, node: Node) -> bool:
    """Whether a matrix is transposed for products and reductions only, which read it as it lies."""
    if node.kind != "transpose" or node.outputs[0].ndim != 2 or node.outputs[0] in graph.outputs:
        return False
    readers = graph.consumers.get(node.outputs[0], ())
    return all(reader.kind == "dot_general" or reader.kind in _REDUCTIONS for reader, _ in readers)


_CHEAP_TO_XLA = frozenset(["sin", "cos"])
_COSTLY = frozenset(p for name, p in elementwise.COSTLY.items() if name not in _CHEAP_TO_XLA)
_ELEMENTWISE = frozenset([*elementwise.CHEAP.values(), *elementwise.COSTLY.values()])
