"""`memline pack`: places the buffers of a file, says whether they fit, or looks for the smallest arena."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from memline.cli.command import FINE, NO, UNKNOWN
from memline.cli.values import count, seconds, size
from memline.errors import PackingError
from memline.units import format_bytes

if TYPE_CHECKING:
    from memline.packing import Answer, Minimum, Packing, Problem, Progress


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
    parser.add_argument("--quiet", action="store_true", help="say nothing while it runs")


def run(options: argparse.Namespace) -> int:
    """Runs `memline pack`."""
    from memline import packing

    problem, given = packing.read(options.file, options.capacity)
    if options.minimize and options.capacity is not None:
        raise PackingError("--capacity asks whether it fits, --minimize for the smallest arena: only one of them")
    if options.check and given is not None and not options.minimize:
        return _show(problem, given, options, _told_of_given(problem, given))
    limits = {"time_limit": options.time_limit, "threads": options.threads, "seed": options.seed}
    if options.minimize:
        best = packing.minimize(problem, **limits, progress=None if options.quiet else Teller())
        return _show(problem if problem.pools else problem.with_capacity(None), best.packing, options, _told(best))
    if any(pool.capacity is None for pool in problem.all_pools):
        raise PackingError(f"{options.file}: no capacity: say --capacity SIZE, or --minimize for the smallest arena")
    answer = packing.pack(problem, **limits)
    if answer.packing is not None:
        return _show(problem, answer.packing, options, _told_fit(problem, answer))
    print(_told_no(answer))
    if options.check:
        _demand(packing.check_answer(problem, answer))
    return NO if answer.status is packing.Status.INFEASIBLE else UNKNOWN


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


def _show(problem: Problem, found: Packing, options: argparse.Namespace, text: str) -> int:
    from memline import packing

    if options.check:
        _demand(packing.check(problem, found))
        text += "\nchecked: no two buffers that live together share bytes"
    if options.out:
        packing.write(options.out, problem, found)
    if options.png or options.html:
        from memline.packing.picture import html, png

        if options.html:
            Path(options.html).write_text(html(problem, found, title=Path(options.file).name), encoding="utf-8")
        if options.png:
            png(problem, found, options.png)
    print(text)
    return FINE


def _demand(faults: tuple[str, ...]) -> None:
    if faults:
        more = f" (and {len(faults) - 5} more)" if len(faults) > 5 else ""
        raise PackingError(f"the check failed: {'; '.join(faults[:5])}{more}")


def _told(best: Minimum) -> str:
    proof = "proved the smallest" if best.proved else f"bound {best.bound}, gap {best.gap:.2%}, {best.stopped}"
    return f"arena {best.arena} ({format_bytes(best.arena)}): {proof}; {best.cpu_seconds:.3f} s of processor time"


def _told_fit(problem: Problem, answer: Answer) -> str:
    capacity = ", ".join(f"{pool.capacity}" for pool in problem.all_pools)
    return f"fits {capacity}: {answer.reason}; {answer.cpu_seconds:.3f} s of processor time"


def _told_no(answer: Answer) -> str:
    from memline.packing import Core, Overload, Status

    if answer.status is Status.UNKNOWN:
        return f"unknown: {answer.reason}"
    certificate = answer.certificate
    if isinstance(certificate, Overload):
        where = f"at time {certificate.time} {certificate.load} is alive, and there is room for {certificate.capacity}"
        return f"does not fit: {where}"
    if isinstance(certificate, Core):
        names = ", ".join(certificate.buffers)
        return (
            f"does not fit: {answer.reason}; these buffers alone do not, and all of them are needed for that: {names}"
        )
    return f"does not fit: {answer.reason}"


def _told_of_given(problem: Problem, given: Packing) -> str:
    top = max((at + buffer.size for at, buffer in zip(given.offsets, problem.buffers, strict=True)), default=0)
    return f"the packing in the file takes {top} ({format_bytes(top)})"
