"""What a call's arguments are: static or not, their types, and a clear word on those that are no arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax

from memline import compat
from memline.errors import ArgumentError


class StaticArgumentError(ArgumentError, ValueError):
    """A static argument that cannot be hashed; a `ValueError` too, as the one that `jax.jit` raises for it."""


class SettingError(ArgumentError, ValueError):
    """Settings that do not go together; a `ValueError` too, as the one that `jax.jit` raises for them."""


class LeakedTracerError(ArgumentError, jax.errors.UnexpectedTracerError):
    """A tracer that has outlived its transformation; an `UnexpectedTracerError` too, as `jax.jit` raises.

    Args:
      where: what holds the tracer, and what to do about it.
      tracer: the tracer, of which JAX says where it is from.
    """

    def __init__(self, where: str, tracer: Any) -> None:
        Exception.__init__(self, f"{where}\n{compat.leak_text(tracer)}")  # JAX's would add a link of its own
        self.add_note(f"more: {self.page}")

    def __reduce__(self) -> Any:  # the tracer stays in its process
        return ArgumentError, self.args


@dataclass(frozen=True)
class Statics:
    """Which arguments are static, by place and by name, as `jax.jit` resolved them.

    Places below zero count from the last argument of each call, and those past it are none, as in `jax.jit`.
    """

    places: tuple[int, ...]
    names: tuple[str, ...]

    def split(self, args: Sequence[Any], kwargs: dict[str, Any]) -> tuple[Any, Any]:
        """Returns the arguments that are traced, as `(args, kwargs)`, and a key of those that are static."""
        if not self.places and not self.names:
            return (tuple(args), kwargs), ()
        places = {place + len(args) if place < 0 else place for place in self.places}
        traced = tuple(a for i, a in enumerate(args) if i not in places)
        traced_kw = {k: v for k, v in kwargs.items() if k not in self.names}
        # With their types, as `jax.jit` does: 2 and 2.0 and True trace to different programs.
        fixed = tuple((i, type(a), a) for i, a in enumerate(args) if i in places)
        fixed_kw = tuple((k, type(v), v) for k, v in sorted(kwargs.items()) if k in self.names)
        return (traced, traced_kw), (fixed, fixed_kw)


@dataclass(frozen=True)
class Signature:
    """The types of one call: what decides whether a plan made for one call serves another."""

    tree: Any
    types: tuple[Any, ...]
    static: Any
    context: Any

    @classmethod
    def of(cls, statics: Statics, args: Sequence[Any], kwargs: dict[str, Any]) -> Signature:
        """Returns the signature of a call with arrays, tracers or `jax.ShapeDtypeStruct`s."""
        traced, static = statics.split(args, kwargs)
        leaves, tree = jax.tree.flatten(traced)
        return cls(tree, tuple(_type_key(x) for x in leaves), static, compat.trace_context())


def _type_key(x: Any) -> Any:
    aval = getattr(x, "aval", None)
    if aval is None:  # a numpy array, a Python scalar or only a type: by the type that JAX gives it
        aval = compat.abstract_aval_of(x)
    try:
        return (aval.shape, aval.dtype, aval.weak_type)
    except AttributeError:  # a token, which has no more to it than that it is one
        return aval


def require_arrays(traced: Any, *, shapes_will_do: bool) -> None:
    """Checks every leaf of a call's traced arguments.

    Args:
      traced: a pytree of the arguments, `(args, kwargs)`.
      shapes_will_do: whether `jax.ShapeDtypeStruct`s, and all else that has a shape and a dtype, are fine, as they
        are for planning.

    Raises:
      ArgumentError: a leaf is not an array.
      LeakedTracerError: a leaf is a tracer that has outlived its transformation.
    """
    args, kwargs = traced
    for path, leaf in jax.tree_util.tree_leaves_with_path((args, kwargs)):
        where = _path_text(path)
        if compat.is_abstract(leaf) and not shapes_will_do:
            what = "jax.ShapeDtypeStruct" if isinstance(leaf, jax.ShapeDtypeStruct) else type(leaf).__name__
            raise ArgumentError(
                f"{where} is a {what}: a shape can be planned and compiled for "
                "(memline.plan, .lower), not computed with. Pass an array."
            )
        if isinstance(leaf, compat.Tracer):
            if not compat.tracing_is_inactive():
                continue
            raise LeakedTracerError(
                f"{where} is a tracer ({leaf.aval.str_short()}) that has leaked out of the transformation that "
                "made it. Return the value from the transformed function instead of storing it.",
                leaf,
            )
        try:
            (compat.abstract_aval_of if shapes_will_do else compat.aval_of)(leaf)
        except TypeError as error:
            raise ArgumentError(
                f"{where} is not an array but a {type(leaf).__name__} ({_short(leaf)}). Pass an array, or name the "
                "argument in static_argnums or static_argnames."
            ) from error


def require_hashable(static: Any) -> None:
    """Checks a call's static arguments, as `Statics.split` gives them.

    Raises:
      StaticArgumentError: one cannot be hashed, so a call with an equal one could not be told from it.
    """
    for group in static:
        for place, kind, value in group:
            try:
                hash(value)
            except TypeError as error:
                raise StaticArgumentError(
                    f"static argument {place!r} is a {kind.__name__} ({_short(value)}), which cannot be hashed. "
                    "Pass a hashable value, such as a tuple for a list, or an array as an argument that is not static."
                ) from error


def _path_text(path: Any) -> str:
    """Returns where a leaf is, such as `argument 0['weights']`."""
    first, second, *rest = path
    name = "argument " + (str(second.idx) if first.idx == 0 else repr(second.key))
    return name + jax.tree_util.keystr(tuple(rest))


def _short(x: Any) -> str:
    text = repr(x)
    return text if len(text) <= 40 else text[:37] + "..."
