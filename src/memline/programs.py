"""The programs that were planned for a function: kept with it, for all that is made of it with the same settings.

`memline.jit(f, ...)(x)` in a loop makes a new function of the same `f` each time. As with `jax.jit`, what was compiled
for it is found again.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, field
from typing import Any

from memline.arguments import Signature
from memline.planning import Planned


@dataclass
class Programs:
    """What was planned for one function with one group of settings.

    Attributes:
      planned: the programs, by the types of a call and whether its arrays are spread over devices.
      places: where the arguments were that each of them was lowered for.
      quick: what to call, by a key that costs less to make; see `limited._quick_key`.
    """

    planned: dict[tuple[Signature, bool], Planned] = field(default_factory=dict[tuple[Signature, bool], Planned])
    places: dict[tuple[Signature, bool], tuple[Any, ...]] = field(
        default_factory=dict[tuple[Signature, bool], tuple[Any, ...]]
    )
    quick: dict[Any, Callable[..., Any]] = field(default_factory=dict[Any, Callable[..., Any]])


_kept: weakref.WeakKeyDictionary[Callable[..., Any], dict[Hashable, Programs]] = weakref.WeakKeyDictionary()


def programs_of(fun: Callable[..., Any], *settings: Any) -> Programs:
    """Returns the programs of a function under some settings: those of earlier calls, or none yet.

    They hold no reference to the function, and go when it goes.

    Args:
      fun: the function.
      *settings: all that decides what its programs are; lists, mappings and sets count as equal where their items are.

    >>> programs_of(abs, 1, {"donate_argnums": [0]}) is programs_of(abs, 1, {"donate_argnums": [0]})
    True
    >>> programs_of(abs, 1) is programs_of(abs, 2)
    False
    """
    try:
        return _kept.setdefault(fun, {}).setdefault(_frozen(settings), Programs())
    except TypeError:  # one of them cannot be hashed, or there are no weak references to the function
        return Programs()


def forget_all() -> None:
    """Forgets what was planned for functions that something may be made of again."""
    _kept.clear()


def _frozen(x: Any) -> Hashable:
    if isinstance(x, Mapping):
        return frozenset((key, _frozen(value)) for key, value in x.items())
    if isinstance(x, set):
        return frozenset(x)
    # With their types: `True` and `1` are not the same setting.
    return (type(x), tuple(map(_frozen, x))) if isinstance(x, list | tuple) else (type(x), x)
