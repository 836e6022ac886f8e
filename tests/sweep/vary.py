"""Draws a call anew: other number types, sizes of axes, keywords and weak types than the way itself says."""

from __future__ import annotations

import functools
import inspect
import zlib
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import jax.numpy as jnp
import numpy as np

from tests.sweep.arrays import Spec
from tests.sweep.call import BATCH, Drawn, fails
from tests.sweep.ways import Way

_TRIES = 8
"""Of each kind of change, before the call is left without it."""

_FLOATS = (jnp.bfloat16, np.float16, np.float64)
_TINY = (jnp.float8_e4m3fn, jnp.float8_e5m2)
_INTEGERS = (np.int8, np.int16, np.int32, np.int64)
_UNSIGNED = (np.uint8, np.uint16, np.uint32)
_COMPLEX = (np.complex64, np.complex128)
_TYPES: dict[str, tuple[Any, ...]] = {
    "x": (*_FLOATS, *_TINY, *_INTEGERS, *_COMPLEX, np.bool_),
    "+": (*_FLOATS, *_TINY, *_INTEGERS, *_UNSIGNED, *_COMPLEX),
    "r": (*_FLOATS, *_TINY, *_INTEGERS),
    "N": (*_FLOATS, *_TINY),
    "i": (*_INTEGERS, *_UNSIGNED, jnp.int4, jnp.uint4),
    "j": _INTEGERS,
    "B": _UNSIGNED,
    "c": (np.complex128,),
    **dict.fromkeys("uvwoD", _FLOATS),
    **dict.fromkeys("qlU", (np.float64, *_COMPLEX)),
    **dict.fromkeys("s", (np.float64,)),
    **dict.fromkeys("h", (np.complex128,)),
}
"""kind: the types other than its own in which it makes sense"""

_KEYWORDS: dict[str, tuple[Any, ...]] = {
    "axis": (-1, 0, 1, -2, None, (0, 1), (-1,)),
    "axes": ((-1, -2), (0,), (1, 0)),
    "keepdims": (True,),
    "descending": (True,),
    "reverse": (True,),
    "stable": (False,),
    "side": ("right",),
    "ddof": (1,),
    "correction": (1,),
    "norm": ("ortho", "forward"),
    "n": (1, 7),
    "dtype": (jnp.float32, jnp.bfloat16, jnp.int32),
    "preferred_element_type": (jnp.float32,),
    "precision": ("highest",),
    "initial": (1,),
    "equal_nan": (True,),
    "endpoint": (False,),
    "include_initial": (True,),
    "offset": (1, -1),
    "k": (1, -1),
    "left": (-3.0,),
    "right": (5.0,),
    "invert": (True,),
    "bias": (True,),
    "density": (True,),
    "return_sign": (True,),
    "lower": (True,),
    "increasing": (True,),
    "rowvar": (False,),
    "approximate": (False, True),
    "method": ("nearest", "lower", "midpoint", "sort", "compare_all", "cubic"),
    "antialias": (False,),
    "mode": ("same", "clip", "wrap", "reflect", "constant"),
}
"""name of a parameter: what to pass for it, where the function takes that"""

_SIZES = (1, 1, 2, 3, 4, 5, 7, 8, 13, 16, 25, 32, 40)
_BATCHES = (BATCH, BATCH, (40, 13), (1, 504), (96, 5))


def varied(name: str, function: Callable[..., Any], ways: dict[int, Way], seed: int) -> Drawn:
    """Returns one of the ways to call a function, with whatever it takes of other types, sizes and keywords.

    Args:
      name: the function's.
      function: the function.
      ways: the ways that work, by their numbers.
      seed: draws the same call for the same number.
    """
    rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
    number = int(rng.choice(list(ways)))
    way = ways[number]
    drawn = Drawn(name, number, way.bound(function), way.specs, batch=_BATCHES[rng.integers(len(_BATCHES))])
    for change in (_keywords, _types, _sizes):
        for _ in range(_TRIES):
            other = change(drawn, way, function, rng)
            if other is None:
                break
            if other != drawn and fails(other) is None:
                drawn = other
                break
    return drawn


def _keywords(drawn: Drawn, way: Way, function: Callable[..., Any], rng: np.random.Generator) -> Drawn | None:
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return None
    names = [p.name for p in parameters if p.default is not p.empty and p.name in _KEYWORDS]
    if not names:
        return None
    chosen = rng.permutation(names)[: rng.integers(1, 3)]
    given = {str(k): _KEYWORDS[k][rng.integers(len(_KEYWORDS[k]))] for k in chosen}
    bound = way.bound(functools.partial(function, **given))
    return replace(drawn, function=bound, keywords=tuple(given.items()))


def _types(drawn: Drawn, way: Way, function: Callable[..., Any], rng: np.random.Generator) -> Drawn | None:
    """Draws one type for all arrays, or one for each, and weak types of scalars."""
    del way, function
    if not any(s.kind in _TYPES for s in drawn.specs):
        return None
    together = rng.random() < 0.7
    at = rng.random()

    def other(spec: Spec) -> Spec:
        menu = _TYPES.get(spec.kind)
        if menu is None:
            return spec
        if not spec.axes and rng.random() < 0.5:
            return replace(spec, weak=True)
        return replace(spec, dtype=menu[int((at if together else rng.random()) * len(menu))])

    return replace(drawn, specs=tuple(map(other, drawn.specs)))


def _sizes(drawn: Drawn, way: Way, function: Callable[..., Any], rng: np.random.Generator) -> Drawn | None:
    """Draws the sizes: each axis may have a single element, and seldom one has none."""
    del way, function
    if not drawn.specs:
        return None
    none = rng.random() < 0.08

    def size(usual: int) -> int:
        return int(_SIZES[rng.integers(len(_SIZES))]) if rng.random() < 0.6 else usual

    large = {name: size(usual) for name, usual in drawn.large}
    small = {name: min(size(usual), 8) for name, usual in drawn.small}
    if none:
        large["nmde"[rng.integers(2)]] = 0
    return replace(drawn, large=tuple(large.items()), small=tuple(small.items()))
