"""Random numbers: a chunk of a random array is that chunk of the whole, bit for bit.

JAX's default generator, Threefry-2x32 (Salmon et al., SC 2011) with ``jax_threefry_partitionable``, makes the
element at row-major place n of an array from the key and n alone. So a chunk is made by counting from its own places.
The older way of counting draws an array as a whole, so that only the axes of the keys are cut; other generators draw
for a whole array of keys at once, and nothing of them is cut.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from memline import compat
from memline.ir.graph import Op
from memline.rules import table
from memline.rules.table import Dim, Member, Shape

_random_bits = compat.named_primitive("random_bits")
_threefry2x32 = compat.named_primitive("threefry2x32")
_of_one_operand = tuple(map(compat.named_primitive, ("random_seed", "random_wrap", "random_unwrap")))
_of_keys_and_numbers = tuple(map(compat.named_primitive, ("random_fold_in", "random_gamma")))

_LARGEST = 1 << 32
"""Places are counted in 32 bits."""
_BITS = {8: jnp.uint8, 16: jnp.uint16, 32: jnp.uint32, 64: jnp.uint64}


def _counts_places(op: Op) -> bool:
    """Whether every element of a draw depends on its key and its place alone."""
    shape = op.params["shape"]
    if not jax.config.jax_threefry_partitionable:  # pyright: ignore[reportAttributeAccessIssue]
        return False
    return math.prod(shape) <= _LARGEST and op.params["bit_width"] in _BITS


@table.axes(_random_bits)
def random_bits(op: Op) -> list[Dim]:
    """The axes of the keys link; those of each draw are made from their places, of no operand."""
    keys, bits = op.inputs[0].ndim, op.outputs[0].ndim
    if _key_impl_name(op.inputs[0].dtype) != "fry":
        return []  # others draw for a whole array of keys at once
    dims = [Dim((Member(0, a),), (Member(0, a),)) for a in range(keys)]
    return dims + [Dim((), (Member(0, a),)) for a in range(keys, bits) if _counts_places(op)]


@table.resize(_random_bits)
def resize_random_bits(op: Op, ins: Sequence[Shape], outs: Sequence[Shape]) -> dict[str, Any]:
    """The draw of each key takes the size of the result."""
    return {**op.params, "shape": tuple(outs[0][len(ins[0]) :])}


@table.local(_random_bits)
def random_bits_at(cut: Op, whole: Op, member: Member, start: Any, keys: Any) -> list[Any]:
    """Draws the chunk's elements from their places in the whole array."""
    drawn = member.axis - whole.inputs[0].ndim
    if drawn < 0:
        return [cut.primitive.bind(keys, **cut.params)]
    sizes, width = whole.params["shape"], cut.params["bit_width"]
    places = jnp.zeros((), jnp.uint32)
    for axis in range(len(sizes)):
        index = lax.broadcasted_iota(jnp.uint32, cut.params["shape"], axis)
        if axis == drawn:
            index = index + jnp.asarray(start).astype(jnp.uint32)
        places = places + index * np.uint32(math.prod(sizes[axis + 1 :]) % _LARGEST)
    halves = jax.random.key_data(keys)

    def draw(key: Any) -> Any:
        high, low = _threefry2x32.bind(
            *(jnp.broadcast_to(half, places.shape) for half in key), jnp.zeros_like(places), places
        )
        if width == 64:
            return lax.shift_left(high.astype(jnp.uint64), jnp.uint64(32)) | low.astype(jnp.uint64)
        return (high ^ low).astype(_BITS[width])

    for _ in range(halves.ndim - 1):
        draw = jax.vmap(draw)
    return [draw(halves)]


@table.axes(_threefry2x32)
def threefry2x32(op: Op) -> list[Dim]:
    """Both results link with all operands, place by place."""
    shape = op.outputs[0].shape
    return [
        Dim(
            tuple(Member(i, a) for i, v in enumerate(op.inputs) if v.ndim == len(shape) and v.shape[a] == size),
            (Member(0, a), Member(1, a)),
        )
        for a, size in enumerate(shape)
    ]


@table.axes(*_of_one_operand)
def keys_and_data(op: Op) -> list[Dim]:
    """The axes of the keys link; the data of one key are an axis of their own, which does not."""
    ndim = min(op.inputs[0].ndim, op.outputs[0].ndim)
    return [Dim((Member(0, a),), (Member(0, a),)) for a in range(ndim)]


@table.axes(compat.named_primitive("random_split"))
def random_split(op: Op) -> list[Dim]:
    """The axes of the keys that are split link."""
    return [Dim((Member(0, a),), (Member(0, a),)) for a in range(op.inputs[0].ndim)]


@table.axes(*_of_keys_and_numbers)
def key_by_key(op: Op) -> list[Dim]:
    """Keys and numbers go together, one of each for a result."""
    shape = op.outputs[0].shape
    if any(v.shape != shape for v in op.inputs):
        return []
    return [Dim((Member(0, a), Member(1, a)), (Member(0, a),)) for a in range(len(shape))]


def _key_impl_name(dtype: Any) -> str:
    """Returns the short name of the generator of a dtype of PRNG keys; empty for other dtypes."""
    return str(getattr(getattr(dtype, "_impl", None), "tag", ""))
