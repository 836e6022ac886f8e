"""`memline plan`: what memline would do to keep a call inside a limit, why, and what that costs. Nothing is run."""

from __future__ import annotations

import argparse

from memline.cli.command import FINE
from memline.cli.output import need_writable, write_whole
from memline.cli.progress import busy
from memline.cli.target import add_target, call_of, told

EXAMPLES = """\
examples:
  memline plan train.py:step --args 'f32[1000,16]' 'i32[1000]' --limit 2GiB
      what is done to a step of training so that it runs in 2 GiB; no array of that size is made
  memline plan pkg.module:Model.loss --args-from pkg.module:example --limit 50% --out plan.json --report plan.html
      the same for arguments that a function makes, half of the machine, a plan to replay, and a page to look at
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `memline plan`."""
    add_target(parser)
    parser.add_argument("--limit", help="such as 2GiB, 500MB or 50%%; without one, what it needs as it is")
    parser.add_argument("--out", metavar="FILE", help="write the plan here, as JSON that memline.Plan.from_json reads")
    parser.add_argument("--report", metavar="FILE", help="write a report here: .html, .json, .trace.json, .csv or .txt")
    parser.add_argument("--json", action="store_true", help="print the plan as JSON")


def run(options: argparse.Namespace) -> int:
    """Runs `memline plan`."""
    need_writable(options.out, options.report)
    call = call_of(options)
    from memline.api import jit, report

    limited = jit(call.function, memory_limit=options.limit, static_argnums=call.static)
    with busy("planning"), told(f"tracing {options.target}"):
        made = limited.trace(*call.args, **call.kwargs).plan()
    if options.report:
        with busy("making the report"):
            report(limited, *call.args, kwargs=call.kwargs).save(options.report)
    text = made.to_json()
    if options.out:
        write_whole(options.out, lambda path: path.write_text(text + "\n", encoding="utf-8"))
    print(text if options.json else made)
    return FINE
