"""Draws how to call each function: from the tables of ways, or by trying what its signature allows."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp

from tests.sweep.call import Drawn, fails
from tests.sweep.undrawn import UNDRAWN
from tests.sweep.vary import varied
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


@dataclass(frozen=True)
class Refusal:
    """A function that could not be drawn, and why."""

    name: str
    why: str


def draws(name: str, function: Callable[..., Any], seed: int) -> list[Drawn] | Refusal:
    """Returns the ways to call a function; for seeds over 0 one of them, varied."""
    if name in UNDRAWN:
        return Refusal(name, UNDRAWN[name])
    found: dict[int, Way] = {}
    why = ""
    ways = TABLE.get(name)
    for number, each in enumerate(ways if ways is not None else _generic(name, function)):
        problem = fails(Drawn(name, number, each.bound(function), each.specs))
        if problem is None:
            found[number] = each
            if ways is None:
                break
        else:
            why = why or problem
            if ways is not None:
                return Refusal(name, f"way {number}: {problem}")
    if not found:
        return Refusal(name, why or "its signature says nothing of arrays")
    if seed:
        return [varied(name, function, found, seed)]
    return [Drawn(name, number, each.bound(function), each.specs) for number, each in found.items()]


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
