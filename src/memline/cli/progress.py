"""A line on stderr that says what a command is busy with, where someone watches a terminal; elsewhere nothing."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Iterator


@contextlib.contextmanager
def busy(what: str, *, quiet: bool = False) -> Iterator[None]:
    """Shows what is being done, and for how many seconds, until the block ends."""
    if quiet or not sys.stderr.isatty():
        yield
        return
    done = threading.Event()
    began = time.monotonic()

    def show() -> None:
        while not done.wait(0.5):
            print(f"\r{what} ... {time.monotonic() - began:.0f} s", end="", file=sys.stderr, flush=True)
        print("\r\033[K", end="", file=sys.stderr, flush=True)

    teller = threading.Thread(target=show, daemon=True)
    teller.start()
    try:
        yield
    finally:
        done.set()
        teller.join()
