"""Calls a function right after a module has been imported, whenever the program that runs imports it."""

from __future__ import annotations

import contextlib
import importlib.util
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType


class _Watcher:
    """A finder that finds one module where all others would, and has its loader call back."""

    def __init__(self, name: str, imported: Callable[[], None]) -> None:
        self._name = name
        self._imported = imported

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != self._name:
            return None
        sys.meta_path.remove(self)  # it is asked for once only
        spec = importlib.util.find_spec(name)
        if spec is None or spec.loader is None:
            return spec
        execute = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            execute(module)
            self._imported()

        spec.loader.exec_module = exec_module
        return spec


@contextlib.contextmanager
def when_imported(name: str, call: Callable[[], None]) -> Iterator[None]:
    """Calls `call` once the module is imported: at once where it is already, else when it is, until the block ends."""
    if name in sys.modules:
        call()
        yield
        return
    watcher = _Watcher(name, call)
    sys.meta_path.insert(0, watcher)
    try:
        yield
    finally:
        if watcher in sys.meta_path:
            sys.meta_path.remove(watcher)
