"""The functions that users call: `jit`, `limit`, `plan`, `curve` and `report`."""

from __future__ import annotations

import copy
import functools
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax

from memline import compat
from memline.arguments import SettingError
from memline.budget import parse_limit
from memline.devices import Device
from memline.errors import ArgumentError
from memline.limited import LimitedFunction
from memline.options import Options
from memline.plan.plan import Plan
from memline.planning import Spec, Written
from memline.report.of_plan import record_of_plan
from memline.report.report import Report
from memline.reporting import Asked, origin, record_of_planned, record_of_written
from memline.stages import Compiled, Lowered
from memline.tradeoff.curve import Curve
from memline.tradeoff.sample import curve_of, measured, sample


def jit(
    fun: Callable[..., Any] | None = None,
    *,
    memory_limit: int | str | None = None,
    plan: Plan | None = None,
    static_argnums: int | Sequence[int] | None = None,
    static_argnames: str | Iterable[str] | None = None,
    donate_argnums: int | Sequence[int] | None = None,
    donate_argnames: str | Iterable[str] | None = None,
    in_shardings: Any = None,
    out_shardings: Any = None,
    keep_unused: bool = False,
    device: Device | None = None,
    backend: str | None = None,
    inline: Any = False,
    compiler_options: dict[str, Any] | None = None,
    options: Options | None = None,
) -> Any:
    """Compiles a function as `jax.jit` does, to run inside a memory limit.

    The result computes what `jax.jit(fun)` computes; integer and order-independent results are bit-equal.
    The first call for given types plans: it cuts the program's big values into chunks, all that hangs on
    them with them, so that arguments, results and temporaries together never exceed the limit. Called
    inside another transformation, the planned program is spliced into place.

    Args:
      fun: the function, of arrays in any pytrees. Without it a decorator is returned.
      memory_limit: bytes as an int, or text such as "512MiB", "2 GB", "50%" (of the device's memory); None for
        no limit. The bound holds per call for arguments + results + temporaries, donated bytes once.
      plan: a `Plan` to replay instead of searching for one.
      static_argnums: as in `jax.jit`; so are static_argnames, donate_argnums, donate_argnames, in_shardings,
        out_shardings, keep_unused, inline and compiler_options.
      device: where to run, as in `jax.jit`; give this or `backend`.
      options: how to plan; see `memline.Options`.

    Returns:
      A function with the stages of `jax.jit` (`trace`, `lower`, and so on).

    Raises:
      LimitError: the limit is malformed, zero, negative or NaN.
      ArgumentError: `fun` cannot be called, or `options` or `plan` is of another type.
      MemoryLimitError: when called or lowered, where no plan that was tried fits; before anything runs.

    The splitting follows Artemev et al., "Memory safe computations with XLA compiler" (NeurIPS 2022).

    >>> import jax.numpy as jnp
    >>> @jit(memory_limit="4MiB")
    ... def kernel_sum(x):
    ...     return jnp.exp(-((x[:, None] - x[None, :]) ** 2)).sum(1)
    >>> kernel_sum(jnp.linspace(0.0, 1.0, 4000)).shape  # the 61 MiB matrix is never built
    (4000,)
    """
    settings = {
        "memory_limit": memory_limit,
        "plan": plan,
        "static_argnums": static_argnums,
        "static_argnames": static_argnames,
        "donate_argnums": donate_argnums,
        "donate_argnames": donate_argnames,
        "in_shardings": in_shardings,
        "out_shardings": out_shardings,
        "keep_unused": keep_unused,
        "device": device,
        "backend": backend,
        "inline": inline,
        "compiler_options": compiler_options,
        "options": options,
    }
    jit_options = {name: settings[name] for name in _PASSED_ON if settings[name] is not None}
    for name in ("keep_unused", "inline"):
        if settings[name]:
            jit_options[name] = settings[name]
    _require_one_place(jit_options)
    if backend is not None:
        device = jax.devices(backend)[0]
    if fun is None:
        _spec(memory_limit, plan, options, device)  # a bad limit is told where it is written
        return functools.partial(jit, **settings)
    _require_callable(fun)
    spec = _spec(memory_limit, plan, options, device)
    return LimitedFunction(fun, spec, jit_options, compiler_options, device, shares=True)


