"""What `pkg.module:function` names, and the arguments that it shall be called with."""

from __future__ import annotations

import argparse
import contextlib
import difflib
import importlib
import importlib.machinery
import os
import sys
import traceback
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from memline.cli.shapes import parse_keyword, parse_shape
from memline.errors import ArgumentError, MemlineError
from memline.origin import is_users


@dataclass(frozen=True)
class Call:
    """A function with the arguments of one call; arrays are `jax.ShapeDtypeStruct`s where they were given as text."""

    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    static: tuple[int, ...] | None = None
    """The positions of static arguments; None for none."""


def add_target(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments that say which function is to be called, and with what."""
    parser.add_argument(
        "target", metavar="MODULE:FUNCTION", help="such as pkg.module:function or path/file.py:object.f"
    )
    add_call(parser)


def add_call(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments that say what a function is called with."""
    parser.add_argument("--args", nargs="*", default=[], metavar="TYPE", help="such as 'f32[1000,16]' 'i32[]' key")
    parser.add_argument("--kwargs", nargs="*", default=[], metavar="NAME=TYPE", help="such as 'scale=f32[3]'")
    parser.add_argument(
        "--args-from",
        metavar="MODULE:NAME",
        help="a tuple of the arguments (arrays, shapes, any pytrees), or (tuple, dict) with keyword arguments, or a "
        "function that returns one",
    )
    parser.add_argument("--static", nargs="*", type=int, default=[], metavar="N", help="positions of static arguments")


def call_of(options: argparse.Namespace) -> Call:
    """Returns the function and the arguments that were named.

    Raises:
      ArgumentError: there is no such module or function, or the arguments are none.
    """
    words = [parse_shape(word) for word in options.args]
    named = [parse_keyword(word) for word in options.kwargs]
    if options.args_from and (words or named):
        raise ArgumentError("give either --args and --kwargs, or --args-from, not both")
    function = find(options.target)
    if not callable(function):
        raise ArgumentError(f"{options.target}: is a {type(function).__name__}, not a function")
    if options.args_from:
        args, kwargs = _arguments_from(options.args_from)
    else:
        args, kwargs = tuple(word.struct() for word in words), {name: word.struct() for name, word in named}
    return Call(function, args, kwargs, tuple(options.static) or None)


def find(text: str) -> Any:
    """Returns what a text names: a module, importable or a file, a colon, and a path of attributes.

    Raises:
      ArgumentError: there is no such module or attribute, or importing the module fails.
    """
    module_name, colon, path = text.rpartition(":")
    if not colon or not module_name or not path:
        raise ArgumentError(f"{text!r} names no function; write the sort of pkg.module:function or file.py:function")
    found: Any = _module(module_name)
    for number, name in enumerate(path.split(".")):
        try:
            found = getattr(found, name)
        except AttributeError:
            where = ".".join([module_name, *path.split(".")[:number]])
            near = difflib.get_close_matches(name, dir(found), 1)
            hint = f"; there is {near[0]!r}" if near else ""
            raise ArgumentError(f"{text}: {where} has no attribute {name!r}{hint}") from None
    return found


def _module(name: str) -> Any:
    is_file = name.endswith(".py")
    folder = os.path.dirname(os.path.abspath(name)) if is_file else os.getcwd()
    if folder not in sys.path:
        sys.path.insert(0, folder)
    if not is_file:
        with told(f"importing {name}", missing=name):
            return importlib.import_module(name)
    if not Path(name).is_file():
        raise ArgumentError(f"{name}: there is no such file")
    loader = importlib.machinery.SourceFileLoader(Path(name).stem, name)
    module = types.ModuleType(loader.name)
    module.__file__ = os.path.abspath(name)
    sys.modules[loader.name] = module  # dataclasses and pickle look there
    with told(f"importing {name}"):
        loader.exec_module(module)
    return module


@contextlib.contextmanager
def told(doing: str, missing: str | None = None) -> Iterator[None]:
    """Turns what the user's own code raises into one line that says what was being done, and where it was raised.

    Args:
      doing: what is done, such as "importing pkg.module".
      missing: the name of the module that is imported, if one is: that it is not there is told more simply.

    Raises:
      ArgumentError: something was raised inside.
    """
    try:
        yield
    except (MemlineError, KeyboardInterrupt):
        raise
    except (Exception, SystemExit) as error:
        if isinstance(error, ModuleNotFoundError) and f"{missing}.".startswith(f"{error.name}."):
            what = f"there is no module {error.name!r} in the current folder or where Python looks"
            raise ArgumentError(f"{what}: is its name right, and its package installed here?") from error
        reason = " ".join(str(error).split())  # on one line
        raise ArgumentError(f"{doing}: {type(error).__name__}: {_short(reason)}{_place(error)}") from error


def _place(error: BaseException) -> str:
    """Returns where the user's own code was when it was raised: the last frame outside of libraries."""
    own = [frame for frame in traceback.extract_tb(error.__traceback__) if is_users(frame.filename)]
    return f" ({own[-1].filename}:{own[-1].lineno})" if own else ""


def _short(text: str) -> str:
    return text if len(text) <= 300 else text[:297] + "..."


def _arguments_from(text: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
    found = find(text)
    if callable(found):
        with told(f"calling {text}"):
            found = found()
    if not isinstance(found, tuple):
        raise ArgumentError(
            f"{text}: is a {type(found).__name__}, not a tuple of arguments; write (x,) for one argument"
        )
    if len(found) == 2 and isinstance(found[0], tuple) and isinstance(found[1], dict) and _names(found[1]):
        return found[0], found[1]
    return found, {}


def _names(keywords: dict[Any, Any]) -> bool:
    return all(isinstance(key, str) and key.isidentifier() for key in keywords)
