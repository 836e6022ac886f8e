"""What `memline pack` says of an answer: a line for people, or JSON for programs."""

from __future__ import annotations

from typing import Any

from memline.errors import PackingError
from memline.packing import Answer, Core, Minimum, Overload, Packing, Problem, Status
from memline.units import format_bytes


def minimum_text(best: Minimum) -> str:
    """Says how small an arena was found, and whether it is the smallest."""
    proof = "proved the smallest" if best.proved else f"bound {best.bound}, gap {best.gap:.2%}, {best.stopped}"
    return f"arena {best.arena} ({format_bytes(best.arena)}): {proof}; {best.cpu_seconds:.3f} s of processor time"


def answer_text(problem: Problem, answer: Answer) -> str:
    """Says whether a problem fits, and how that is known."""
    if answer.status is Status.UNKNOWN:
        return f"unknown: {answer.reason}"
    if answer.status is Status.FITS:
        capacity = ", ".join(f"{pool.capacity}" for pool in problem.all_pools)
        return f"fits {capacity}: {answer.reason}; {answer.cpu_seconds:.3f} s of processor time"
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


def given_text(problem: Problem, given: Packing) -> str:
    """Says what the packing in a file takes."""
    top = _arena(problem, given)
    return f"the packing in the file takes {top} ({format_bytes(top)})"


def record(problem: Problem, found: Answer | Minimum | Packing, seconds: float) -> dict[str, Any]:
    """Returns an answer as `memline pack --json` prints it.

    Args:
      problem: what was asked.
      found: the answer; a packing for one that was read from a file and checked.
      seconds: wall time that it took.

    Returns:
      `status` ("fits", "infeasible", "unknown"; "proved", or why the search for the smallest arena stopped; "valid" for
      a packing that was checked), `reason`, `arena` (the highest address plus one, null without a packing; with several
      pools the largest of theirs, or that of the one without a capacity), `bound` (no arena is smaller; null where none
      is known), `gap` (by what share of the arena they differ), `seconds`, `cpu_seconds`, `nodes`, `offsets` (by id;
      null without a packing), `pools` (by id; null where they have no names), and of what does not fit `certificate`.
    """
    packing = found if isinstance(found, Packing) else found.packing
    if isinstance(found, Minimum):
        status, reason, arena, bound = found.stopped, found.stopped, found.arena, found.bound
    else:
        status, reason = ("valid", "checked") if isinstance(found, Packing) else (found.status.value, found.reason)
        arena = None if packing is None else _arena(problem, packing)
        is_plain = len(problem.all_pools) == 1 and not any(buffer.reuses for buffer in problem.buffers)
        bound = problem.peak_load if is_plain else None
    ids = [buffer.id for buffer in problem.buffers]
    row: dict[str, Any] = {
        "format": 1,
        "status": status,
        "reason": reason,
        "arena": arena,
        "bound": bound,
        "gap": None if arena is None or bound is None else (arena - bound) / max(arena, 1),
        "seconds": seconds,
        "cpu_seconds": None if isinstance(found, Packing) else found.cpu_seconds,
        "nodes": None if isinstance(found, Packing) else found.nodes,
        "offsets": None if packing is None else dict(zip(ids, packing.offsets, strict=True)),
        "pools": dict(zip(ids, packing.pools, strict=True)) if packing is not None and packing.pools else None,
    }
    if isinstance(found, Answer) and found.certificate is not None:
        row["certificate"] = vars(found.certificate)
    return row


def demand(faults: tuple[str, ...]) -> None:
    """Raises what a check found, if it found anything.

    Raises:
      PackingError: there are faults; it tells the first five.
    """
    if faults:
        more = f" (and {len(faults) - 5} more)" if len(faults) > 5 else ""
        raise PackingError(f"the check failed: {'; '.join(faults[:5])}{more}")


def _arena(problem: Problem, packing: Packing) -> int:
    return max((at + buffer.size for at, buffer in zip(packing.offsets, problem.buffers, strict=True)), default=0)