_PASSED_ON = (
    "static_argnums",
    "static_argnames",
    "donate_argnums",
    "donate_argnames",
    "in_shardings",
    "out_shardings",
    "device",
    "backend",
)
"""The settings of `jax.jit` that are its own to resolve."""


def _require_one_place(jit_options: Mapping[str, Any]) -> None:
    """Raises where it is said in two ways where a program shall run."""
    given = [name for name in ("device", "backend", "in_shardings", "out_shardings") if name in jit_options]
    if len(given) < 2 or not {"device", "backend"} & set(given):
        return
    try:
        compat.plain_jit_of(abs, **jit_options)
    except ValueError as error:  # whose words other code may look for
        raise SettingError(f"give either {given[0]} or {given[1]}, not both\n{error}") from None


def limit(
    fun: Callable[..., Any],
    memory_limit: int | str | None = None,
    *,
    plan: Plan | None = None,
    static_argnums: int | Sequence[int] | None = None,
    static_argnames: str | Iterable[str] | None = None,
    options: Options | None = None,
) -> Callable[..., Any]:
    """Returns the function held to a memory limit, to be used inside other JAX code: compiles nothing itself.

    Under `jax.jit` the planned program becomes part of the program around it; `jax.grad` and `jax.vmap`
    plan the derivative and the batched function under the same limit.

    Args:
      fun: the function, of arrays in any pytrees.
      memory_limit: as in `memline.jit`.
      plan: a `Plan` to replay instead of searching for one.
      static_argnums: as in `jax.jit`; so is static_argnames.
      options: see `memline.Options`.

    Raises:
      LimitError, ArgumentError: as `memline.jit`.
      MemoryLimitError: when the program around it is lowered, where no plan that was tried fits.

    >>> import jax.numpy as jnp
    >>> def kernel_sum(x):
    ...     return jnp.exp(-((x[:, None] - x[None, :]) ** 2)).sum()
    >>> step = jax.jit(jax.grad(limit(kernel_sum, "4MiB")))
    >>> step(jnp.linspace(0.0, 1.0, 4000)).shape
    (4000,)
    """
    _require_callable(fun)
    jit_options = {
        name: value
        for name, value in (("static_argnums", static_argnums), ("static_argnames", static_argnames))
        if value is not None
    }
    limited = LimitedFunction(fun, _spec(memory_limit, plan, options, None), jit_options)

    @functools.wraps(fun)
    def call(*args: Any, **kwargs: Any) -> Any:
        return limited(*args, **kwargs)

    return call


def plan(
    fun: Callable[..., Any],
    memory_limit: int | str | None = None,
    **settings: Any,
) -> Callable[..., Plan]:
    """Returns a function that plans a call instead of making it.

    Args:
      fun: the function.
      memory_limit: as in `memline.jit`.
      **settings: the other arguments of `memline.jit`.

    Returns:
      A function of the same arguments, arrays or `jax.ShapeDtypeStruct`s (nothing of their size is
      allocated), that returns the `Plan`.

    Raises:
      LimitError, ArgumentError: as `memline.jit`.
      MemoryLimitError: when called, where no plan that was tried fits.

    >>> import jax.numpy as jnp
    >>> def kernel_sum(x):
    ...     return jnp.exp(-((x[:, None] - x[None, :]) ** 2)).sum()
    >>> made = plan(kernel_sum, "4MiB")(jax.ShapeDtypeStruct((4000,), jnp.float32))
    >>> made.compiled_peak_bytes <= 4 * 2**20, len(made.moves)
    (True, 1)
    """
    limited = copy.copy(jit(fun, memory_limit=memory_limit, **settings))  # which plans by itself

    @functools.wraps(fun)
    def planned(*args: Any, **kwargs: Any) -> Plan:
        return limited.trace(*args, **kwargs).plan()

    return planned


