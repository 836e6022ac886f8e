"""What a command of the command line is: a module with two functions, and examples."""

from __future__ import annotations

import argparse
from typing import Protocol

FINE, NO, WRONG, UNKNOWN, INTERRUPTED = 0, 1, 2, 3, 130
"""Exit statuses: done; the answer is no; the input or the call is wrong; a limit came before the answer; Ctrl-C."""


class Command(Protocol):
    """A module of `memline.cli` named for its command.

    It imports no more at its top than its own arguments need, so that `memline --help` is quick. It may have a text
    `EXAMPLES`: command lines and what they do, which its help ends with, line by line as they stand.
    """

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Adds the command's arguments to its parser."""
        ...

    def run(self, options: argparse.Namespace) -> int:
        """Does what was asked, and returns an exit status; what goes wrong is raised as a `MemlineError`."""
        ...
