"""The types of arguments as text: `f32[1000,16]`, `int32[]`, `key`.

A word is the name of a type and the sizes in brackets, as JAX prints them. Names are JAX's short ones (`f32`, `bf16`,
`i8`, `u32`, `c64`, `pred`) or NumPy's (`float32`, `bool`). `key` is a key of `jax.random.key`, `key[8]` are eight.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from memline.errors import ArgumentError

_KINDS = {"f": "float", "i": "int", "s": "int", "u": "uint", "c": "complex"}
_SHORT = re.compile(r"(?P<kind>[fiscu])(?P<rest>\d.*)")
_WHOLE = re.compile(r"\d+(_\d+)*")
EXAMPLE = "'f32[1000,16]', 'i32[]' or 'key'"


@dataclass(frozen=True)
class Shape:
    """The type of one argument: the name of its dtype as NumPy writes it, or "key", and its sizes."""

    dtype: str
    sizes: tuple[int, ...]
    word: str
    """What was written."""

    def struct(self) -> Any:
        """Returns the `jax.ShapeDtypeStruct`.

        Raises:
          ArgumentError: JAX has no such type, or not while 64-bit types are off.
        """
        import jax
        import jax.numpy as jnp

        if self.dtype == "key":
            return jax.ShapeDtypeStruct(self.sizes, jax.eval_shape(jax.random.key, 0).dtype)
        try:
            dtype = jnp.dtype(self.dtype)
        except (TypeError, ValueError) as error:
            raise ArgumentError(
                f"{self.word!r}, column 1: there is no type {self.dtype!r}; write the sort of {EXAMPLE}"
            ) from error
        given = jax.dtypes.canonicalize_dtype(dtype)
        if given != dtype:
            raise ArgumentError(
                f"{self.word!r}, column 1: types of 64 bits are off in JAX, so that it would be {given.name}; set "
                "JAX_ENABLE_X64=1 in the environment, or jax_enable_x64 in the module"
            )
        return jax.ShapeDtypeStruct(self.sizes, dtype)


def parse_shape(word: str) -> Shape:
    """Reads the type of one argument.

    Raises:
      ArgumentError: the word is none; the message has the column.

    >>> parse_shape("f32[1000, 16]").sizes
    (1000, 16)
    >>> parse_shape("f32[1000,x]")
    Traceback (most recent call last):
        ...
    memline.errors.ArgumentError: 'f32[1000,x]', column 10: 'x' is no size; write a whole number from 0
    more: docs/errors/argument.md
    """
    name, bracket, rest = word.partition("[")
    if not name.strip():
        raise ArgumentError(f"{word!r}, column 1: no type; write the sort of {EXAMPLE}")
    dtype = _dtype_name(name.strip())
    if not bracket:
        if dtype == "key":
            return Shape("key", (), word)
        raise ArgumentError(f"{word!r}, column {len(word) + 1}: no sizes; write {word.strip()}[] for a scalar")
    inside, closing, after = rest.partition("]")
    if not closing:
        raise ArgumentError(f"{word!r}, column {len(word) + 1}: the bracket is not closed; ']' is missing")
    if after.strip():
        column = len(word) - len(after.lstrip()) + 1
        raise ArgumentError(f"{word!r}, column {column}: {after.strip()!r} stands after the sizes; one word, one type")
    return Shape(dtype, _sizes(word, inside, len(name) + 2), word)


def parse_keyword(word: str) -> tuple[str, Shape]:
    """Reads a keyword argument's name and type, such as `scale=f32[3]`.

    Raises:
      ArgumentError: the word is none; the message has the column.
    """
    name, equals, text = word.partition("=")
    if not equals or not name.isidentifier():
        raise ArgumentError(f"{word!r}, column 1: no keyword argument; write the sort of 'scale=f32[3]'")
    try:
        return name, parse_shape(text)
    except ArgumentError as error:
        raise ArgumentError(f"keyword argument {name}: {error}") from None


def _sizes(word: str, inside: str, column: int) -> tuple[int, ...]:
    if not inside.strip():
        return ()
    sizes = []
    for piece in inside.split(","):
        text = piece.strip()
        if not text.isascii() or not _WHOLE.fullmatch(text):
            at = column + len(piece) - len(piece.lstrip())
            shown = repr(text) if text else "nothing"
            raise ArgumentError(f"{word!r}, column {at}: {shown} is no size; write a whole number from 0")
        sizes.append(int(text))
        column += len(piece) + 1
    return tuple(sizes)


def _dtype_name(name: str) -> str:
    if name in ("pred", "bool"):
        return "bool"
    if name == "bf16":
        return "bfloat16"
    short = _SHORT.fullmatch(name)
    return _KINDS[short["kind"]] + short["rest"] if short else name
