"""Texts of what ops hold beside plain data, the same in every process that builds the same program.

Jaxprs are told whole. Functions are told by their names alone: to the planner they are opaque.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import numpy as np

from memline import compat
from memline.ir.plain import NotPlain, Plain, dtype_name, to_plain
from memline.ir.trace import INLINED


class Texts:
    """Tells params, types and jaxprs; remembers jaxprs, which programs hold many times over."""

    def __init__(self) -> None:
        self._jaxprs: dict[int, tuple[Any, Plain]] = {}

    def of(self, x: Any) -> Plain:
        """Returns the text of a value that is not plain in itself.

        Raises:
          NotPlain: all that could be said of it is where in memory it lies.
        """
        if hasattr(x, "eqns") or hasattr(getattr(x, "jaxpr", None), "eqns"):
            return self._jaxpr(x)
        if compat.is_array_aval(x):
            return self.aval(x)
        if isinstance(x, type) or (callable(x) and hasattr(x, "__qualname__")):
            return ["name", str(getattr(x, "__module__", "")), x.__qualname__]
        if isinstance(x, np.ndarray):
            return ["array", dtype_name(x.dtype), list(x.shape), x.tobytes().hex()]
        if isinstance(x, tuple):
            return ["fields", type(x).__qualname__, *(to_plain(y, self.of) for y in x)]
        if dataclasses.is_dataclass(x):
            parts = {f.name: getattr(x, f.name) for f in dataclasses.fields(x)}
            return ["fields", type(x).__qualname__, to_plain(parts, self.of)]
        if isinstance(x, functools.partial):
            return ["partial", *(to_plain(y, self.of) for y in (x.func, x.args, x.keywords))]
        text = repr(x)
        if " at 0x" in text or " object at " in text:
            raise NotPlain(f"a {type(x).__name__} is known by its place in memory only")
        return ["text", type(x).__qualname__, text]

    def aval(self, aval: Any) -> Plain:
        """Returns the text of a type: shape, dtype, weak or not, and whatever else is not as usual."""
        if not compat.is_array_aval(aval):
            return ["aval", str(aval)]
        plain = [*map(str, aval.shape)], dtype_name(aval.dtype), bool(aval.weak_type)
        return [*plain] if compat.is_usual_aval(aval) else [*plain, str(aval), repr(aval.sharding)]

    def _jaxpr(self, x: Any) -> Plain:
        known = self._jaxprs.get(id(x))
        if known is None:
            known = self._jaxprs[id(x)] = (x, self._written(x))  # held, so that its id stays its own
        return known[1]

    def _written(self, x: Any) -> Plain:
        jaxpr, consts = (x.jaxpr, x.consts) if hasattr(x, "consts") else (x, ())
        number: dict[Any, int] = {}

        def named(v: Any) -> Plain:
            return [number.setdefault(v, len(number)), self.aval(v.aval)]

        def read(atom: Any) -> Plain:
            if isinstance(atom, compat.Literal):
                return ["literal", self.aval(atom.aval), self.scalar(atom.val)]
            return number[atom]

        given = [[named(v) for v in variables] for variables in (jaxpr.constvars, jaxpr.invars)]
        equations = []
        for eqn in jaxpr.eqns:
            name, params = eqn.primitive.name, eqn.params
            if name in INLINED and INLINED[name] in params:  # how it is differentiated is of no account any more
                params = {INLINED[name]: params[INLINED[name]]}
            inputs = [read(a) for a in eqn.invars]
            told = [name, to_plain(params, self.of), repr(eqn.ctx), sorted(map(str, eqn.effects))]
            equations.append([*told, inputs, [named(v) for v in eqn.outvars]])
        held = [[self.aval(compat.aval_of(c)), self.scalar(c)] for c in consts]
        return ["jaxpr", given, held, equations, [read(a) for a in jaxpr.outvars]]

    def scalar(self, data: Any) -> Plain:
        """Returns the value of a constant if it is a single number; an array's is of no account to the planner."""
        aval = compat.aval_of(data)
        if aval.shape != () or not compat.is_usual_aval(aval) or "key" in dtype_name(aval.dtype):
            return None
        return np.asarray(data).tobytes().hex()
