"""A limited function inside other JAX code: one primitive that every transformation goes through.

Under an outer `jit` the planned program is spliced into place when the outer program is lowered. Under
`vmap` the batched function is planned, under `jvp` the derivative; a gradient keeps only the inputs
between the passes and plans the backward pass as a program of its own, which computes again what it
needs. So every piece keeps inside the limit by itself; what the surrounding program holds beside it is
not memline's to bound. To bound a whole step, put `memline.jit` around its gradient, not inside.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from memline import compat
from memline.ir.emit import evaluate
from memline.ir.trace import from_jaxpr
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
    return list(memline_call_p.bind(*closed_over, *leaves, jaxpr=jaxpr, spec=spec, linear=0))


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
    specs = [jax.ShapeDtypeStruct(t.shape, t.dtype, weak_type=t.weak_type) for t in types]
    return jax.make_jaxpr(fun)(*specs)


def _abstract(*avals: Any, jaxpr: Any, spec: Spec, linear: int) -> list[Any]:
    del avals, spec, linear
    return jaxpr.out_avals


@functools.lru_cache(maxsize=512)
def _compiled(jaxpr: Any, spec: Spec) -> Any:
    from memline.limited import LimitedFunction  # the two modules are one mechanism seen from two sides

    return LimitedFunction(_function(jaxpr), spec)


def _run(*args: Any, jaxpr: Any, spec: Spec, linear: int) -> list[Any]:
    """Runs eagerly, as when the gradient of a limited function is taken outside `jit`."""
    del linear
    return _compiled(jaxpr, spec).call_concrete(*args)


@functools.lru_cache(maxsize=512)
def _planned(jaxpr: Any, spec: Spec, platform: str) -> Any:
    return plan_graph(from_jaxpr(jaxpr, platform=platform), spec, platform)


def _inline(*args: Any, jaxpr: Any, spec: Spec, linear: int) -> list[Any]:
    """The planned program, traced into the program around it."""
    del linear
    return evaluate(_planned(jaxpr, spec, jax.default_backend()), args)


@functools.lru_cache(maxsize=512)
def _batched(jaxpr: Any, dims: tuple[int | None, ...], size: int) -> Any:
    types = []
    for t, d in zip(jaxpr.in_avals, dims, strict=True):
        shape = t.shape if d is None else (*t.shape[:d], size, *t.shape[d:])
        types.append(compat.shaped(shape, t.dtype, t.weak_type))
    return _make(jax.vmap(_function(jaxpr), in_axes=dims, out_axes=0, axis_size=size), types)


def _batch(args: Sequence[Any], dims: Sequence[Any], *, jaxpr: Any, spec: Spec, linear: int) -> Any:
    axes = tuple(None if compat.is_unbatched(d) else int(d) for d in dims)
    size = next(x.shape[d] for x, d in zip(args, axes, strict=True) if d is not None)
    batched = _batched(jaxpr, axes, size)
    outs = memline_call_p.bind(*args, jaxpr=batched, spec=spec, linear=linear)
    return outs, [0] * len(outs)


def _differentiable(aval: Any) -> bool:
    return jnp.issubdtype(aval.dtype, np.inexact)


@functools.lru_cache(maxsize=512)
def _tangent(jaxpr: Any, active: tuple[bool, ...]) -> Any:
    """Returns the jaxpr (inputs, tangents of the active ones) -> tangents of the differentiable results."""
    fun = _function(jaxpr)
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
    return _make(tangent, [*jaxpr.in_avals, *tangents])


def _jvp(primals: Sequence[Any], tangents: Sequence[Any], *, jaxpr: Any, spec: Spec, linear: int) -> Any:
    outs = memline_call_p.bind(*primals, jaxpr=jaxpr, spec=spec, linear=linear)
    active = tuple(
        not compat.is_symbolic_zero(t) and _differentiable(a)
        for t, a in zip(tangents, jaxpr.in_avals, strict=True)
    )
    if not any(active):
        return outs, [compat.symbolic_zero(a) for a in jaxpr.out_avals]
    moving = [t for t, on in zip(tangents, active, strict=True) if on]
    derivative = _tangent(jaxpr, active)
    moved = iter(
        memline_call_p.bind(*primals, *moving, jaxpr=derivative, spec=_replayless(spec), linear=len(moving))
    )
    out_tangents = [
        next(moved) if _differentiable(a) else compat.symbolic_zero(a) for a in jaxpr.out_avals
    ]
    return outs, out_tangents


def _replayless(spec: Spec) -> Spec:
    """A plan is for the program it was made for: its derivative is planned afresh, under the plan's limit."""
    if spec.plan is None:
        return spec
    return Spec(spec.limit_bytes or spec.plan.limit_bytes, None, spec.options)


@functools.lru_cache(maxsize=512)
def _transposed(jaxpr: Any, linear: int) -> Any:
    """Returns the jaxpr (inputs that are not linear, cotangents of results) -> cotangents of linear inputs."""
    fun = _function(jaxpr)
    split = len(jaxpr.in_avals) - linear
    fixed, moving = jaxpr.in_avals[:split], jaxpr.in_avals[split:]

    def transpose(*xs: Any) -> list[Any]:
        held, cotangents = xs[:split], list(xs[split:])
        zeros = [jnp.zeros(t.shape, t.dtype) for t in moving]
        # The derivative is linear in its last inputs, so its vector-Jacobian product anywhere is its transpose.
        _, pull = jax.vjp(lambda *ts: fun(*held, *ts), *zeros)
        return list(pull(cotangents))

    return _make(transpose, [*fixed, *jaxpr.out_avals])


def _transpose(cotangents: Sequence[Any], *args: Any, jaxpr: Any, spec: Spec, linear: int) -> list[Any]:
    split = len(args) - linear
    held = args[:split]
    if any(compat.is_undefined_primal(x) for x in held) or not all(
        compat.is_undefined_primal(x) for x in args[split:]
    ):
        raise NotLinear
    given = [compat.instantiate_zeros(ct) for ct in cotangents]
    outs = memline_call_p.bind(*held, *given, jaxpr=_transposed(jaxpr, linear), spec=spec, linear=len(given))
    return [None] * split + list(outs)


class NotLinear(AssertionError):
    """JAX asked to transpose a limited call in an input in which it is not linear: a mistake of memline's."""


memline_call_p = compat.new_primitive(
    "memline_call",
    impl=_run,
    abstract_eval=_abstract,
    lower=_inline,
    batch=_batch,
    jvp=_jvp,
    transpose=_transpose,
)