def curve(
    fun: Callable[..., Any],
    *args: Any,
    points: int = 8,
    measure: bool = False,
    repeats: int = 3,
    kwargs: Mapping[str, Any] | None = None,
    **settings: Any,
) -> Curve:
    """Returns the trade of memory against time of one call: which limit to ask for, and what it costs.

    Plans the call for limits from the smallest that can be met up to what the program needs as it is written. More
    memory never costs more time on the curve: where the search finds a slower plan for a larger limit, the faster one
    for the smaller limit serves both.

    Args:
      fun: the function.
      *args: the arguments of the call, arrays or `jax.ShapeDtypeStruct`s.
      points: how many limits to try above the smallest, spread evenly over orders of magnitude of temporaries. The
        curve has fewer points where plans are equal, or slower than one that needs less.
      measure: whether to run each plan as well, in fresh processes that take turns, and to judge by those times and
        not by estimates. Takes some seconds a plan, more where the program does; a plan whose call is estimated at
        more than a minute is not run, and keeps its estimate.
      repeats: timed calls in each of a plan's three processes; a call of more than five seconds is timed once.
      kwargs: keyword arguments of the call.
      **settings: the other arguments of `memline.jit`, such as static_argnums and options.

    Returns:
      A `Curve`, which prints as a table, draws itself (`plot`) and is saved as JSON (`to_json`). Each point has its
      plan: `memline.jit(fun, plan=point.plan)`.

    Raises:
      ArgumentError: `fun` cannot be called, an argument is no array, or `points` or `repeats` is no number from 1; also
        where a memory limit or a plan is given, for these are what the curve looks for.
      MeasureError: a fresh process failed.

    >>> import jax.numpy as jnp
    >>> def kernel_sum(x):
    ...     return jnp.exp(-((x[:, None] - x[None, :]) ** 2)).sum(1)
    >>> found = curve(kernel_sum, jax.ShapeDtypeStruct((2000,), jnp.float32), points=3)
    >>> found.points[0].compiled_peak_bytes * 100 < found.plain.compiled_peak_bytes
    True
    >>> print(found)  # doctest: +ELLIPSIS
    memline curve: what a call costs under a limit
    ...
      Ask for ...: the smallest limit within 5% of the fastest (...).
    """
    for name, number in (("points", points), ("repeats", repeats)):
        if isinstance(number, bool) or not isinstance(number, int) or number < 1:
            raise ArgumentError(f"{name} is a whole number from 1, not {number!r}")
    for name in ("memory_limit", "plan"):
        if name in settings:
            raise ArgumentError(f"curve takes no {name}: it tries limits and finds plans by itself")
    limited = jit(fun, **settings)
    given = dict(kwargs or {})
    options = _spec(None, None, settings.get("options"), None).options
    found = sample(limited.planner(args, given, honest=options.honest_accounting, several=True), options, points)
    if not measure:
        return curve_of(list(found))
    traced_args, traced_kwargs = limited.traced_arguments(args, given)
    return curve_of(measured(found, traced_args, traced_kwargs, repeats))


