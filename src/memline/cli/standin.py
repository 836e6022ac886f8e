"""What stands in for `jax.jit` while a script runs: every function that is jitted is compiled under the limit.

JAX's own calls, and memline's, go to the real one. A function that is called while another one is traced becomes part
of that program, which is planned as a whole.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
import os
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import jax

from memline import compat
from memline.arguments import Signature
from memline.cli.tally import Planned, Tally
from memline.errors import ArgumentError, MemlineError, MemoryLimitError
from memline.limited import LimitedFunction
from memline.options import Options
from memline.origin import is_users
from memline.planning import Spec

SMALL_SHARE = 1 / 16
"""What stays below this share of the limit, all its values added, is left to plain `jax.jit`."""
_OWN = {"jax", "jaxlib", "memline"}
_tracing = threading.local()


@contextlib.contextmanager
def standing_in(tally: Tally, *, keep_going: bool) -> Iterator[None]:
    """Puts the stand-in in the place of `jax.jit` until the block ends."""
    real = jax.jit
    jax.jit = stand_in_for(real, tally, keep_going=keep_going)
    try:
        yield
    finally:
        jax.jit = real


def stand_in_for(real: Callable[..., Any], tally: Tally, *, keep_going: bool) -> Callable[..., Any]:
    """Returns a function that is called as `jax.jit` is, and returns functions that keep the tally's limit.

    Args:
      real: the real `jax.jit`.
      tally: the limit, and where it is told what was done.
      keep_going: whether a program that cannot be made to fit runs as plain `jax.jit` compiles it.
    """
    spec = Spec(tally.limit_bytes, None, Options(plain_below=SMALL_SHARE))

    @functools.wraps(real)
    def jit(*given: Any, **settings: Any) -> Any:
        caller = sys._getframe(1).f_globals.get("__name__") or ""
        if caller.split(".")[0] in _OWN:
            return real(*given, **settings)
        return limited(*given, **settings)

    def limited(*given: Any, **settings: Any) -> Any:
        match given:
            case ():
                return functools.partial(limited, **settings)
            case (fun,) if callable(fun) and settings.get("device") is None and settings.get("backend") is None:
                options = settings.pop("compiler_options", None)
                return Watched(fun, spec, settings, options, tally=tally, keep_going=keep_going)
        return real(*given, **settings)  # which knows what is wrong with it, or how to place it

    return jit


class Watched(LimitedFunction):
    """A function compiled under the limit that tells a tally what becomes of it."""

    def __init__(self, *given: Any, tally: Tally, keep_going: bool) -> None:
        super().__init__(*given)
        self._tally = tally
        self._keep_going = keep_going
        self._unfit: set[Any] = set()

    def planned(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        known = len(self._planned)
        planned = super().planned(args, kwargs)
        if len(self._planned) > known:
            self._tally.planned(*self._named(), _told(planned.plan))
        return planned

    def lower(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().lower(*args, **kwargs)
        except MemlineError as error:
            self._refuse(error)
            with _inside():
                return self._plain.lower(*args, **kwargs)

    def _trace(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        with _inside():
            return super()._trace(args, kwargs)

    def _call_new(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if self._unfit and Signature.of(self._statics, args, kwargs) in self._unfit:
            return self._plain(*args, **kwargs)
        try:
            self.planned(args, kwargs)
        except MemlineError as error:
            self._refuse(error)
            with _inside():
                results = self._plain(*args, **kwargs)
            self._unfit.add(Signature.of(self._statics, args, kwargs))
            return results
        return super()._call_new(args, kwargs)

    def _spliced(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        if getattr(_tracing, "depth", 0) or compat.jit_is_disabled():
            return self._plain(*args, **kwargs)
        if self._spec.without_search(self._trace(args, kwargs).jaxpr) is not None:
            return self._plain(*args, **kwargs)
        if self._keep_going:  # its derivatives are planned later, where nothing could be done if they did not fit
            self._tally.refused(*self._named(), "called inside a transformation around it; it ran as plain jax.jit")
            return self._plain(*args, **kwargs)
        try:
            results = super()._spliced(args, kwargs)
        except MemlineError as error:
            self._refuse(error)
            with _inside():
                return self._plain(*args, **kwargs)
        self._tally.spliced(*self._named())
        return results

    def _refuse(self, error: MemlineError) -> None:
        """Tells why a program is not planned; raises where the script shall stop for it."""
        is_over = isinstance(error, MemoryLimitError)
        stops = is_over and not self._keep_going
        after = "; the script was stopped" if stops else "; it ran as plain jax.jit"
        self._tally.refused(*self._named(), f"{error}{after}")
        if stops or not (is_over or isinstance(error, ArgumentError)):
            raise error

    def _named(self) -> tuple[str, str]:
        name = getattr(self._fun, "__qualname__", None) or getattr(self._fun, "__name__", None)
        return name or type(self._fun).__name__, _place_of(self._fun)


@contextlib.contextmanager
def _inside() -> Iterator[None]:
    """Marks that a program is being traced: what is jitted in it is part of it."""
    _tracing.depth = getattr(_tracing, "depth", 0) + 1
    try:
        yield
    finally:
        _tracing.depth -= 1


def _told(plan: Any) -> Planned:
    is_small = not plan.decisions and any(note.endswith("not searched") for note in plan.notes)
    return Planned(
        plan.signature,
        plan.whole_peak_bytes,
        plan.planned_peak_bytes,
        plan.compiled_peak_bytes,
        tuple(f"{decision.move}: {decision.reason}" for decision in plan.decisions),
        plan.left_whole,
        is_small,
    )


def _place_of(fun: Any) -> str:
    """Returns the user's line that a function is from: where it is defined, or called where a library defines it."""
    while isinstance(fun, functools.partial):
        fun = fun.func
    fun = inspect.unwrap(fun)
    called = fun if inspect.isroutine(fun) else type(fun).__call__
    code = getattr(called, "__code__", None)
    if code is not None and is_users(code.co_filename):
        return f"{os.path.basename(code.co_filename)}:{code.co_firstlineno}"
    frame: Any = sys._getframe(1)
    while frame is not None:
        if is_users(frame.f_code.co_filename):
            return f"called at {os.path.basename(frame.f_code.co_filename)}:{frame.f_lineno}"
        frame = frame.f_back
    return f"{os.path.basename(code.co_filename)}:{code.co_firstlineno}" if code is not None else "unknown"
