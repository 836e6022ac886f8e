"""A limited function inside other JAX code: one primitive that every transformation goes through.

Jaxprs show it as they show `jax.jit`'s, by the same name and with its parameters `name` and `jaxpr`.

Under an outer `jit` the planned program is spliced into place when the outer program is lowered. Under
`vmap` the batched function is planned, under `jvp` the derivative; a gradient keeps only the inputs
between the passes and plans the backward pass as a program of its own, which computes again what it
needs. So every piece keeps inside the limit by itself; what the surrounding program holds beside it is
not memline's to bound. To bound a whole step, put `memline.jit` around its gradient, not inside.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from memline import compat
from memline.ir.emit import run_program
from memline.ir.spread import is_bound, is_sharded
from memline.kernels.fresh import native_of
from memline.kernels.native import NO_NATIVE, Native
from memline.passes.joins import selected_joins
from memline.planning import Spec, plan_graph


def call_spliced(traced: Any, leaves: Sequence[Any], spec: Spec) -> list[Any]:
    """Applies a traced function to the leaves of its arguments as one limited call.

    Args:
      traced: JAX's trace of the function; what it closes over becomes arguments of the call.
      leaves: arrays or tracers, one for each input of the trace.
      spec: the limit or plan.
    """
    jaxpr = _without_consts(traced.jaxpr)
    closed_over = (*traced.jaxpr.consts, *compat.lifted_constants(traced))
    places, after = compat.asked_shardings(traced)
    leaves = _placed(leaves, places[len(places) - len(leaves) :])
    outs = memline_call_p.bind(*closed_over, *leaves, jaxpr=jaxpr, spec=spec, name=traced.fun_name)
    return _placed(outs, after)


def _placed(xs: Sequence[Any], shardings: Sequence[Any]) -> list[Any]:
    """Returns the arrays where they are asked to be, as a jitted function inside another program does."""
    pairs = zip(xs, shardings, strict=True)
    return [x if s is None else jax.lax.with_sharding_constraint(x, s) for x, s in pairs]


@functools.lru_cache(maxsize=512)
def _without_consts(closed: Any) -> Any:
    """Returns the closed jaxpr whose first inputs are the constants of this one."""
    if not closed.consts:
        return closed
    types = [compat.aval_of(c) for c in closed.consts]
    count = len(types)
    return _make(
        lambda *xs: compat.evaluate_jaxpr(closed.jaxpr, xs[:count], xs[count:]),
        [*types, *closed.in_avals],
    )


def _function(closed: Any) -> Callable[..., list[Any]]:
    return lambda *xs: compat.evaluate_jaxpr(closed.jaxpr, closed.consts, xs)


def _make(fun: Callable[..., Any], types: Sequence[Any]) -> Any:
    return jax.make_jaxpr(fun)(*map(_as_argument, types))


def _as_argument(t: Any) -> Any:
    """Returns a type without the mesh around the call that it is of, which says nothing of where it is."""
    return t if is_bound(t) else compat.shaped(t.shape, t.dtype, t.weak_type)


def _abstract(*avals: Any, jaxpr: Any, spec: Spec, name: str) -> tuple[list[Any], Any]:
    del avals, spec, name
    return jaxpr.out_avals, jaxpr.effects


@functools.lru_cache(maxsize=512)
def _compiled(jaxpr: Any, spec: Spec) -> Any:
    from memline.limited import LimitedFunction  # the two modules are one mechanism seen from two sides

    return LimitedFunction(_function(jaxpr), spec)


def _run(*args: Any, jaxpr: Any, spec: Spec, name: str) -> list[Any]:
    """Runs eagerly, as when the gradient of a limited function is taken outside `jit`."""
    del name
    return _compiled(jaxpr, spec).call_concrete(*args)


@functools.lru_cache(maxsize=512)
def _planned(jaxpr: Any, spec: Spec, platform: str, native: Native) -> Any:
    graph = plan_graph(jaxpr, spec, platform, native=native)
    return selected_joins(graph) if platform == "cpu" else graph  # as planned programs are compiled


def _inline(*args: Any, jaxpr: Any, spec: Spec, name: str, stays: bool) -> list[Any]:
    """The planned program, traced into the program around it."""
    del name
    platform = jax.default_backend()
    native = native_of(spec.options, platform, is_spread=False)[0] if stays else NO_NATIVE
    return run_program(_planned(jaxpr, spec, platform, native), args, native=native)


@functools.lru_cache(maxsize=512)
def _batched(
    jaxpr: Any, types: tuple[Any, ...], dims: tuple[int | None, ...], size: int, spread_over: Any
) -> tuple[Any, tuple[int | None, ...]]:
    """Returns the batched jaxpr, and the axis of each of its results that is the mapped one; None for those without."""
    is_mapped: list[bool] = []

    def batched(*xs: Any) -> list[Any]:
        shared: list[Any] = []

        def noting(*xs: Any) -> list[Any]:
            outs = _function(jaxpr)(*xs)
            is_mapped[:] = map(compat.is_batched, outs)
            shared[:] = [y for y, mapped in zip(outs, is_mapped, strict=True) if not mapped]
            return [y for y, mapped in zip(outs, is_mapped, strict=True) if mapped]

        over = {"spmd_axis_name": spread_over} if spread_over is not None else {}
        mapped = iter(jax.vmap(noting, in_axes=dims, out_axes=0, axis_size=size, **over)(*xs))
        unmapped = iter(shared)
        return [next(mapped) if on else next(unmapped) for on in is_mapped]

    made = _make(batched, types)
    return made, tuple(0 if on else None for on in is_mapped)


def _batch(
    args: Sequence[Any], dims: Sequence[Any], *, jaxpr: Any, spec: Spec, name: str, size: int, spread_over: Any
) -> tuple[list[Any], Sequence[int | None]]:
    axes = tuple(None if compat.is_unbatched(d) else int(d) for d in dims)
    if not any(d is not None for d in axes):
        outs = memline_call_p.bind(*args, jaxpr=jaxpr, spec=spec, name=name)
        return outs, [None] * len(outs)
    types = tuple(
        given if is_sharded(given) else compat.shaped(given.shape, t.dtype, t.weak_type)
        for given, t in zip(map(compat.aval_of, args), jaxpr.in_avals, strict=True)
    )
    batched, out_axes = _batched(jaxpr, types, axes, size, spread_over)
    return memline_call_p.bind(*args, jaxpr=batched, spec=spec, name=name), out_axes


def _differentiable(aval: Any) -> bool:
    return jnp.issubdtype(aval.dtype, np.inexact)


@functools.lru_cache(maxsize=512)
def _tangent(jaxpr: Any, active: tuple[bool, ...]) -> tuple[Any, tuple[bool, ...]]:
    """Returns the jaxpr (inputs, tangents of the active ones) -> tangents of the differentiable results.

    It takes only those inputs that it needs, for what it takes is held until the gradient has come to it; which
    they are is told as well.
    """
    fun = _function(_without_reports(jaxpr))  # the call itself has made them
    real = [_differentiable(t) for t in jaxpr.out_avals]

    def tangent(*xs: Any) -> list[Any]:
        primals, given = xs[: len(active)], iter(xs[len(active) :])

        def along(*moving: Any) -> list[Any]:
            moved = iter(moving)
            full = [next(moved) if on else p for on, p in zip(active, primals, strict=True)]
            return [y for y, keep in zip(fun(*full), real, strict=True) if keep]

        moving = [p for on, p in zip(active, primals, strict=True) if on]
        return jax.jvp(along, moving, list(given))[1]

    tangents = [t for on, t in zip(active, jaxpr.in_avals, strict=True) if on]
    # Without refs: what is written to one counts as linear by itself when it is transposed, and is lost.
    made = compat.without_inner_refs(_make(tangent, [*jaxpr.in_avals, *tangents]))
    return compat.needed(made, [*(True for _ in active), *(False for _ in tangents)])


def _jvp(primals: Sequence[Any], tangents: Sequence[Any], *, jaxpr: Any, spec: Spec, name: str) -> Any:
    outs = memline_call_p.bind(*primals, jaxpr=jaxpr, spec=spec, name=name)
    active = tuple(
        not compat.is_symbolic_zero(t) and _differentiable(a) for t, a in zip(tangents, jaxpr.in_avals, strict=True)
    )
    if not any(active):
        return outs, [compat.symbolic_zero(a) for a in jaxpr.out_avals]
    moving = [t for t, on in zip(tangents, active, strict=True) if on]
    derivative, used = _tangent(jaxpr, active)
    given = itertools.compress((*primals, *moving), used)
    moved = iter(memline_call_p.bind(*given, jaxpr=derivative, spec=_replayless(spec), name=name))
    out_tangents = [next(moved) if _differentiable(a) else compat.symbolic_zero(a) for a in jaxpr.out_avals]
    return outs, out_tangents


def _without_reports(closed: Any) -> Any:
    """Returns the closed jaxpr without the equations that have effects and no results, such as a print.

    One that writes to a ref has none either, and is kept.
    """

    def takes_refs(eqn: Any) -> bool:
        return any(compat.is_ref(v.aval) for v in eqn.invars)

    kept = [eqn for eqn in closed.jaxpr.eqns if eqn.outvars or not eqn.effects or takes_refs(eqn)]
    if len(kept) == len(closed.jaxpr.eqns):
        return closed
    effects = frozenset().union(*(eqn.effects for eqn in kept))
    return compat.ClosedJaxpr(closed.jaxpr.replace(eqns=kept, effects=effects), closed.consts)


def _replayless(spec: Spec) -> Spec:
    """A plan is for the program it was made for: its derivative is planned afresh, under the plan's limit."""
    if spec.plan is None:
        return spec
    return Spec(spec.limit_bytes or spec.plan.limit_bytes, None, spec.options)


