"""`memline report`: what takes memory in a program, when, and which line made it: of a function, or a saved one."""

from __future__ import annotations

import argparse
from collections.abc import Callable

from memline.cli.command import FINE
from memline.cli.output import need_writable, write_whole
from memline.cli.progress import busy
from memline.cli.saved import report_of_file
from memline.cli.target import add_call, call_of, told
from memline.errors import ArgumentError

EXAMPLES = """\
examples:
  memline report train.py:step --args 'f32[1000,16]' 'i32[1000]' --html step.html
      of any function, as plain jax.jit runs it: one screen here, and a page that needs nothing else
  memline report train.py:step --args-from train.py:example --limit 2GiB --out step.json
      as written and as planned, kept to be looked at later
  memline report step.json --trace step.trace.json --csv step.csv
      of a saved report or plan: a trace for Perfetto or chrome://tracing, and a table
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `memline report`."""
    parser.add_argument("target", metavar="FILE|MODULE:FUNCTION", help="a saved report or plan (.json), or a function")
    add_call(parser)
    parser.add_argument("--limit", help="plan the function for this, such as 2GiB, 500MB or 50%%")
    parser.add_argument("--measure", action="store_true", help="run the program in a fresh process as well")
    parser.add_argument("--no-layout", action="store_true", help="do not ask XLA where it puts each value (quicker)")
    parser.add_argument("--html", metavar="FILE", help="write a page here, one file that opens offline")
    parser.add_argument("--trace", metavar="FILE", help="write a trace here, for Perfetto or chrome://tracing")
    parser.add_argument("--csv", metavar="FILE", help="write a table of the values here")
    parser.add_argument("--out", metavar="FILE", help="write the report here, as JSON that memline report reads")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")


def run(options: argparse.Namespace) -> int:
    """Runs `memline report`."""
    need_writable(options.html, options.trace, options.csv, options.out)
    if options.target.endswith(".json"):
        asked = (options.args, options.kwargs, options.args_from, options.static, options.limit, options.measure)
        if any(asked):
            raise ArgumentError(
                f"{options.target} is a saved report: arguments, a limit and --measure are for functions"
            )
        made = report_of_file(options.target)
    else:
        call = call_of(options)
        from memline.api import report

        settings = {} if call.static is None else {"static_argnums": call.static}
        with busy("making the report"), told(f"tracing {options.target}"):
            made = report(
                call.function,
                *call.args,
                memory_limit=options.limit,
                layout=not options.no_layout,
                measure=options.measure,
                kwargs=call.kwargs,
                **settings,
            )
    from memline.report.html import page
    from memline.report.table import table_text
    from memline.report.trace import trace_text

    forms: tuple[tuple[str | None, Callable[[], str]], ...] = (
        (options.html, lambda: page(made.record)),
        (options.trace, lambda: trace_text(made.record)),
        (options.csv, lambda: table_text(made.record)),
        (options.out, lambda: made.to_json() + "\n"),
    )
    for path, text in forms:
        if path:
            whole = text()
            write_whole(path, lambda part, whole=whole: part.write_text(whole, encoding="utf-8", newline=""))
    if options.json:
        print(made.to_json())
    else:
        made.show()
    return FINE
