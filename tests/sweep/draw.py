"""Draws how to call each function: from the tables of ways, or by trying what its signature allows."""

from __future__ import annotations

import inspect
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tests.sweep.arrays import SMALL, Spec, sample
from tests.sweep.undrawn import UNDRAWN
from tests.sweep.ways import Table, Way, way
from tests.sweep.ways_lax import LAX
from tests.sweep.ways_numpy import NUMPY
from tests.sweep.ways_rest import IMAGE, NN, RANDOM, SCIPY

TABLE: Table = {**NUMPY, **LAX, **NN, **RANDOM, **IMAGE, **SCIPY}

_MENU = ("x n d", "+ n d", "j n d", "b n d", "q n n", "x n", "c n d")
"""What every array of a function is tried as, in turn, where no table says more."""
_SECOND = {"x n d": "x d", "+ n d": "+ d", "j n d": "j d", "b n d": "b d"}
"""What the second array of a function is, to be broadcast against the first; if that fails, it is like the first."""
_OF_DISTRIBUTIONS = {
    "x": "u n d", "q": "u n d", "p": "u d", "k": "i n d", "loc": "v d", "c": "u d",
    "a": "+ d", "b": "+ d", "df": "w d", "n": "w d", "mu": "+ d", "scale": "+ d", "beta": "+ d", "kappa": "+ d",
}  # fmt: skip
_DTYPES = (
    jnp.bfloat16,
    np.float16,
    np.int32,
    np.uint8,
    np.int8,
    np.complex64,
    np.float64,
    np.int16,
    np.uint32,
    np.bool_,
)


@dataclass(frozen=True)
class Drawn:
    """One way to call one function, known to work."""

    name: str
    number: int
    """Which of the function's ways."""
    function: Callable[..., Any]
    specs: tuple[Spec, ...]

    def __str__(self) -> str:
        kinds = ", ".join(f"{s.kind}{list(s.axes)}{f':{np.dtype(s.dtype)}' if s.dtype else ''}" for s in self.specs)
        return f"{self.name}#{self.number}({kinds})".replace("'", "")

    @property
    def wide(self) -> bool:
        """Whether it needs 64-bit types."""
        return any(s.dtype is not None and np.dtype(s.dtype).itemsize == 8 and s.dtype != np.complex64
                   for s in self.specs)  # fmt: skip


@dataclass(frozen=True)
class Refusal:
    """A function that could not be drawn, and why."""

    name: str
    why: str


def draws(name: str, function: Callable[..., Any], seed: int) -> list[Drawn] | Refusal:
    """Returns the ways to call a function; for seeds over 0 one of them, with other types where it takes them."""
    if name in UNDRAWN:
        return Refusal(name, UNDRAWN[name])
    found, why = [], ""
    ways = TABLE.get(name)
    tried = ways if ways is not None else _generic(name, function)
    for number, each in enumerate(tried):
        drawn = Drawn(name, number, each.bound(function), each.specs)
        problem = fails(drawn)
        if problem is None:
            found.append(drawn)
            if ways is None:
                break
        else:
            why = why or problem
            if ways is not None:
                return Refusal(name, f"way {number}: {problem}")
    if not found:
        return Refusal(name, why or "its signature says nothing of arrays")
    return found if seed == 0 else [_varied(found, seed)]


def fails(drawn: Drawn) -> str | None:
    """Tells why a call cannot be traced, or None."""
    rng = np.random.default_rng(0)
    try:
        with jax.enable_x64(drawn.wide):
            arrays = [sample(spec, SMALL, rng) for spec in drawn.specs]
            leaves = jax.tree.leaves(jax.eval_shape(drawn.function, *arrays))
    except Exception as error:  # whatever JAX has against it
        return f"{type(error).__name__}: {' '.join(str(error).split())[:100]}"
    return None if leaves else "it returns no arrays"


def _varied(found: list[Drawn], seed: int) -> Drawn:
    """Returns one of the draws, in other number types if it takes any."""
    rng = np.random.default_rng([seed, zlib.crc32(found[0].name.encode())])
    drawn = found[rng.integers(len(found))]
    for k in rng.permutation(len(_DTYPES)):
        specs = tuple(replace(s, dtype=_DTYPES[k]) if s.takes_dtypes else s for s in drawn.specs)
        other = replace(drawn, specs=specs)
        if specs != drawn.specs and fails(other) is None:
            return other
    return drawn


def _generic(name: str, function: Callable[..., Any]) -> Iterator[Way]:
    parameters = _required(function)
    if parameters is None:
        return
    if name.startswith("scipy.stats."):
        yield way(*(_OF_DISTRIBUTIONS.get(p, "+ d") for p in parameters))
    if not parameters:
        return
    for first in _MENU:
        second = _SECOND.get(first, first)
        if len(parameters) > 1:
            yield way(first, *[second] * (len(parameters) - 1))
        yield way(*[first] * len(parameters))


def _required(function: Callable[..., Any]) -> list[str] | None:
    """Returns the names of the positional parameters without defaults."""
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        return None
    if isinstance(function, jnp.ufunc):
        return ["x", "y"][: function.nin]
    names = [
        p.name for p in parameters if p.default is p.empty and p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)
    ]
    several = any(p.kind is p.VAR_POSITIONAL for p in parameters)
    return [*names, "x"] if several and not names else names
