"""The laws of scratch memory: what one instruction of a compiled CPU program takes and no account shows.

Each was found by measuring single instructions of many sizes in fresh processes (jax 0.10.2 and 0.11.2, 2 and 8
threads), and is rather too high than too low. Scratch below a few MiB is not counted.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass

import jax

from memline.verify.hlo import Computation, Instruction, Shape, number_after, sizes_after

# Sorting of pairs, sorting of rows in parallel, and the library's products changed with this version.
_IS_NEW = jax.__version_info__ >= (0, 11)
_MIB = 2**20
_INTEGERS = re.compile(r"[su]\d+$")


@dataclass(frozen=True)
class Site:
    """An instruction with what a law may want to know around it."""

    instruction: Instruction
    operands: tuple[Shape, ...]
    parts: dict[str, Computation]
    threads: int

    @property
    def text(self) -> str:
        return self.instruction.text

    @property
    def result(self) -> Shape:
        return self.instruction.results[0]


def _sort(site: Site) -> int:
    """A stable sort copies a row: 16 bytes for each element of each operand.

    Half a row as it is for one operand of plain integers. From jax 0.11 on, one row for each thread, and a row of
    pairs as they are. An unstable sort copies nothing.
    """
    if "is_stable=true" not in site.text:
        return 0
    sizes = site.operands[0].sizes
    axis = sizes_after(site.text, "dimensions")[0]
    length, minor = sizes[axis], math.prod(sizes[axis + 1 :])
    arrays = [shape for shape in site.operands if shape.sizes == sizes]
    if len(arrays) == 1 and _INTEGERS.match(arrays[0].dtype) and _compares_only(site):
        row = arrays[0].size_bytes // math.prod(sizes) * length // 2
    elif len(arrays) == 2 and _IS_NEW and (minor == 1 or length <= 65536):
        row = 2 * max(shape.itemsize_bytes for shape in arrays) * length * (1 if minor == 1 else 2)
    else:
        row = 16 * len(arrays) * length
    rows = math.prod(sizes) // max(1, length)
    return row * (min(rows, site.threads) if _IS_NEW else 1)


def _compares_only(site: Site) -> bool:
    bodies = [site.parts[name] for name in site.instruction.operands if name in site.parts]
    return all(step.opcode in ("parameter", "compare") for body in bodies for step in body.instructions.values())


def _fft(site: Site) -> int:
    """Each thread copies one line as complex numbers; eight such copies where a factor of the length is a big prime.

    Measured: 1 copy (2 for the inverse of a real one), 6 and 8 for prime lengths.
    """
    lengths = sizes_after(site.text, "fft_length")
    result = site.result
    operand = site.operands[0]
    complex_bytes = 16 if {"c128", "f64"} & {result.dtype, operand.dtype} else 8
    copies = 2 if "IRFFT" in site.text else 1
    line = max(length * (8 if _has_big_prime(length) else copies) for length in lengths)
    lines = max(math.prod(result.sizes), math.prod(operand.sizes)) // max(lengths)
    return complex_bytes * line * min(max(1, lines), site.threads)


def _has_big_prime(number: int) -> bool:
    """Whether a prime factor is above 100: lengths of small factors need no padded convolution."""
    for factor in range(2, 101):
        while number % factor == 0:
            number //= factor
    return number > 1


def _dot(site: Site) -> int:
    """Eigen packs slices of both operands: (n + min(m, 4 n)) columns of up to 600 elements; several products at once.

    [m, k] times [k, n]. Of a long left operand only parts are packed at a time. Up to two more products of a batch
    than twice the threads are under way at once.
    """
    left, right = site.operands[0], site.operands[1]
    batch = math.prod(left.sizes[axis] for axis in sizes_after(site.text, "lhs_batch_dims"))
    inner = math.prod(left.sizes[axis] for axis in sizes_after(site.text, "lhs_contracting_dims"))
    rows = math.prod(left.sizes) // max(1, batch * inner)
    columns = math.prod(right.sizes) // max(1, batch * inner)
    if min(rows, columns) == 1:
        return 0  # a matrix times a vector is a plain loop
    packed = min(inner, 600) * (columns + min(rows, 4 * columns)) * left.itemsize_bytes
    return packed * min(batch, 2 * site.threads + 2)


def _convolution(site: Site) -> int:
    """A plain one packs its kernel; a strided one's input gradient holds a product with every kernel element.

    With groups, patches of the input for many groups at once, how many is left to chance: 2.5 to 8.3 times the result
    were measured for one output channel a group, 0.4 to 0.7 times for eight. With three spatial axes one result.
    """
    left, kernel, result = site.operands[0], site.operands[1], site.result
    groups = number_after(site.text, "feature_group_count", 1)
    channels = _output_channels(site)
    window = _window_size(site.text)
    if groups > 1:
        patch = math.prod(kernel.sizes) // max(1, channels)
        return int(max(1.0, min(patch, 9) * groups / channels) * result.size_bytes)
    if "lhs_dilate" in site.text and "rhs_dilate" not in site.text:
        places = math.prod(left.sizes) // max(1, math.prod(kernel.sizes) // max(1, window * channels))
        return places * window * channels * left.itemsize_bytes
    if len(result.sizes) >= 5:
        return result.size_bytes if window > 1 else 0
    inner = math.prod(kernel.sizes) // max(1, channels)
    return min(inner, 600) * 5 * channels * result.itemsize_bytes


def _output_channels(site: Site) -> int:
    labels = re.search(r"dim_labels=\w+->(\w+)", site.text)
    return site.result.sizes[labels[1].index("f")] if labels else 1


def _window_size(text: str) -> int:
    match = re.search(r"window={size=([\dx]+)", text)
    return math.prod(map(int, match[1].split("x"))) if match else 1


def _custom_call(site: Site) -> int:
    """LAPACK's work arrays for one matrix, and the places of a row in a top-k.

    TopK: 4 bytes for each element of a row. memline's own: for each thread up to twice what it finds in a row, every
    element with its place. Eigenvectors: one matrix, in general or of singular values two.
    Cholesky, LU and QR factors: nothing. For triangular solves see `kept_scratch`.
    """
    match = re.search(r'custom_call_target="(\w+)"', site.text)
    target = match[1] if match else ""
    last = site.operands[-1]
    if target == "TopK":
        return 4 * last.sizes[-1]
    if target == "memline_top_k":
        return 2 * site.result.sizes[-1] * (16 if site.result.itemsize_bytes == 8 else 8) * site.threads
    if re.fullmatch(r"lapack_[sdcz](sy|he)evd_ffi", target):
        return math.prod(last.sizes[-2:]) * last.itemsize_bytes
    if re.fullmatch(r"lapack_[sdcz](gesdd|gesvd|geev)_ffi", target):
        return 2 * math.prod(last.sizes[-2:]) * last.itemsize_bytes
    return 0


def kept_scratch(part: Computation, threads: int) -> int:
    """What BLAS takes for the triangular solves of a computation, and keeps for those to come.

    From the left up to 300 rows of right-hand sides are packed, 32 MiB for each thread at most; from the right none.
    """
    packed = 0
    for step in part.instructions.values():
        sides = part.shapes(step)[-1:] if "trsm_ffi" in step.text and "side = 76" in step.text else ()
        if sides and len(sides[0].sizes) >= 2:
            rows, columns = sides[0].sizes[-2:]
            packed = max(packed, min(rows, 300) * columns * sides[0].itemsize_bytes)
    return min(packed, 32 * _MIB * threads)


def library_scratch(part: Computation, threads: int) -> int:
    """What the library of matrix products takes for one fusion: that of its biggest product or convolution.

    A result in bfloat16 is summed up in float32, one matrix for each thread. Up to jax 0.10 a batch packs blocks of
    all its right operands at once. A convolution: a padded copy of its operands; from jax 0.11 on of the kernel
    alone. What its threads hold besides is `library_thread_scratch`.
    """
    found = 0
    for instruction in part.instructions.values():
        operands = part.shapes(instruction)
        if instruction.opcode == "convolution" and len(operands) >= 2:
            left, kernel = operands[0], operands[1]
            padded = 0 if _IS_NEW else _padded_bytes(left, instruction)
            found = max(found, padded + kernel.size_bytes)
        if instruction.opcode != "dot" or len(operands) < 2:
            continue
        left, right = operands[0], operands[1]
        batch = math.prod(left.sizes[axis] for axis in sizes_after(instruction.text, "lhs_batch_dims"))
        inner = math.prod(left.sizes[axis] for axis in sizes_after(instruction.text, "lhs_contracting_dims"))
        scratch = 0
        if instruction.results[0].dtype == "bf16":
            scratch += 4 * math.prod(instruction.results[0].sizes) // max(1, batch) * min(batch, threads)
        if batch > 1 and not _IS_NEW:
            block = max(_MIB // 2, 128 * inner * right.itemsize_bytes)
            scratch = max(scratch, min(right.size_bytes, batch * block * max(1, threads // 2)))
        found = max(found, scratch)
    return found


def _padded_bytes(left: Shape, instruction: Instruction) -> int:
    labels = re.search(r"dim_labels=(\w+)_", instruction.text)
    pads = re.search(r"\bpad=([-\d_x]+)", instruction.text)
    sizes = list(left.sizes)
    if labels and pads:
        for axis, pad in enumerate(pads[1].split("x")):
            low, high = map(int, pad.split("_"))
            sizes[labels[1].index(str(axis))] += low + high
    return math.prod(sizes) * left.itemsize_bytes


def library_thread_scratch(part: Computation, threads: int) -> int:
    """What the library's threads hold, however many products they run at once: 1 MiB each."""
    products = [step for step in part.instructions.values() if step.opcode == "dot"]
    operands = max((sum(shape.size_bytes for shape in part.shapes(step)) for step in products), default=0)
    return min(threads * _MIB, operands)


LAWS: dict[str, Callable[[Site], int]] = {
    "sort": _sort,
    "fft": _fft,
    "dot": _dot,
    "convolution": _convolution,
    "custom-call": _custom_call,
}
"""By opcode. They raise IndexError or ValueError for an instruction with fewer parts than they know of."""