def report(
    fun: Any,
    *args: Any,
    memory_limit: int | str | None = None,
    layout: bool = True,
    measure: bool = False,
    kwargs: Mapping[str, Any] | None = None,
    **settings: Any,
) -> Report:
    """Returns a report of one call: what takes memory, when, and which line of yours made it.

    Args:
      fun: any function of arrays, plain or of `jax.jit`: without a limit it is told as it is written. Or what
        `memline.jit` returned, or its `Compiled` stage, which needs no arguments: told as written and as planned. Or a
        `Plan` alone: its figures and moves, without the program.
      *args: the arguments of the call, arrays or `jax.ShapeDtypeStruct`s.
      memory_limit: plans a function for this limit, as `memline.jit` does.
      layout: whether to ask XLA where it puts each temporary, and to pack them exactly for comparison. Takes one more
        compile of each program, and up to two seconds of packing.
      measure: whether to run each program in a fresh process as well, and to report its peak and its time.
      kwargs: keyword arguments of the call.
      **settings: the other arguments of `memline.jit`, such as static_argnums and options.

    Returns:
      A `Report`, which prints as one screen and is saved as a page, a trace, a table or JSON (`Report.save`).

    Raises:
      LimitError: as `memline.jit`.
      ArgumentError: `fun` is none of these, or an argument is given that does not go with it.
      MemoryLimitError: no plan that was tried fits the limit.

    >>> import jax.numpy as jnp
    >>> def kernel_sum(x):
    ...     return jnp.exp(-((x[:, None] - x[None, :]) ** 2)).sum(1)
    >>> made = report(kernel_sum, jnp.linspace(0.0, 1.0, 4000), memory_limit="4MiB", layout=False)
    >>> [program.compiled_peak_bytes > 4 * 2**20 for program in made.programs]
    [True, False]
    """
    given = dict(kwargs or {})
    if isinstance(fun, Plan):
        _refuse_settings("a plan alone", memory_limit, settings, args, given)
        return Report(record_of_plan(fun, origin(fun.platform)))
    if isinstance(fun, Compiled | Lowered):
        _refuse_settings("a compiled program", memory_limit, settings)
        return Report(record_of_planned(fun.planned, Asked(layout, measure, args, given)))
    _require_callable(fun)
    if isinstance(fun, LimitedFunction):
        _refuse_settings("what memline.jit returned", memory_limit, settings)
        limited = fun
    elif memory_limit is None and not settings and hasattr(fun, "trace") and hasattr(fun, "lower"):
        asked = Asked(layout, measure, args, given)
        return Report(record_of_written(Written.of(fun.trace(*args, **given), jax.default_backend()), asked))
    else:
        limited = copy.copy(jit(fun, memory_limit=memory_limit, **settings))
    traced_args, traced_kwargs = limited.traced_arguments(args, given)
    asked = Asked(layout, measure, traced_args, traced_kwargs)
    if limited.changes_nothing:
        return Report(record_of_written(limited.written(args, given), asked))
    return Report(record_of_planned(limited.planned(args, given), asked))


def _refuse_settings(what: str, memory_limit: Any, settings: Mapping[str, Any], *arguments: Any) -> None:
    """Raises where something is given that goes with a function only."""
    names = [*(["memory_limit"] if memory_limit is not None else []), *settings]
    if any(arguments):
        names.append("arguments")
    if names:
        raise ArgumentError(f"a report of {what} takes no {', '.join(names)}: they go with a function")


def _spec(memory_limit: Any, plan: Any, options: Any, device: Device | None) -> Spec:
    if plan is not None and not isinstance(plan, Plan):
        raise ArgumentError(f"plan is a memline.Plan, not a {type(plan).__name__}; Plan.from_json reads its text")
    if options is not None and not isinstance(options, Options):
        raise ArgumentError(f"options is a memline.Options, not a {type(options).__name__}")
    return Spec(parse_limit(memory_limit, device), plan, _with_plan_cache(options or Options()))


def _with_plan_cache(options: Options) -> Options:
    """Returns the options with the folder that the environment names, where they name none themselves."""
    if options.plan_cache is None:
        return replace(options, plan_cache=os.environ.get("MEMLINE_PLAN_CACHE", ""))
    folder = Path(options.plan_cache).expanduser()
    if options.plan_cache and folder.exists() and not folder.is_dir():
        raise ArgumentError(
            f"plan_cache is {options.plan_cache!r}, which is not a folder. Name one, or one to be made."
        )
    return options


def _require_callable(fun: Any) -> None:
    if not callable(fun):
        raise ArgumentError(f"Expected a callable value, not a {type(fun).__name__}: {fun!r}")
