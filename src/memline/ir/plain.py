"""Params of ops as plain data, for JSON, in which 1, 1.0 and True stay three things; and back.

What is not plain (a jaxpr, a function, a mesh) is left to whoever asks: to be told by a text, or by where in
a program it is found.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from enum import Enum
from typing import Any

import jax.numpy as jnp
import numpy as np

Plain = Any
"""What JSON can hold. A list is a tagged value: its first element says of which kind."""


class NotPlain(Exception):
    """Raised for a value that cannot be told in plain data; the message says which and why."""


def to_plain(x: Any, other: Callable[[Any], Plain]) -> Plain:
    """Returns a value as plain data.

    Args:
      x: the value.
      other: tells what is not plain in itself; its tags are its own.

    >>> to_plain((1, 1.0, True, None, "a"), repr)
    ['t', 1, ['f', '0x1.0000000000000p+0'], True, None, 'a']
    """
    kind = type(x)
    if kind in _AS_IT_IS:
        return x
    if kind is tuple or kind is list:
        return ["t" if kind is tuple else "l", *(to_plain(y, other) for y in x)]
    if kind is float:
        return ["f", x.hex()]
    if kind is complex:
        return ["z", x.real.hex(), x.imag.hex()]
    if isinstance(x, np.dtype):
        return ["d", dtype_name(x)] if jnp.dtype(dtype_name(x)) == x else other(x)
    if isinstance(x, Enum):
        return ["E", *_home(kind), x.name]
    if isinstance(x, np.generic):
        return ["n", dtype_name(x.dtype), x.tobytes().hex()]
    if kind is dict:
        return ["m", *sorted(([to_plain(k, other), to_plain(v, other)] for k, v in x.items()), key=repr)]
    if kind is frozenset or kind is set:
        return ["s" if kind is set else "S", *sorted((to_plain(y, other) for y in x), key=repr)]
    if isinstance(x, tuple) and hasattr(kind, "_fields"):
        return _or_other(lambda: ["N", *_home(kind), *(to_plain(y, _refused) for y in x)], x, other)
    return other(x)


def from_plain(data: Plain, other: Callable[[list[Any]], Any]) -> Any:
    """Returns the value that `to_plain` told.

    Args:
      data: what `to_plain` returned.
      other: returns what its counterpart told.

    >>> from_plain(to_plain((1.5, np.dtype("bfloat16")), repr), repr)
    (1.5, dtype(bfloat16))
    """
    if not isinstance(data, list):
        return data
    tag, *rest = data
    if tag in _SEQUENCES:
        return _SEQUENCES[tag](from_plain(y, other) for y in rest)
    if tag == "f":
        return float.fromhex(rest[0])
    if tag == "z":
        return complex(float.fromhex(rest[0]), float.fromhex(rest[1]))
    if tag == "d":
        return jnp.dtype(rest[0])
    if tag == "E":
        return _class(Enum, rest[0], rest[1])[rest[2]]
    if tag == "n":
        return np.frombuffer(bytes.fromhex(rest[1]), jnp.dtype(rest[0]))[0]
    if tag == "m":
        return {from_plain(k, other): from_plain(v, other) for k, v in rest}
    if tag == "N":
        return _class(tuple, rest[0], rest[1])(*(from_plain(y, other) for y in rest[2:]))
    return other(data)


@functools.cache
def dtype_name(dtype: Any) -> str:
    """Returns the name of a dtype; that of PRNG keys has the generator in it.

    >>> import jax
    >>> dtype_name(np.dtype("float32")), dtype_name(jax.random.key(0).dtype)
    ('float32', 'key<fry>')
    """
    return str(getattr(dtype, "name", dtype))


_AS_IT_IS = frozenset([type(None), bool, int, str])
_SEQUENCES: dict[str, Callable[..., Any]] = {"t": tuple, "l": list, "s": set, "S": frozenset}


def _refused(x: Any) -> Plain:
    raise NotPlain(type(x).__qualname__)


def _or_other(plain: Callable[[], Plain], x: Any, other: Callable[[Any], Plain]) -> Plain:
    try:
        return plain()
    except NotPlain:
        return other(x)


def _home(kind: type[Any]) -> tuple[str, str]:
    return kind.__module__, kind.__qualname__


def _class(base: type[Any], module: str, name: str) -> Any:
    """Returns a class that is loaded already, if it is of the kind that the data says."""
    found: Any = sys.modules[module]
    for part in name.split("."):
        found = getattr(found, part)
    if not (isinstance(found, type) and issubclass(found, base)):
        raise NotPlain(f"{module}.{name} is no {base.__name__}")
    return found
