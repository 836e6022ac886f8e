"""`memline COMMAND ...`: finds the command, reads its arguments, runs it."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from typing import cast

from memline.cli.command import INTERRUPTED, WRONG, Command
from memline.errors import MemlineError

COMMANDS = {
    "pack": "place buffers with lifetimes in as little memory as can be",
}
"""Every command and what it does, in the order of the help. The module of that name in `memline.cli` is it."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command line, and returns its exit status.

    Args:
      arguments: what stands after `memline`; None for those that the process was started with.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    named = next((word for word in words if not word.startswith("-")), None)
    options = _parser(named).parse_args(words)
    try:
        return _module(options.command).run(options)
    except MemlineError as error:
        print(f"memline {options.command}: {error}", file=sys.stderr)
        return WRONG
    except KeyboardInterrupt:
        print(f"memline {options.command}: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # whoever read our output has seen enough
        sys.stderr.close()
        return WRONG


def _parser(named: str | None) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="memline",
        description="Programs, and buffers, inside a memory limit.",
        epilog="memline COMMAND --help tells a command's options, with examples.",
    )
    commands = parser.add_subparsers(dest="command", metavar="command", required=True)
    for name, text in COMMANDS.items():
        command = commands.add_parser(name, help=text, description=text[:1].upper() + text[1:] + ".")
        if name == named:  # only the one that is asked for is loaded
            module = _module(name)
            module.add_arguments(command)
            command.epilog = getattr(module, "EXAMPLES", None)
            command.formatter_class = argparse.RawDescriptionHelpFormatter  # the lines of examples stay lines
    return parser


def _module(name: str) -> Command:
    return cast(Command, importlib.import_module(f"memline.cli.{name}"))
