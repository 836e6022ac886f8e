"""Primitives of other libraries that are a JAX function under a name of their own.

Equinox has them for its loops, `select_if_vmap` for one: they differ from the function in how they are transformed,
and compute what it does. A program that is planned has been transformed, so that only the function is left of them.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import jax

_FUNCTIONS: dict[str, frozenset[str]] = {
    "equinox": frozenset(
        """maybe_set nonbatchable nondifferentiable_backward nontraceable select_if_vmap
        unvmap_all unvmap_any unvmap_max vprim""".split()
    ),
}
"""By library: the primitives whose lowering is that of their implementation."""


def function_of(eqn: Any) -> Any:
    """Returns the closed jaxpr of what an equation computes, if its primitive is one of these; else None.

    >>> function_of(jax.make_jaxpr(jax.numpy.sin)(1.0).eqns[0])
    """
    library = (getattr(eqn.primitive.impl, "__module__", None) or "").partition(".")[0]
    if eqn.primitive.name not in _FUNCTIONS.get(library, ()):
        return None
    fun = functools.partial(eqn.primitive.impl, **eqn.params)
    return jax.make_jaxpr(fun)(*_types(eqn.invars))


def _types(atoms: Sequence[Any]) -> list[Any]:
    return [jax.ShapeDtypeStruct(a.aval.shape, a.aval.dtype, weak_type=a.aval.weak_type) for a in atoms]
