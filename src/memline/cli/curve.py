"""`memline curve`: which limit to ask for: what a call costs under each, as a table, JSON or a picture."""

from __future__ import annotations

import argparse

from memline.cli.command import FINE
from memline.cli.output import need_writable, write_whole
from memline.cli.progress import busy
from memline.cli.target import add_target, call_of, told
from memline.cli.values import count

EXAMPLES = """\
examples:
  memline curve train.py:step --args 'f32[1000,16]' 'i32[1000]'
      plans for limits from the smallest that can be met to what the program needs as it is written
  memline curve pkg.module:loss --args-from pkg.module:example --points 4 --measure --png curve.png
      fewer limits, each plan run in fresh processes, and a picture
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `memline curve`."""
    add_target(parser)
    parser.add_argument("--points", type=count, default=6, help="how many limits to try (default: 6)")
    parser.add_argument("--measure", action="store_true", help="run each plan in fresh processes, seconds for each")
    parser.add_argument("--png", metavar="FILE", help="draw it here (needs matplotlib)")
    parser.add_argument("--out", metavar="FILE", help="write it here, as JSON that memline.Curve.from_json reads")
    parser.add_argument("--json", action="store_true", help="print it as JSON")


def run(options: argparse.Namespace) -> int:
    """Runs `memline curve`."""
    need_writable(options.png, options.out)
    call = call_of(options)
    from memline.api import curve

    with busy("planning"), told(f"tracing {options.target}"):
        found = curve(
            call.function,
            *call.args,
            points=options.points,
            measure=options.measure,
            kwargs=call.kwargs,
            static_argnums=call.static,
        )
    text = found.to_json()
    if options.out:
        write_whole(options.out, lambda path: path.write_text(text + "\n", encoding="utf-8"))
    if options.png:
        write_whole(options.png, found.plot)
    print(text if options.json else found)
    return FINE
