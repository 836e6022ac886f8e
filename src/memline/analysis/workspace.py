"""Scratch that operations take on the CPU and that XLA's account of a program does not show, from types alone.

The laws are measured ones: jax 0.10.2 and 0.11.2, 2 and 8 threads. They say what `memline.verify.scratch` says of
compiled instructions, and share no code with it, since that is what checks the plans made with this. They know no
other work that runs at the same time, and leave out what is below a few MiB.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import jax

from memline.analysis.products import product_of
from memline.compat import itemsize_bytes
from memline.devices import thread_count
from memline.ir.graph import Loop, Node, Op

# Sorting of pairs, sorting of rows in parallel, and the library's products changed with this version.
_IS_NEW = jax.__version_info__ >= (0, 11)
_MIB = 2**20


def scratch_bytes(node: Node, in_loop: bool = False) -> int:
    """Returns the bytes that a node's kernel takes outside XLA's account on the CPU; 0 for loops.

    In a loop the C library keeps what a product gave back in a pool for each thread: several times its scratch.
    """
    if isinstance(node, Loop) or node.kind not in _LAWS:
        return 0
    found = _LAWS[node.kind](node)
    by_threads = 0
    if node.kind == "dot_general" and product_of(node).is_left_contracted_last:
        by_threads = min(thread_count() * _MIB, sum(v.size_bytes for v in node.inputs))
        pools = 2
    else:
        pools = 8 if node.kind in ("dot_general", "conv_general_dilated") else 1
    if in_loop and found < 32 * _MIB:  # bigger blocks never go to a pool
        found *= min(thread_count() + 3, pools)
    return by_threads + found


def _sort(op: Op) -> int:
    """A row of 16 bytes for each element of each operand; half a row as it is for one operand of integers."""
    if not op.params.get("is_stable", True):
        return 0
    shape = op.inputs[0].shape
    axis = op.params["dimension"] % max(1, len(shape))
    if len(op.inputs) == 1 and op.inputs[0].dtype.kind in "iu":
        return _rows_bytes(shape, axis, itemsize_bytes(op.inputs[0].dtype) * shape[axis] // 2)
    return _rows_bytes(shape, axis, _records_bytes(op, shape, axis))


def _records_bytes(op: Op, shape: tuple[int, ...], axis: int) -> int:
    is_strided = math.prod(shape[axis + 1 :]) > 1
    if len(op.inputs) == 2 and _IS_NEW and not (is_strided and shape[axis] > 65536):
        pair = 2 * max(itemsize_bytes(v.dtype) for v in op.inputs)
        return pair * shape[axis] * (2 if is_strided else 1)
    return 16 * len(op.inputs) * shape[axis]


def _rows_bytes(shape: tuple[int, ...], axis: int, row_bytes: int) -> int:
    rows = math.prod(shape) // max(1, shape[axis])
    return row_bytes * (min(rows, thread_count()) if _IS_NEW else 1)


def _top_k(op: Op) -> int:
    """The places of a row; other types than float32 are sorted in pairs with their places."""
    operand = op.inputs[0]
    axis = operand.ndim - 1
    length = operand.shape[axis]
    if str(operand.dtype) == "float32":
        return 4 * length
    pair = 2 * max(4, itemsize_bytes(operand.dtype))
    return _rows_bytes(operand.shape, axis, (pair if _IS_NEW else 32) * length)


def _fft(op: Op) -> int:
    """A line of complex numbers for each thread; eight where a factor of the length is a big prime."""
    operand, result = op.inputs[0], op.outputs[0]
    lengths = [int(length) for length in op.params["fft_lengths"]]
    complex_bytes = max(8, itemsize_bytes(operand.dtype), itemsize_bytes(result.dtype))
    if str(operand.dtype) == "float64":
        complex_bytes = 16
    copies = 2 if operand.dtype.kind == "c" and result.dtype.kind == "f" else 1
    line = max(length * (8 if _has_big_prime(length) else copies) for length in lengths)
    lines = max(math.prod(operand.shape), math.prod(result.shape)) // max(1, *lengths)
    return complex_bytes * line * min(max(1, lines), thread_count())


def _has_big_prime(number: int) -> bool:
    for factor in range(2, 101):
        while number and number % factor == 0:
            number //= factor
    return number > 1


def _dot(op: Op) -> int:
    """Eigen packs slices of both operands, for several products of a batch at once.

    The library takes 1 MiB for each thread and, up to jax 0.10, blocks of all right operands of a batch.
    """
    product, right = product_of(op), op.inputs[1]
    rows, columns = product.rows, product.columns
    if min(rows, columns) <= 1:
        return 0
    itemsize = itemsize_bytes(right.dtype)
    if product.is_left_contracted_last:  # Eigen takes the others
        if product.batch == 1 or _IS_NEW:
            return 0
        block = max(_MIB // 2, 128 * product.inner * itemsize)
        return min(right.size_bytes, product.batch * block * max(1, thread_count() // 2))
    packed = min(product.inner, 600) * (columns + min(rows, 4 * columns)) * itemsize
    return packed * min(product.batch, 2 * thread_count() + 2)


def _convolution(op: Op) -> int:
    """Groups, dilated inputs (gradients of strided ones) and three spatial axes take much, others little."""
    numbers = op.params["dimension_numbers"]
    left, kernel, result = op.inputs[0], op.inputs[1], op.outputs[0]
    groups = op.params["feature_group_count"]
    channels = max(1, result.shape[numbers.out_spec[1]])
    window = math.prod(kernel.shape[axis] for axis in numbers.rhs_spec[2:])
    if groups > 1:
        patch = math.prod(kernel.shape) // channels
        return int(max(1.0, min(patch, 9) * groups / channels) * result.size_bytes)
    if max(op.params["lhs_dilation"], default=1) > 1 and max(op.params["rhs_dilation"], default=1) == 1:
        places = math.prod(left.shape) // max(1, left.shape[numbers.lhs_spec[1]])
        return places * window * channels * itemsize_bytes(left.dtype)
    if result.ndim >= 5:
        return result.size_bytes if window > 1 else 0
    inner = math.prod(kernel.shape) // channels
    return min(inner, 600) * 5 * channels * itemsize_bytes(result.dtype)


def _triangular_solve(op: Op) -> int:
    """From the left: up to 300 rows of the right-hand sides are packed, 32 MiB for each thread at most."""
    sides = op.inputs[1]
    if not op.params["left_side"]:
        return 0
    packed = min(sides.shape[-2], 300) * sides.shape[-1] * itemsize_bytes(sides.dtype)
    return min(packed, 32 * _MIB * thread_count())


def _eigen(op: Op) -> int:
    """Work arrays for one matrix of a batch."""
    operand = op.inputs[0]
    copies = 1 if op.kind == "eigh" else 2
    return copies * math.prod(operand.shape[-2:]) * itemsize_bytes(operand.dtype)


_LAWS: dict[str, Callable[[Op], int]] = {
    "sort": _sort,
    "top_k": _top_k,
    "fft": _fft,
    "dot_general": _dot,
    "conv_general_dilated": _convolution,
    "triangular_solve": _triangular_solve,
    "eigh": _eigen,
    "svd": _eigen,
    "eig": _eigen,
}
