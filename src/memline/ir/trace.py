"""From a function, or a jaxpr, to a graph: calls inlined, dead nodes dropped, equal nodes merged.

`while`, `cond` and `scan` stay as ops that hold their inner jaxprs; or, to be planned, a `scan` becomes a `Loop`
of one step at a time, and `while` and `cond` ops that hold graphs. `platform_dependent` is resolved for the
platform that the program will run on: left alone, its `platform_index` and `cond` would block every region that
touches them. Of a `custom_linear_solve` the solver runs; how it is differentiated has been settled by then. An
`optimization_barrier` of several values becomes one for each, which still keeps what is computed again from
being merged with what it repeats. To be planned, primitives of other libraries become the functions that they are
(see `ir.libraries`).
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from memline import compat
from memline.ir.dead import drop_dead
from memline.ir.graph import Graph, Loop, Node, Op, Slice, Source, Stack, Value
from memline.ir.libraries import function_of
from memline.ir.spread import is_bound
from memline.origin import is_users

INLINED = {
    "call": "call_jaxpr",
    "eval_jaxpr": "jaxpr",
    "jit": "jaxpr",
    "pjit": "jaxpr",
    "closed_call": "call_jaxpr",
    "core_call": "call_jaxpr",
    "custom_jvp_call": "call_jaxpr",
    "custom_vjp_call": "call_jaxpr",
    "custom_vjp_call_jaxpr": "fun_jaxpr",
    "remat": "jaxpr",
    "remat2": "jaxpr",
    "checkpoint": "jaxpr",
    "custom_lin": "jaxpr",
}
"""Primitives that merely call a jaxpr, by the parameter that holds it. Any other call is an op like the rest."""


def trace(fun: Callable[..., Any], *args: Any, platform: str | None = None) -> Graph:
    """Returns the graph of `fun` called with `args` (arrays or `jax.ShapeDtypeStruct`s, any pytrees).

    The graph's inputs are the leaves of `args` in order and its outputs the leaves of the result.

    >>> import jax.numpy as jnp
    >>> graph = trace(lambda x: jnp.sum(x * x), jax.ShapeDtypeStruct((3,), "float32"))
    >>> [node.kind for node in graph.nodes]
    ['mul', 'reduce_sum']
    """
    return from_jaxpr(jax.make_jaxpr(fun)(*args), platform=platform)


def from_jaxpr(closed: Any, *, platform: str | None = None, open_bodies: bool = False) -> Graph:
    """Returns the graph of a closed jaxpr.

    Args:
      closed: the closed jaxpr.
      platform: where the program will run; by default the platform of the default device.
      open_bodies: whether what loops and branches run becomes graphs that can be planned: a `scan` a `Loop` of one
        step at a time, a `while` or `cond` an op with bodies.
    """
    tracer = _Inliner(platform or jax.default_backend(), open_bodies=open_bodies)
    inputs = tuple(tracer.fresh(v.aval) for v in closed.jaxpr.invars)
    consts = [tracer.const(c) for c in closed.consts]
    outputs = tracer.run(closed.jaxpr, consts, inputs)
    return drop_dead(Graph(inputs, tuple(tracer.nodes), tuple(outputs)))


class _Inliner:
    """Walks a jaxpr and the jaxprs it calls, writing one flat list of nodes."""

    def __init__(self, platform: str, *, open_bodies: bool, outer: _Inliner | None = None) -> None:
        self.platform = platform
        self.open_bodies = open_bodies
        self.nodes: list[Node] = []
        self._count = 0
        self._seen: dict[Any, Op] = {}
        self._consts: dict[Any, Value] = {} if outer is None else outer._consts
        self._sources: dict[Any, Source | None] = {} if outer is None else outer._sources
        self._loops: Iterator[int] = itertools.count() if outer is None else outer._loops
        self._scope = "" if outer is None else f"@s{next(self._loops)}"
        self._calls: list[Any] = []  # the calls being inlined, outermost first

    def fresh(self, aval: Any) -> Value:
        name = f"%{self._count}{self._scope}"
        self._count += 1
        return Value(aval, name)

    def const(self, data: Any, aval: Any = None) -> Value:
        """Returns the value of a constant; the same data gives the same value."""
        aval = compat.aval_of(data) if aval is None else aval
        scalar = compat.is_array_aval(aval) and aval.shape == () and not jnp.issubdtype(aval.dtype, jax.dtypes.extended)
        key = (aval, np.asarray(data).tobytes()) if scalar else id(data)
        if key not in self._consts:
            self._consts[key] = Value(aval, f"%c{len(self._consts)}", data)
        return self._consts[key]

    def run(self, jaxpr: Any, consts: Sequence[Value], args: Sequence[Value]) -> list[Value]:
        env: dict[Any, Value] = {}
        env.update(zip(jaxpr.constvars, consts, strict=True))
        env.update(zip(jaxpr.invars, args, strict=True))

        def read(atom: Any) -> Value:
            return self.const(atom.val, atom.aval) if isinstance(atom, compat.Literal) else env[atom]

        for eqn in jaxpr.eqns:
            outputs = self._equation(eqn, [read(a) for a in eqn.invars])
            env.update(zip(eqn.outvars, outputs, strict=True))
        return [read(a) for a in jaxpr.outvars]

    def _equation(self, eqn: Any, inputs: list[Value]) -> Sequence[Value]:
        name, params = eqn.primitive.name, eqn.params
        # From jax 0.11 on what is evaluated inside is a parameter of another name.
        callee = params.get(INLINED[name], params.get("call_jaxpr")) if name in INLINED else None
        if callee is not None:
            self._calls.append(eqn)
            outputs = self._call(callee, inputs)
            self._calls.pop()
            return outputs
        if name == "platform_index":
            return [self.const(np.int32(_platform_branch(params["platforms"], self.platform)))]
        if name == "clamp" and all(v.is_const and v.shape == () for v in inputs):
            low, x, high = (np.asarray(v.const) for v in inputs)
            return [self.const(np.minimum(np.maximum(x, low), high).astype(x.dtype))]
        if name == "cond":
            platforms = params.get("branches_platforms")
            if platforms is not None:
                branch = params["branches"][_platform_branch(platforms, self.platform)]
                return self._call(branch, inputs[1:])
            if inputs[0].is_const:
                index = int(np.clip(int(np.asarray(inputs[0].const)), 0, len(params["branches"]) - 1))
                return self._call(params["branches"][index], inputs[1:])
        if self.open_bodies and not eqn.effects:
            # What a loop of chunks slices and stacks is in the memory of one device.
            if name == "scan" and params["length"] > 0 and not compat.any_type(is_bound, eqn):
                return self._scan(eqn, inputs)
            if name == "cond":
                return self._opened(eqn, inputs, params["branches"], {})
            if name == "while":
                counts = {key: params[key] for key in ("cond_nconsts", "body_nconsts")}
                return self._opened(eqn, inputs, (params["cond_jaxpr"], params["body_jaxpr"]), counts)
        if name == "custom_linear_solve" and self.open_bodies:  # not where it may yet be differentiated
            lengths, jaxprs = params["const_lengths"], params["jaxprs"]
            first = lengths.matvec + lengths.vecmat
            after = first + lengths.solve + lengths.transpose_solve
            return self._call(jaxprs.solve, [*inputs[first : first + lengths.solve], *inputs[after:]])
        if self.open_bodies and (function := function_of(eqn)) is not None:
            return self._call(function, inputs)
        if name == "device_put" and all(place is None for place in params["devices"]):
            return inputs
        if name == "optimization_barrier":
            return [self._op(eqn, [v], [var]).outputs[0] for v, var in zip(inputs, eqn.outvars, strict=True)]
        return self._op(eqn, inputs, eqn.outvars).outputs

    def _call(self, callee: Any, inputs: Sequence[Value]) -> list[Value]:
        if hasattr(callee, "consts"):
            return self.run(callee.jaxpr, [self.const(c) for c in callee.consts], inputs)
        return self.run(callee, [], inputs)

    def _opened(self, eqn: Any, inputs: list[Value], callees: Sequence[Any], params: dict[str, Any]) -> Sequence[Value]:
        """Writes a `while` or a `cond` with graphs for what it runs."""
        bodies = []
        for callee in callees:
            inner = _Inliner(self.platform, open_bodies=True, outer=self)
            inner._calls = [*self._calls, eqn]
            args = tuple(inner.fresh(v.aval) for v in callee.jaxpr.invars)
            results = inner._call(callee, args)
            bodies.append(drop_dead(Graph(args, tuple(inner.nodes), tuple(results))))
        outputs = tuple(self.fresh(v.aval) for v in eqn.outvars)
        op = Op(eqn.primitive, params, tuple(inputs), outputs, self._source(eqn), eqn.ctx, bodies=tuple(bodies))
        self.nodes.append(op)
        return op.outputs

    def _scan(self, eqn: Any, inputs: list[Value]) -> Sequence[Value]:
        """Writes a scan as a loop of one step at a time."""
        params = eqn.params
        first, n_carried = _scan_counts(params, len(inputs))
        last = first + n_carried
        given, carried, sliced = inputs[:first], inputs[first:last], inputs[last:]
        inner = _Inliner(self.platform, open_bodies=True, outer=self)
        inner._calls = [*self._calls, eqn]
        start = Value(compat.shaped((), np.dtype(np.int32)), f"%i{inner._scope}")
        source = self._source(eqn)
        chunks = [inner.fresh(_with_axis(v.aval.update(shape=v.shape[1:]), 1)) for v in sliced]
        whole = list(dict.fromkeys(v for v in given if not v.is_const))
        inside = {v: inner.fresh(v.aval) for v in whole}
        states = [inner.fresh(v.aval) for v in carried]
        steps = [inner.fresh(v.aval.update(shape=v.shape[1:])) for v in sliced]
        for chunk, step in zip(chunks, steps, strict=True):
            inner.nodes.append(Op(lax.squeeze_p, {"dimensions": (0,)}, (chunk,), (step,), source, eqn.ctx))
        args = [*(inside.get(v, v) for v in given), *states, *steps]
        results = inner._call(params["jaxpr"], args)
        pieces = []
        for v in results[len(carried) :]:
            piece = inner.fresh(_with_axis(v.aval, 1))
            how = {"shape": piece.shape, "broadcast_dimensions": tuple(range(1, piece.ndim)), "sharding": None}
            inner.nodes.append(Op(lax.broadcast_in_dim_p, how, (v,), (piece,), source, eqn.ctx))
            pieces.append(piece)
        body = Graph(
            (start, *chunks, *inside.values(), *states), tuple(inner.nodes), (*results[: len(carried)], *pieces)
        )
        loop = Loop(
            length=params["length"],
            chunk=1,
            sliced=tuple(Slice(v, 0, 1) for v in sliced),
            whole=tuple(whole),
            carried=tuple(carried),
            stacked=tuple(Stack(0, 1) for _ in pieces),
            outputs=tuple(self.fresh(v.aval) for v in eqn.outvars),
            body=drop_dead(body),
            tail=None,
            source=source,
            reverse=params["reverse"],
        )
        self.nodes.append(loop)
        return loop.outputs

    def _source(self, eqn: Any) -> Source | None:
        # Library code that JAX traced once and kept has no frame of the user's: the call has.
        first = None
        for e in (eqn, *reversed(self._calls)):
            source = self._source_at(e.source_info.traceback)
            if source is not None and is_users(source.file):
                return source
            first = first or source
        return first

    def _source_at(self, traceback: Any) -> Source | None:
        if traceback not in self._sources:  # some six equations come from one place
            place = compat.source_of(traceback)
            self._sources[traceback] = Source(*place, traceback) if place else None
        return self._sources[traceback]

    def _op(self, eqn: Any, inputs: list[Value], outvars: Sequence[Any]) -> Op:
        key = None
        if not eqn.effects:
            key = (eqn.primitive, tuple(map(id, inputs)), _hashable(eqn.params), eqn.ctx)
            try:
                if key in self._seen:
                    return self._seen[key]
            except TypeError:
                key = None
        op = Op(
            primitive=eqn.primitive,
            params=dict(eqn.params),
            inputs=tuple(inputs),
            outputs=tuple(self.fresh(v.aval) for v in outvars),
            source=self._source(eqn),
            context=eqn.ctx,
            effects=frozenset(eqn.effects),
        )
        self.nodes.append(op)
        if key is not None:
            self._seen[key] = op
        return op


def _with_axis(aval: Any, size: int) -> Any:
    """Returns an abstract array with one more axis in front."""
    return compat.shaped((size, *aval.shape), aval.dtype)


def _hashable(params: dict[str, Any]) -> Any:
    return tuple(sorted(params.items()))  # no two names are equal, so that no values are compared


def _platform_branch(platforms: Any, platform: str) -> int:
    """Returns which entry of a `platform_dependent` table is for the platform; the last is the default."""
    # The default backend calls itself "gpu"; platform tables tell the makers apart.
    aliases = {platform, "cuda", "rocm"} if platform == "gpu" else {platform}
    for index, names in enumerate(platforms):
        if names is None or aliases & set(names):
            return index
    return len(platforms) - 1


def _scan_counts(params: dict[str, Any], n_operands: int) -> tuple[int, int]:
    """Returns how many constants and how many carries a `scan` has; the rest of its operands are scanned over."""
    if "num_consts" in params:
        return params["num_consts"], params["num_carry"]
    consts, carries, _ = params["ft_in"].update(list(range(n_operands))).unpack()  # from jax 0.11 on
    return len(list(consts)), len(list(carries))