@functools.lru_cache(maxsize=512)
def _transposed(jaxpr: Any, linear: tuple[bool, ...]) -> tuple[Any, tuple[bool, ...]]:
    """Returns the jaxpr (inputs not marked linear, cotangents of results) -> cotangents of linear inputs.

    It takes only those of them all that it needs; which they are is told as well.
    """
    fun = _function(compat.without_inner_refs(jaxpr))
    fixed = [t for t, on in zip(jaxpr.in_avals, linear, strict=True) if not on]
    moving = [t for t, on in zip(jaxpr.in_avals, linear, strict=True) if on]

    def transpose(*xs: Any) -> list[Any]:
        held, cotangents = xs[: len(fixed)], list(xs[len(fixed) :])

        def along(*ts: Any) -> list[Any]:
            given, moved = iter(held), iter(ts)
            return fun(*(next(moved) if on else next(given) for on in linear))

        # Not the vector-Jacobian product at zero: what a custom_vjp leaves in here can be transposed only.
        return list(jax.linear_transpose(along, *moving)(cotangents))

    made = _make(transpose, [*fixed, *jaxpr.out_avals])
    return compat.needed(made, [True] * len(made.in_avals))


def _transpose(cotangents: Sequence[Any], *args: Any, jaxpr: Any, spec: Spec, name: str) -> list[Any]:
    linear = tuple(compat.is_undefined_primal(x) for x in args)
    held = [x for x, on in zip(args, linear, strict=True) if not on]
    given = [compat.instantiate_zeros(ct) for ct in cotangents]
    transposed, used = _transposed(jaxpr, linear)
    needed = itertools.compress((*held, *given), used)
    outs = iter(memline_call_p.bind(*needed, jaxpr=transposed, spec=_replayless(spec), name=name))
    return [next(outs) if on else None for on in linear]


memline_call_p = compat.new_primitive(
    "jit",  # for whoever looks into jaxprs: it is a call of its parameter `jaxpr` by that name, and no more
    impl=_run,
    abstract_eval=_abstract,
    lower=_inline,
    batch=_batch,
    jvp=_jvp,
    transpose=_transpose,
    is_fixed=lambda params: params["spec"].plan is not None,  # a plan is for the program as it was
)
