"""Weighs the rewritings that the rules of the table offer: takes those that pay on the models, under the limit.

Rewriting comes before splitting, for what vanishes need not pass by in pieces. Each taken one is a decision of the
plan; each that mattered and was refused leaves a note.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from memline.analysis.cost import TURNS_OF_A_WHILE
from memline.analysis.fusion import is_view
from memline.analysis.peak import Peak
from memline.ir.graph import Graph, Loop, Op, Value
from memline.options import Options
from memline.passes.rewrite import rewrite
from memline.plan.apply import apply_moves
from memline.plan.candidates import Target
from memline.plan.moves import Rewrite
from memline.plan.plan import Decision
from memline.rewrites.find import rewritings
from memline.rewrites.rule import Rewriting, is_allowed
from memline.rules import table
from memline.units import format_bytes

_LEAST_SHARE = 0.02
"""A rewriting is taken where time or peak of the program fall by this share: less is within the models' error."""
_LESS = 0.95
"""It is looked at where what it replaces takes so much less, in bytes made or in operations."""
_SLOWER, _BIGGER = 1.05, 1.5
"""How much the one may grow that is not gained, where the program does not fit yet."""
_SLOW = 4
"""How many times as long a program may take if it fits then, and did not before."""
_MOST_WEIGHED = 48
"""Rewritings of which the whole program's peak and time are estimated, some milliseconds each; the first ones."""


@dataclass(frozen=True, eq=False)
class Rewritten:
    """A program after the rewritings that pay."""

    graph: Graph
    decisions: tuple[Decision, ...]
    peak: Peak
    seconds: float
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Effect:
    """What a rewriting saves in the scope that it is in: bytes of arrays no longer made, and operations."""

    saved_bytes: int
    saved_flops: float
    is_less: bool
    """Whether that is a good part of what it replaces."""


def rewritten(graph: Graph, peak: Peak, seconds: float, target: Target, options: Options) -> Rewritten:
    """Returns the program with every rewriting that options allow and that pays, to a fixpoint."""
    state = Rewritten(graph, (), peak, seconds, ())
    if not options.rewrites:
        return state
    seen: set[Rewrite] = set()  # a refused one is not weighed again, and what is taken leaves other names behind
    while len(seen) < _MOST_WEIGHED:
        before, state = state, _next(state, target, options, seen)
        if state.graph is before.graph:
            break
    return state


def _next(state: Rewritten, target: Target, options: Options, seen: set[Rewrite]) -> Rewritten:
    """Returns the state after the first rewriting that pays, with notes of those that were refused on the way."""
    turns = dict(_turns(state.graph))
    for scope, found in rewritings(state.graph):
        move = Rewrite(found.value.name, found.rule)
        if move in seen:
            continue
        effect = effect_of(scope, found)
        if not effect.is_less or not _matters(effect, turns[scope], state, target):
            continue
        seen.add(move)
        if len(seen) > _MOST_WEIGHED:
            break
        if not is_allowed(found, options):
            state = _with_note(state, scope, found, f"is {found.tag}, which the options do not allow")
            continue
        graph = apply_moves(state.graph, [move])
        peak = target.peak(graph)
        seconds = target.seconds(graph, peak)
        before, after = (state.peak.total_bytes, state.seconds), (peak.total_bytes, seconds)
        if not pays(before, after, target.limit_bytes):
            if any(_is_less(new, old) for new, old in zip(after, before, strict=True)):
                became = f"{_figures(state.peak, state.seconds)} would become {_figures(peak, seconds)}"
                state = _with_note(state, scope, found, f"does not pay: {became}")
            continue
        reason = _reason(scope, found, effect, (state.seconds, seconds))
        decision = Decision(move, reason, state.peak.total_bytes - peak.total_bytes)
        return Rewritten(graph, (*state.decisions, decision), peak, seconds, state.notes)
    return state


def _is_less(after: float, before: float) -> bool:
    return after < before * (1 - _LEAST_SHARE)


