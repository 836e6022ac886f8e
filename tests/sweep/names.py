"""The public functions of JAX's array modules, found by looking: a name that JAX gains later is found too."""

from __future__ import annotations

import importlib
import pkgutil
import types
import typing
from collections.abc import Callable
from typing import Any

ROOTS = ("jax.numpy", "jax.lax", "jax.nn", "jax.scipy", "jax.random", "jax.image")


def functions() -> dict[str, Callable[..., Any]]:
    """Returns each public function once, by its shortest name without `jax.`, such as `numpy.linalg.svd`.

    Classes, enumerations, scalar types and type aliases are left out: they are not functions of arrays.
    """
    found: dict[int, tuple[str, Callable[..., Any]]] = {}
    for root in ROOTS:
        for module in _modules(root):
            for name in sorted(vars(module)):
                value = getattr(module, name)
                if name.startswith("_") or not _is_function(value):
                    continue
                full = f"{module.__name__}.{name}".removeprefix("jax.")
                known = found.get(id(value))
                if known is None or (full.count("."), full) < (known[0].count("."), known[0]):
                    found[id(value)] = full, value
    return dict(sorted(found.values()))


def _modules(name: str) -> list[types.ModuleType]:
    module = importlib.import_module(name)
    found = [module]
    for entry in pkgutil.iter_modules(getattr(module, "__path__", ())):
        if not entry.name.startswith("_"):
            found.extend(_modules(f"{name}.{entry.name}"))
    return found


def _is_function(value: Any) -> bool:
    if not callable(value) or isinstance(value, type | types.ModuleType | types.GenericAlias):
        return False
    # The scalar types (`jnp.float32`) are called to convert, as `astype` does; a `Union` is callable by accident.
    return type(value).__name__ != "_ScalarMeta" and typing.get_origin(value) is None
