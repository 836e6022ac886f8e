"""What a limited function takes from the program around it, and so cannot be a program by itself."""

from __future__ import annotations

import math
from typing import Any

from memline import compat
from memline.errors import ArgumentError
from memline.ir.sizes import all_values_bytes
from memline.ir.spread import has_open_sums, is_sharded, varying_axes


def stays_in_place(traced: Any, limit_bytes: int | None, *, inline: bool = False) -> bool:
    """Tells whether a program shall run as a part of the one around it, and is sure to fit so.

    It is if all its values, their tangents and their cotangents together take less than the limit, as often as an
    axis that it uses has places.

    Args:
      traced: JAX's trace of the program.
      limit_bytes: the limit.
      inline: whether it shall.

    Raises:
      ArgumentError: it can only run so, and is not sure to fit, for it uses a mapped axis of a transformation around
        it, or is checked for such, or it uses refs of the program around it or sums that are not taken yet.
    """
    closed = traced.jaxpr
    sizes = compat.axis_sizes(closed)
    has_refs = compat.has_refs(traced)
    is_checked = any(varying_axes(aval) for aval in closed.in_avals)
    ends = (*closed.in_avals, *closed.out_avals)
    has_sums = any(map(has_open_sums, ends))
    must = bool(sizes) or is_checked or has_refs or has_sums
    # By itself it would be planned for one device, though it is for several.
    if not must and not inline and not any(map(is_sharded, ends)):
        return False
    if limit_bytes is not None and 3 * math.prod(sizes.values()) * all_values_bytes(closed) < limit_bytes:
        return True
    if not must:
        return False
    if sizes:
        raise ArgumentError(
            f"the function uses the axis {', '.join(sizes)} of a transformation around it (as lax.psum does), which "
            "one program by itself does not have. Put memline around that transformation instead of inside it."
        )
    if has_refs:
        raise ArgumentError(
            "the function uses refs of the program around it, which one program by itself does not have. Put memline "
            "around that program instead of inside it."
        )
    if has_sums:
        raise ArgumentError(
            "the function takes or returns sums over devices that are still to be taken (unreduced ones), which one "
            "program by itself does not have. Put memline around the program that takes them instead of inside it."
        )
    raise ArgumentError("inside jax.shard_map memline needs check_vma=False: pass that to jax.shard_map.")