def pays(before: tuple[int, float], after: tuple[int, float], limit_bytes: int) -> bool:
    """Whether a program is better after a rewriting.

    Args:
      before, after: its planned peak in bytes, and its estimated seconds.
      limit_bytes: what it must fit. A program that fits may grow up to it; one that does not, and is to be split, by
        half.

    >>> pays((100, 2.0), (100, 1.0), 50), pays((40, 2.0), (60, 1.0), 50), pays((40, 2.0), (45, 1.0), 50)
    (True, False, True)
    """
    (peak_bytes, seconds), (new_bytes, new_seconds) = before, after
    is_faster, is_smaller = _is_less(new_seconds, seconds), _is_less(new_bytes, peak_bytes)
    most_bytes = limit_bytes if peak_bytes <= limit_bytes else int(peak_bytes * _BIGGER)
    most_seconds = seconds * (_SLOW if new_bytes <= limit_bytes < peak_bytes else _SLOWER)
    return (is_faster and new_bytes <= most_bytes) or (is_smaller and new_seconds <= most_seconds)


def effect_of(scope: Graph, found: Rewriting) -> Effect:
    """Returns what a rewriting saves, by what is no longer made and what is made instead."""
    after = rewrite(scope, found)
    gone_bytes, gone_flops = _made(scope, after)
    new_bytes, new_flops = _made(after, scope)
    is_less = new_bytes < _LESS * gone_bytes or new_flops < _LESS * gone_flops
    return Effect(gone_bytes - new_bytes, gone_flops - new_flops, is_less)


def _made(scope: Graph, other: Graph) -> tuple[int, float]:
    """Returns the bytes that ops of one graph make and the other's do not, and their operations."""
    kept = set(other.producer)
    made_bytes, flops = 0, 0.0
    for node in scope.nodes:
        if isinstance(node, Op) and not node.bodies and not any(v in kept for v in node.outputs) and not is_view(node):
            made_bytes += sum(v.size_bytes for v in node.outputs)
            flops += table.flops_of(node)
    return made_bytes, flops


def _turns(graph: Graph, times: float = 1.0) -> Iterator[tuple[Graph, float]]:
    """Yields a graph and all bodies inside it, with how often each runs."""
    yield graph, times
    for node in graph.nodes:
        often = node.trips if isinstance(node, Loop) else TURNS_OF_A_WHILE if node.kind == "while" else 1
        for body in node.inner:
            yield from _turns(body, times * often)


def _matters(effect: Effect, turns: float, state: Rewritten, target: Target) -> bool:
    """Whether an effect can show in the figures of the whole program, if its scope runs so many times."""
    seconds = effect.saved_flops / target.machine.elementwise_flops
    seconds += effect.saved_bytes / target.machine.first_touch_bytes_per_s
    in_temporaries = effect.saved_bytes > _LEAST_SHARE * state.peak.temp_bytes
    return in_temporaries or seconds * turns > _LEAST_SHARE * state.seconds


def _with_note(state: Rewritten, scope: Graph, found: Rewriting, why: str) -> Rewritten:
    note = f"{found.rule} of {found.value.name}{_where(scope, found.value)} {why}"
    return Rewritten(state.graph, state.decisions, state.peak, state.seconds, (*state.notes, note))


def _reason(scope: Graph, found: Rewriting, effect: Effect, seconds: tuple[float, float]) -> str:
    before, after = (f"{s * 1e3:.3g} ms" for s in seconds)
    saved = f"{_signed(effect.saved_bytes)} made, {_signed_flops(effect.saved_flops)} operations"
    return f"{found.rule}{_where(scope, found.value)}, {found.tag}: {saved}; estimated {before} -> {after}"


def _signed(n_bytes: int) -> str:
    """Returns a saving as what becomes of the bytes."""
    return f"{format_bytes(abs(n_bytes))} {'less' if n_bytes >= 0 else 'more'}"


def _signed_flops(flops: float) -> str:
    return f"{abs(flops):.3g} {'fewer' if flops >= 0 else 'more'}"


def _where(scope: Graph, value: Value) -> str:
    source = getattr(scope.producer[value], "source", None)
    return f" ({source})" if source else ""


def _figures(peak: Peak, seconds: float) -> str:
    return f"{format_bytes(peak.total_bytes)} and {seconds * 1e3:.3g} ms"
