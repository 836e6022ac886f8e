"""Primitives that work element by element: every axis is parallel where operand and result agree in size."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from jax import lax

from memline import compat
from memline.ir.graph import Op
from memline.rules import table
from memline.rules.table import Dim, Member

# Names, not objects: a JAX that lacks one simply has no such op.
_CHEAP = """
abs add add_any and ceil clamp clz conj convert_element_type copy eq floor
ge gt imag is_finite le lt max min mul ne neg nextafter not or population_count real
reduce_precision round select_n shift_left shift_right_arithmetic shift_right_logical sign
square stop_gradient sub xor complex eq_to le_to lt_to mulhi name one_minus_square
""".split()
_COSTLY = {
    "acos": 20, "acosh": 20, "asin": 20, "asinh": 20, "atan": 20, "atan2": 25, "atanh": 20,
    "bessel_i0e": 40, "bessel_i1e": 40, "cbrt": 20, "cos": 15, "cosh": 20, "digamma": 40, "div": 4,
    "erf": 20, "erf_inv": 25, "erfc": 20, "exp": 10, "exp2": 10, "expm1": 12, "igamma": 200,
    "igammac": 200, "integer_pow": 2, "lgamma": 40, "log": 12, "log1p": 14, "log2": 12, "logistic": 14,
    "polygamma": 200, "pow": 30, "regularized_incomplete_beta": 400, "rem": 8, "rsqrt": 4, "sin": 15, "sinh": 20,
    "sqrt": 4, "tan": 20, "tanh": 12, "zeta": 200, "igamma_grad_a": 400,
}  # fmt: skip


def _lax_primitives(names: Any) -> dict[str, Any]:
    found = {}
    for name in names:
        primitive = getattr(lax, f"{name}_p", None) or compat.named_primitive(name)
        if primitive is not None:
            found[name] = primitive
    return found


CHEAP = _lax_primitives(_CHEAP)
COSTLY = _lax_primitives(_COSTLY)
COSTLY_OPS = frozenset(COSTLY.values())


@table.axes(*CHEAP.values(), *COSTLY.values())
def elementwise(op: Op) -> list[Dim]:
    """One dim for each axis of the results, with the operands that have it at full size.

    Operands of other rank (the scalar predicate of `select_n`, the scalar bounds of `clamp`) and axes
    of size 1 that are stretched are needed whole.
    """
    shape = op.outputs[0].shape
    dims = []
    for axis, size in enumerate(shape):
        members = tuple(
            Member(position, axis)
            for position, v in enumerate(op.inputs)
            if v.ndim == len(shape) and v.shape[axis] == size
        )
        if members:
            dims.append(Dim(members, tuple(Member(o, axis) for o in range(len(op.outputs)))))
    return dims


def _costs(weight: float) -> Callable[[Op], float]:
    return lambda op: weight * math.prod(op.outputs[0].shape)


for _name, _primitive in COSTLY.items():
    table.flops(_primitive)(_costs(float(_COSTLY[_name])))
