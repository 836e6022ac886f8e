"""`memline pack`: places the buffers of a file, says whether they fit, or looks for the smallest arena."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from memline.cli.command import FINE, NO, UNKNOWN
from memline.cli.output import need_writable, write_whole
from memline.cli.values import count, seconds, size
from memline.errors import PackingError

if TYPE_CHECKING:
    from memline.packing import Answer, Minimum, Packing, Problem, Progress

EXAMPLES = """\
examples:
  memline pack in.csv --capacity 1MiB --out out.csv
      does it fit 1 MiB? If it does, write where every buffer lies
  memline pack in.csv --minimize --time-limit 10s --threads 2 --html out.html
      the smallest arena that ten seconds find, a bound that none is below, and a picture
  memline pack out.csv --check
      is the packing in a file one? (with --capacity: in so much?)
  memline pack in.csv --minimize --quiet --json | python -c 'import json, sys; print(json.load(sys.stdin)["arena"])'
      the answer for a program: status, arena, bound, gap, seconds, and the offset of every buffer by its id

It returns 0 for an answer, 1 where nothing fits, 2 where the call or the file is wrong, 3 where a limit came first.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of `memline pack`."""
    parser.add_argument("file", help="a problem in MiniMalloc's CSV or in memline's JSON")
    parser.add_argument("--capacity", type=size, help="whether it fits this, such as 1048576 or 1MiB")
    parser.add_argument("--minimize", action="store_true", help="look for the smallest arena instead")
    parser.add_argument("--check", action="store_true", help="check the answer, or the packing in the file, apart")
    parser.add_argument("--time-limit", type=seconds, help="such as 10s; without one, for as long as it takes")
    parser.add_argument("--threads", type=count, default=1, help="searches side by side (default: 1)")
    parser.add_argument("--seed", type=int, default=0, help="of what is random in the search (default: 0)")
    parser.add_argument("--out", help="write the packing here: JSON if it ends in .json, else CSV")
    parser.add_argument("--png", help="draw it here: offset over time, every buffer a rectangle (needs matplotlib)")
    parser.add_argument("--html", help="draw it here as a page that needs nothing else")
    parser.add_argument("--json", action="store_true", help="print the answer as JSON, with every offset")
    parser.add_argument("--quiet", action="store_true", help="say nothing while it runs")


def run(options: argparse.Namespace) -> int:
    """Runs `memline pack`."""
    from memline import packing
    from memline.cli import packed

    if options.minimize and options.capacity is not None:
        raise PackingError("--capacity asks whether it fits, --minimize for the smallest arena: only one of them")
    need_writable(options.out, options.png, options.html)
    problem, given = packing.read(options.file, options.capacity)
    start = time.monotonic()
    if options.check and given is not None and not options.minimize:
        return _show(problem, given, options, start, packed.given_text(problem, given))
    limits = {"time_limit": options.time_limit, "threads": options.threads, "seed": options.seed}
    if options.minimize:
        best = packing.minimize(problem, **limits, progress=None if options.quiet else Teller())
        asked = problem if problem.pools else problem.with_capacity(None)
        return _show(asked, best, options, start, packed.minimum_text(best))
    if any(pool.capacity is None for pool in problem.all_pools):
        raise PackingError(f"{options.file}: no capacity: say --capacity SIZE, or --minimize for the smallest arena")
    answer = packing.pack(problem, **limits)
    return _show(problem, answer, options, start, packed.answer_text(problem, answer))


class Teller:
    """Says on stderr how far the search for the smallest arena has come, with every change."""

    def __init__(self) -> None:
        self._last: tuple[int, int] | None = None

    def __call__(self, progress: Progress) -> None:
        if (progress.arena, progress.bound) == self._last:
            return
        self._last = (progress.arena, progress.bound)
        text = f"[{progress.seconds:7.2f} s] best {progress.arena}  bound {progress.bound}  gap {progress.gap:.2%}"
        print(text, file=sys.stderr, flush=True)


def _show(
    problem: Problem, found: Answer | Minimum | Packing, options: argparse.Namespace, start: float, text: str
) -> int:
    """Checks, writes and prints an answer, and returns the exit status that it means."""
    from memline import packing
    from memline.cli import packed

    took = time.monotonic() - start
    place = found if isinstance(found, packing.Packing) else found.packing
    if options.check:
        if isinstance(found, packing.Answer):
            packed.demand(packing.check_answer(problem, found))
        elif place is not None:
            packed.demand(packing.check(problem, place))
        text += "\nchecked: no two buffers that live together share bytes" if place is not None else ""
    if place is not None:
        _write(problem, place, options)
    print(json.dumps(packed.record(problem, found, took)) if options.json else text)
    if place is not None:
        return FINE
    return NO if isinstance(found, packing.Answer) and found.status is packing.Status.INFEASIBLE else UNKNOWN


def _write(problem: Problem, found: Packing, options: argparse.Namespace) -> None:
    from memline.packing.files import text_for

    if options.out:
        text = text_for(options.out, problem, found)
        write_whole(options.out, lambda part: part.write_text(text, encoding="utf-8", newline="\n"))
    if options.html:
        from memline.packing.picture import html

        page = html(problem, found, title=Path(options.file).name)
        write_whole(options.html, lambda part: part.write_text(page, encoding="utf-8"))
    if options.png:
        from memline.packing.picture import png

        write_whole(options.png, lambda part: png(problem, found, part))
