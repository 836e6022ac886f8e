"""How far apart two results of one type may be and still count as the same."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np

_ROOM = 64.0
"""Units of rounding that long sums in another order make as well."""
_ROOM_SHORT = 4.0
"""The same for types of 16 bits and less, whose sums are made in wider types."""
_WIDE = 1e-9
"""Of double precision, which is mostly chosen for the digits that are lost on the way."""


def tolerance_of(dtype: Any) -> float:
    """Returns a type's usual tolerance, relative to the largest element of a result; 0 for integers.

    >>> import jax.numpy as jnp
    >>> round(tolerance_of(jnp.float32), 8), tolerance_of(float), tolerance_of(int)
    (7.63e-06, 1e-09, 0.0)
    """
    if not jnp.issubdtype(dtype, np.inexact):
        return 0.0
    unit = float(jnp.finfo(dtype).eps)
    if unit < 1e-12:
        return _WIDE
    return (_ROOM if unit < 1e-4 else _ROOM_SHORT) * unit
