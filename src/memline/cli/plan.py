"""`memline plan`: what memline would do to keep a call inside a limit, why, and what that costs. Nothing is run."""

from __future__ import annotations

import argparse

from memline.cli.command import FINE
from memline.cli.files import require_writable, write_text
from memline.cli.progress import busy
from memline.cli.target import add_target, call_of, told

EXAMPLES = """\
  memline plan train.py:step --args 'f32[1000,16]' 'i32[1000]' --limit 2GiB
  memline plan pkg.module:Model.loss --args-from pkg.module:example_args --limit 50% --out plan.json
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `memline plan`."""
    add_target(parser)
    parser.add_argument("--limit", help="such as 2GiB, 500MB or 50%%; without one, what it needs as it is")
    parser.add_argument("--out", metavar="FILE", help="write the plan here, as JSON that memline.Plan.from_json reads")
    parser.add_argument("--json", action="store_true", help="print the plan as JSON")


def run(options: argparse.Namespace) -> int:
    """Runs `memline plan`."""
    if options.out:
        require_writable(options.out)
    call = call_of(options)
    from memline.api import plan

    planned = plan(call.function, options.limit, static_argnums=tuple(options.static) or None)
    with busy("planning"), told(f"tracing {options.target}"):
        made = planned(*call.args, **call.kwargs)
    if options.out:
        write_text(options.out, made.to_json() + "\n")
    print(made.to_json() if options.json else made)
    return FINE
