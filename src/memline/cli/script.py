"""Runs a script or a module as `python script.py` and `python -m module` do: arguments, tracebacks, status."""

from __future__ import annotations

import builtins
import importlib.machinery
import importlib.util
import io
import os
import sys
import threading
import types
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from memline.errors import ArgumentError, MemoryLimitError

_OWN_FOLDER = os.path.dirname(os.path.dirname(__file__)) + os.sep


@dataclass(frozen=True)
class Script:
    """A program that is ready to run."""

    code: types.CodeType
    file: str
    first: str
    """What its arguments begin with: the script as it was named, or the module's file."""
    folder: str
    """What the first place is in which its imports are looked for."""
    spec: Any = None
    """How a module was found; None for a script."""


def script_of(path: str) -> Script:
    """Reads and compiles a script.

    Raises:
      ArgumentError: it cannot be read, or is no Python.
    """
    try:
        with io.open_code(os.path.abspath(path)) as file:
            source = file.read()
    except OSError as error:
        raise ArgumentError(f"cannot read {path}: {error.strerror or error}") from error
    try:
        code = compile(source, os.path.abspath(path), "exec", dont_inherit=True)
    except (SyntaxError, ValueError) as error:
        line = getattr(error, "lineno", None)
        raise ArgumentError(f"{path}{f':{line}' if line else ''}: no Python: {getattr(error, 'msg', error)}") from error
    return Script(code, os.path.abspath(path), path, os.path.dirname(os.path.realpath(path)))


def module_of(name: str) -> Script:
    """Finds a module, or the `__main__` of a package, as `python -m` does.

    Raises:
      ArgumentError: there is none that can be run.
    """
    folder = os.getcwd()
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.submodule_search_locations is not None:
            spec = importlib.util.find_spec(f"{name}.__main__")
    except (ImportError, ValueError) as error:
        raise ArgumentError(f"-m {name}: {error}") from error
    if spec is None or not isinstance(spec.loader, importlib.machinery.SourceFileLoader):
        raise ArgumentError(f"-m {name}: there is no such module to run in the current folder or where Python looks")
    code = spec.loader.get_code(spec.name)
    if code is None or spec.origin is None:
        raise ArgumentError(f"-m {name}: it has no code to run")
    return Script(code, spec.origin, spec.origin, folder, spec)


def start(script: Script, arguments: Sequence[str]) -> int:
    """Runs a program as `__main__`, and returns its exit status.

    What it raises is told as Python tells it, without the frames around it, and does not come out of here. An error of
    memline's own, that the program cannot be kept inside the limit, is status 2; all others are 1, as in Python.
    """
    main = types.ModuleType("__main__")
    main.__dict__.update(__file__=script.file, __spec__=script.spec, __builtins__=builtins, __cached__=None)
    main.__loader__ = importlib.machinery.SourceFileLoader("__main__", script.file)
    if script.spec is not None:
        main.__package__ = script.spec.parent
        main.__loader__ = script.spec.loader
    # All of this stays when the program has ended: what runs at exit looks there.
    sys.argv = [script.first, *arguments]
    if not sys.flags.safe_path:
        sys.path[0] = script.folder
    sys.modules["__main__"] = main
    try:
        exec(script.code, main.__dict__)
        _wait_for_threads()
        return 0
    except SystemExit as end:
        _wait_for_threads()
        return _status(end.code)
    except KeyboardInterrupt as error:
        _tell(error)
        return 130
    except BaseException as error:
        _tell(error)
        _wait_for_threads()
        return 2 if isinstance(error, MemoryLimitError) else 1
    finally:
        sys.stdout.flush()


def _wait_for_threads() -> None:
    """Waits as Python does before it ends, so that what threads do is part of what is told."""
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join()


def _status(code: Any) -> int:
    if code is None:
        return 0
    if isinstance(code, int):
        return code
    print(code, file=sys.stderr)
    return 1


def _tell(error: BaseException) -> None:
    linked: BaseException | None = error
    seen: set[int] = set()
    while linked is not None and id(linked) not in seen:
        seen.add(id(linked))
        linked.__traceback__ = _without_own(linked.__traceback__)
        linked = linked.__cause__ or linked.__context__
    sys.excepthook(type(error), error, error.__traceback__)


def _without_own(trace: types.TracebackType | None) -> types.TracebackType | None:
    """Returns a traceback without memline's frames, those that started the program among them."""
    if trace is None:
        return None
    rest = _without_own(trace.tb_next)
    if trace.tb_frame.f_code.co_filename.startswith(_OWN_FOLDER):
        return rest
    return types.TracebackType(rest, trace.tb_frame, trace.tb_lasti, trace.tb_lineno)
