"""`memline run`: an unmodified script with every `jax.jit` in it compiled under a limit, and what that did."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys

from memline.cli.command import WRONG
from memline.cli.hook import when_imported
from memline.cli.output import need_writable, write_whole
from memline.cli.script import module_of, script_of, start
from memline.cli.tally import Tally
from memline.cli.values import size
from memline.errors import ArgumentError

EXAMPLES = """\
examples:
  memline run train.py --limit 2GiB
  memline run --limit 500MB --keep-going train.py --epochs 3
  memline run --limit 2GiB --json summary.json -m package.train --epochs 3
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `memline run`."""
    _add_options(parser)
    parser.add_argument(
        "-m", dest="module", nargs=argparse.REMAINDER, metavar="MODULE", help="a module to run, and its arguments"
    )
    parser.add_argument(
        "script",
        nargs=argparse.REMAINDER,
        metavar="SCRIPT",
        help="a Python file, and its arguments; options of memline's may come first or right after the file's name",
    )


def run(options: argparse.Namespace) -> int:
    """Runs `memline run`."""
    words = [*(options.module or ()), *options.script]
    if not words:
        raise ArgumentError("no script: name a Python file, or -m and a module")
    named, rest = words[0], _own_options(words[1:], options)
    if options.limit is None:
        raise ArgumentError("no limit: say --limit SIZE, such as --limit 2GiB")
    need_writable(options.json)
    script = module_of(named) if options.module else script_of(named)
    tally = Tally(options.limit)
    status = WRONG
    with contextlib.ExitStack() as stack:

        def stand_in() -> None:  # the script may still choose how JAX starts: it is imported when the script does
            from memline.cli.standin import standing_in

            stack.enter_context(standing_in(tally, keep_going=options.keep_going))

        stack.enter_context(when_imported("jax", stand_in))
        try:
            status = start(script, rest)
        finally:
            print(tally, file=sys.stderr)
            if options.json:
                summary = json.dumps(tally.to_dict(), indent=1) + "\n"
                write_whole(options.json, lambda path: path.write_text(summary, encoding="utf-8"))
    return status


def _add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--limit", type=size, help="such as 2GiB or 500MB: for each jitted call, as in memline.jit")
    parser.add_argument(
        "--keep-going", action="store_true", help="run what cannot be made to fit as plain jax.jit, and say so"
    )
    parser.add_argument("--json", metavar="FILE", help="write the summary here as well")


def _own_options(words: list[str], options: argparse.Namespace) -> list[str]:
    """Takes memline's own options from the front of the script's arguments; returns the others."""
    parser = argparse.ArgumentParser(prog="memline run", add_help=False, argument_default=argparse.SUPPRESS)
    _add_options(parser)
    count = 0
    while count < len(words):
        if words[count] == "--keep-going" or words[count].startswith(("--limit=", "--json=")):
            count += 1
        elif words[count] in ("--limit", "--json"):
            count += 2
        else:
            break
    parser.parse_args(words[:count], namespace=options)
    rest = words[count:]
    return rest[1:] if rest[:1] == ["--"] else rest
