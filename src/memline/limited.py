"""The function that `memline.jit` returns: plans a call on its first types, then dispatches as `jax.jit` does.

Each signature's planned program is a jitted function of its own, so a call costs what a call of
`jax.jit` costs and one Python frame more.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import types
import weakref
from collections.abc import Callable, Sequence
from dataclasses import replace
from operator import attrgetter
from typing import Any

import jax

from memline import compat
from memline.arguments import LeakedTracerError, Signature, Statics, require_arrays, require_hashable
from memline.around import stays_in_place
from memline.compiling import Build
from memline.errors import ArgumentError
from memline.ir.emit import run_program
from memline.ir.graph import Graph
from memline.ir.inplace import Takers
from memline.ir.once import Places, run_once
from memline.kernels.fresh import native_of
from memline.kernels.native import Native
from memline.planning import Planned, Planner, Spec, Written, platform_of
from memline.programs import Programs, forget_all, programs_of
from memline.splice import call_spliced
from memline.stages import Lowered, Traced


class _OtherSignatureError(Exception):
    """Raised when a planned program is traced for other types than those it was planned for."""


class LimitedFunction:
    """A function compiled under a memory limit; made by `memline.jit` and `memline.limit`."""

    def __init__(
        self,
        fun: Callable[..., Any],
        spec: Spec,
        jit_options: dict[str, Any] | None = None,
        compiler_options: dict[str, Any] | None = None,
        device: Any = None,
        *,
        shares: bool = False,
    ) -> None:
        """Makes the function; its programs are those of all that is made so of `fun` if it shares them."""
        functools.update_wrapper(self, fun)
        self._fun = fun
        self._spec = spec
        self._jit_options = dict(jit_options or {})
        self._compiler_options = compiler_options
        self._device = device
        self.platform = platform_of(device)
        own = {"compiler_options": compiler_options} if compiler_options and self._is_plain else {}
        self._plain = compat.plain_jit_of(fun, **self._jit_options, **own)
        self._statics = Statics(*compat.static_arguments(self._plain))
        programs = programs_of(fun, spec, self._jit_options, compiler_options, device) if shares else Programs()
        self._planned, self._places, self._quick = programs.planned, programs.places, programs.quick
        self._any_of_several = _by_signature(self._statics, self._jit_options, self._planned, self._quick)
        self._ready = self._what_is_ready()
        _alive.add(self)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if not compat.tracing_is_inactive():
            return self._spliced(args, kwargs)
        return self.call_concrete(*args, **kwargs)

    def call_concrete(self, *args: Any, **kwargs: Any) -> Any:
        """Calls with arrays, planning first where the types are new."""
        try:
            return self._ready(*args, **kwargs)
        except _OtherSignatureError:
            pass
        except (TypeError, jax.errors.UnexpectedTracerError):
            self._require_good(args, kwargs, shapes_will_do=False)
            raise
        return self._call_new(args, kwargs)

    def __get__(self, instance: Any, owner: type | None = None) -> Any:
        return self if instance is None else types.MethodType(self, instance)

    def __repr__(self) -> str:
        try:
            return f"<memline.jit of {getattr(self._fun, '__qualname__', None) or repr(self._fun)}>"
        except Exception:  # what the user's own object raises where it is asked for its text
            return "<memline.jit>"

    def trace(self, *args: Any, **kwargs: Any) -> Traced:
        """Traces the function for arguments (arrays or `jax.ShapeDtypeStruct`s), as `jax.jit(f).trace`."""
        return Traced(self, args, kwargs, self._trace(args, kwargs))

    def lower(self, *args: Any, **kwargs: Any) -> Lowered:
        """Plans and lowers the function for arguments (arrays or `jax.ShapeDtypeStruct`s).

        Raises:
          MemoryLimitError: no plan that was tried fits the limit.
        """
        return self.trace(*args, **kwargs).lower()

    def eval_shape(self, *args: Any, **kwargs: Any) -> Any:
        """Returns the shapes and types of the results, as `jax.eval_shape`; plans nothing."""
        return self._plain.eval_shape(*args, **kwargs)

    def _cache_size(self) -> int:
        """Returns for how many kinds of calls there are programs; JAX's own tests ask their functions this."""
        return self._plain._cache_size() if self._is_plain else len(self._planned)

    def __getstate__(self) -> Any:
        return self._plain.__getstate__()  # for whoever asks; copies are made by what follows

    def __reduce__(self) -> Any:
        # Plans and programs stay behind: the copy makes its own.
        return LimitedFunction, (self._fun, self._spec, self._jit_options, self._compiler_options, self._device)

    def clear_cache(self) -> None:
        """Forgets every plan and compiled program."""
        for kept in (self._planned, self._places, self._quick):
            kept.clear()
        if self._is_plain:
            self._plain.clear_cache()
        self._ready = self._what_is_ready()

    def planned(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Planned:
        """Returns the planned and compiled program of a call, from the cache where it is there."""
        spread = self._is_spread(args, kwargs)
        key = Signature.of(self._statics, args, kwargs), spread
        if key not in self._planned:
            self._trace(args, kwargs)  # JAX keeps it for the planner
            with compat.own_trace():
                self._planned[key] = self._planned_anew(args, kwargs)
            self._places[key] = _places(args, kwargs)
        self._ready = self._what_is_ready()
        return self._planned[key]

    def planned_in_place(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Planned:
        """Returns the planned program of a call, lowered and compiled for where the call's arguments are."""
        planned = self.planned(args, kwargs)
        key = Signature.of(self._statics, args, kwargs), self._is_spread(args, kwargs)
        if self._places.get(key) == _places(args, kwargs):
            return planned
        lowered = _lowered(args, kwargs, planned.candidate.call)
        return replace(planned, candidate=replace(planned.candidate, lowered=lowered, compiled=lowered.compile()))

    def _what_is_ready(self) -> Callable[..., Any]:
        """Returns what to call first: it refuses types that there is no program for."""
        if self._is_plain:
            return self._plain
        if len(self._planned) != 1:
            return self._any_of_several if self._planned else _never_planned
        (((_, spread), only),) = self._planned.items()
        # What fits when spread over devices may not fit on one, so that a call has to be looked at then.
        return self._any_of_several if spread else only.candidate.call

    def _planned_anew(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Planned:
        spec = self._spec
        small = spec.without_search(self._trace(args, kwargs).jaxpr) if spec.options.plain_below else None
        if small is not None and spec.limit_bytes is not None:
            planned = self.planner(args, kwargs, honest=False).planned(small)
            if (planned.plan.compiled_peak_bytes or 0) <= spec.limit_bytes:
                note = f"all values together take less than {spec.options.plain_below:.3g} of the limit: not searched"
                told = replace(planned.plan, limit_bytes=spec.limit_bytes, notes=(*planned.plan.notes, note))
                return replace(planned, plan=told)
        honest = spec.options.honest_accounting and not spec.changes_nothing
        return self.planner(args, kwargs, honest=honest).planned(spec)

    @property
    def changes_nothing(self) -> bool:
        """Whether programs are compiled as plain `jax.jit` would."""
        return self._spec.changes_nothing

    @property
    def _is_plain(self) -> bool:
        """Whether a call is one of plain `jax.jit`: with nothing to bound there is nothing to plan before it."""
        return self._spec.changes_nothing and not self._spec.options.tune_seconds

    def written(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Written:
        """Returns the program of a call as it is written; plans nothing."""
        keep_unused = self._jit_options.get("keep_unused", False)
        return Written.of(self._trace(args, kwargs), self.platform, self._compiler_options, keep_unused)

    def traced_arguments(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Returns the arguments of a call without the static ones."""
        return self._statics.split(args, kwargs)[0]

    def _trace(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        self._require_good(args, kwargs, shapes_will_do=True)
        return self._plain.trace(*args, **kwargs)

    def _call_new(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        self._require_good(args, kwargs, shapes_will_do=False)
        if compat.jit_is_disabled():  # someone debugs: run op by op, as `jax.jit` does then
            return self._fun(*args, **kwargs)
        return self.planned(args, kwargs).candidate.call(*args, **kwargs)

    def _require_good(self, args: tuple[Any, ...], kwargs: dict[str, Any], *, shapes_will_do: bool) -> None:
        traced, static = self._statics.split(args, kwargs)
        try:
            require_arrays(traced, shapes_will_do=shapes_will_do)
            require_hashable(static)
        except LeakedTracerError:
            raise
        except OverflowError:  # an int that no array of the default type can hold
            self._plain.trace(*args, **kwargs)  # which says of which argument
            raise
        except ArgumentError as error:
            try:
                self._plain.trace(*args, **kwargs)
                if not shapes_will_do:
                    self._plain(*args, **kwargs)  # which does not run either
            except (TypeError, ValueError) as theirs:  # whose words other code may look for
                raise type(error)(f"{error}\n{theirs}") from error.__cause__
            raise

    def _spliced(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if self._spec.changes_nothing or compat.jit_is_disabled():
            return self._plain(*args, **kwargs)
        traced = self._trace(args, kwargs)
        closed = traced.jaxpr
        if (
            not compat.has_known_sizes(closed)
            or self._spec.without_search(closed) is not None
            or stays_in_place(traced, self._spec.limit_bytes, inline=bool(self._jit_options.get("inline")))
        ):
            return self._plain(*args, **kwargs)
        leaves = jax.tree.leaves(self._statics.split(args, kwargs)[0])
        return jax.tree.unflatten(traced.out_tree, call_spliced(traced, leaves, self._spec))

    def planner(self, args: tuple[Any, ...], kwargs: dict[str, Any], *, honest: bool, several: bool = False) -> Planner:
        """Returns what plans a call, under this function's limit or any other.

        Args:
          args, kwargs: the arguments of the call.
          honest: whether to compile with options that make the compiled peak believable.
          several: whether it will be asked for plans under several limits.
        """
        traced = self._trace(args, kwargs)
        signature, spread = Signature.of(self._statics, args, kwargs), self._is_spread(args, kwargs)
        for tracer in compat.lifted_constants(traced):
            raise LeakedTracerError(
                f"{self!r} closes over a tracer that has leaked out of the transformation that made it. "
                "Pass the value as an argument.",
                tracer,
            )

        plain = self._plain
        build = (
            (lambda *_: plain)
            if self._is_plain and not several
            else _builder(self._fun, self._statics, self._jit_options, signature, traced)
        )
        native, no_kernels = native_of(self._spec.options, self.platform, is_spread=spread)

        return Planner(
            traced,
            build=build,
            lower=functools.partial(_lowered, args, kwargs),
            platform=self.platform,
            honest=honest,
            compiler_options=self._compiler_options,
            native=native,
            no_kernels=no_kernels,
            spread=spread,
            several=several,
            arguments=self._statics.split(args, kwargs)[0],
            keep_unused=self._jit_options.get("keep_unused", False),
        )

    def _is_spread(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        return _is_spread(self._jit_options, args, kwargs)


def _lowered(args: tuple[Any, ...], kwargs: dict[str, Any], jitted: Any) -> Any:
    with compat.own_trace():  # for another limit too
        return jitted.lower(*args, **kwargs)


def _places(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, ...]:
    """Returns where a call's arguments are, as far as they are bound to be there."""
    leaves = jax.tree.leaves((args, kwargs))
    return tuple(getattr(x, "sharding", None) if getattr(x, "committed", True) else None for x in leaves)


def _is_spread(jit_options: dict[str, Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Tells whether any array of a call is, or shall be, on more than one device."""
    if "device" in jit_options or "backend" in jit_options:  # wherever they are, they are moved there
        return False
    asked = [jit_options.get(name) for name in ("in_shardings", "out_shardings")]
    places = [*jax.tree.leaves(asked), *(getattr(x, "sharding", None) for x in jax.tree.leaves((args, kwargs)))]
    return any(place.num_devices > 1 for place in places if isinstance(place, jax.sharding.Sharding))


_alive: weakref.WeakSet[LimitedFunction] = weakref.WeakSet()


@compat.when_caches_are_cleared
def _clear_all() -> None:
    forget_all()
    for function in list(_alive):
        function.clear_cache()


# The functions below hold no `LimitedFunction`: what it closes over is freed as soon as the last reference to it goes,
# as with `jax.jit`, and not when Python next looks for cycles.


def _builder(
    fun: Callable[..., Any], statics: Statics, jit_options: dict[str, Any], signature: Signature, traced: Any
) -> Build:
    """Returns what makes the jitted function of a graph (of the trace itself for None), which refuses other types.

    The user's function is not called again: what it does beside computing, it does once for each signature.
    """

    try:
        user = weakref.ref(fun)  # programs are kept as long as their function, and would keep it
    except TypeError:
        user = lambda: fun  # noqa: E731
    told = _told_of(fun, traced.fun_name)

    def build(graph: Graph | None, options: dict[str, Any], takers: Takers, native: Native, fresh: Places, /) -> Any:
        def compute(leaves: Sequence[Any]) -> list[Any]:
            if graph is None:
                return compat.evaluate_jaxpr(traced.jaxpr.jaxpr, traced.jaxpr.consts, leaves)
            return run_program(graph, leaves, takers, native=native)

        def run(*args: Any, **kwargs: Any) -> Any:
            if Signature.of(statics, args, kwargs) != signature:
                raise _OtherSignatureError
            # Called with arrays by `jax_debug_nans`, which looks for the user's own operation that made one.
            if compat.tracing_is_inactive() and (users := user()) is not None:
                return users(*args, **kwargs)
            leaves = jax.tree.leaves(statics.split(args, kwargs)[0])
            results = run_once(compute, leaves, traced.jaxpr.out_avals, fresh) if fresh else compute(leaves)
            return jax.tree.unflatten(traced.out_tree, results)

        for name, value in told.items():
            setattr(run, name, value)
        return compat.plain_jit_of(run, **jit_options, compiler_options=options)

    return build


def _told_of(fun: Callable[..., Any], name: str) -> dict[str, Any]:
    """Returns the attributes by which JAX speaks of a program as of the function, and resolves its arguments alike.

    They are like those that `functools.wraps` sets, but hold nothing that the function does.

    Args:
      fun: the function.
      name: what JAX calls it.
    """
    told: dict[str, Any] = {"__name__": name}
    told |= {name: getattr(fun, name) for name in ("__qualname__", "__module__", "__doc__") if hasattr(fun, name)}
    with contextlib.suppress(ValueError, TypeError):  # there are callables without a signature
        told["__signature__"] = inspect.signature(fun)
    inner: Any = fun
    while isinstance(inner, functools.partial):
        inner = inner.func
    inner = inspect.unwrap(inner)
    code = getattr(inner, "__code__", None) or getattr(type(inner).__call__, "__code__", None)
    if isinstance(code, types.CodeType):  # where it is written
        cells = tuple(types.CellType() for _ in code.co_freevars)
        told["__wrapped__"] = types.FunctionType(code, {}, getattr(inner, "__name__", name), None, cells)
    elif isinstance(inner, types.BuiltinFunctionType):
        told["__wrapped__"] = inner
    return told


def _by_signature(
    statics: Statics, jit_options: dict[str, Any], planned: dict[tuple[Signature, bool], Planned], quick: dict[Any, Any]
) -> Callable[..., Any]:
    """Returns what calls the program planned for a call's types, and refuses those that there is none for."""

    def looked_up(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Callable[..., Any]:
        found = planned.get((Signature.of(statics, args, kwargs), _is_spread(jit_options, args, kwargs)))
        if found is None:
            raise _OtherSignatureError
        return found.candidate.call

    def call(*args: Any, **kwargs: Any) -> Any:
        key = _quick_key(args, kwargs)
        program = quick.get(key)
        if program is None:
            program = looked_up(args, kwargs)
            if key is not None:
                quick[key] = program
        return program(*args, **kwargs)

    return call


_KIND_OF = attrgetter("aval", "sharding")


def _quick_key(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Returns a key that costs little more than the call itself, or None where an argument is no array.

    It leaves out what seldom differs (global settings): the program that it leads to checks those itself,
    whenever JAX traces it anew.
    """
    if not kwargs:
        try:  # arrays only, as most calls have them
            return tuple(map(_KIND_OF, args))
        except AttributeError:
            pass
    leaves, tree = jax.tree.flatten((args, kwargs) if kwargs else args)
    try:
        return (tree, *map(_KIND_OF, leaves))
    except AttributeError:
        return None


def _never_planned(*args: Any, **kwargs: Any) -> Any:
    raise _OtherSignatureError
