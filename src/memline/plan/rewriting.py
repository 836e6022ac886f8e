"""Weighs the rewritings that the rules of the table offer: takes those that pay on the models, under the limit.

Rewriting comes before splitting, for what vanishes need not pass by in pieces. Each taken one is a decision of the
plan; each that mattered and was refused leaves a note.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from memline.analysis.cost import TURNS_OF_A_WHILE
from memline.analysis.fusion import is_view
from memline.analysis.peak import Peak
from memline.errors import PlanError
from memline.ir.graph import Graph, Loop, Node, Op, Value
from memline.options import Options
from memline.plan.apply import apply_moves
from memline.plan.candidates import Target
from memline.plan.moves import Rewrite
from memline.plan.plan import Decision
from memline.plan.state import State
from memline.rewrites.find import rewritings
from memline.rewrites.rule import Rewriting, is_allowed
from memline.rewrites.rule import table as rules
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
_EFFORT = 6_000
"""Nodes of programs of which peak and time are estimated, some ten thousand in a second; the best offers come first."""


@dataclass(frozen=True)
class Effect:
    """What a rewriting saves in the scope that it is in: bytes of arrays no longer made, and operations."""

    saved_bytes: int
    saved_flops: float
    narrowed_bytes: int
    """By how much the largest array that is made becomes smaller."""
    is_less: bool
    """Whether one of these is a good part of what it replaces."""


def rewritten(graph: Graph, peak: Peak, seconds: float, target: Target, options: Options) -> State:
    """Returns the program with every rewriting that options allow and that pays, to a fixpoint.

    What does not pay by itself is weighed once more with the others of its rule: an array vanishes only with the last
    of those that read it.
    """
    weighing = _Weighing(target, options)
    state = State(graph, (), peak, seconds, ())
    better: State | None = state if options.rewrites else None
    while better is not None:
        state = better
        better = weighing.next(state) or weighing.together(state)
    return replace(state, notes=weighing.notes)


class _Weighing:
    """Weighs the rewritings of one program, each once.

    Args:
      target: what the program must fit, and the models.
      options: which rewritings are allowed.
    """

    def __init__(self, target: Target, options: Options) -> None:
        self._target = target
        self._options = options
        self._effort = 0
        self._seen: set[Rewrite] = set()
        """What was weighed: what is refused is not weighed again, and what is taken leaves other names behind."""
        self._refused: dict[str, dict[Rewrite, tuple[str, str]]] = {}
        """By rule, what does not pay by itself: why it would be made, and why it is not."""
        self._disallowed: list[str] = []

    @property
    def notes(self) -> tuple[str, ...]:
        """What is told of the rewritings that were refused."""
        return (*self._disallowed, *(why for moves in self._refused.values() for _, why in moves.values() if why))

    def next(self, state: State) -> State | None:
        """Returns the state after the first rewriting that pays and was not weighed before.

        Where several rules offer to replace the same value, the fastest is taken; the first of those that are as fast.
        """
        turns = dict(_turns(state.graph))
        groups = itertools.groupby(rewritings(state.graph), key=lambda each: (each[0], each[1].value))
        by_value = [(scope, tuple(offers)) for (scope, _), offers in groups]

        def saved_seconds(group: tuple[Graph, tuple[tuple[Graph, Rewriting], ...]]) -> float:
            scope, offers = group
            return max(_saved_seconds(effect_of(scope, found), self._target) for _, found in offers) * turns[scope]

        for scope, offers in sorted(by_value, key=saved_seconds, reverse=True):
            weighed = (self._weighed(state, scope, found, turns[scope]) for _, found in offers)
            best = min(filter(None, weighed), key=lambda after: after.seconds, default=None)
            if best is not None:
                return best
            if self._effort > _EFFORT:
                break
        return None

    def _weighed(self, state: State, scope: Graph, found: Rewriting, turns: float) -> State | None:
        """Returns the state after a rewriting, if it is allowed, pays and was not weighed before."""
        move = Rewrite(found.value.name, found.rule)
        if move in self._seen:
            return None
        effect = effect_of(scope, found)
        is_joint = rules()[found.rule].joint
        if not is_joint and not (effect.is_less and _matters(effect, turns, state, self._target)):
            return None
        self._seen.add(move)
        what = f"{found.rule} of {found.value.name}{_where(scope, found.value)}"
        if not is_allowed(found, self._options):
            self._disallowed.append(f"{what} is {found.tag}, which the options do not allow")
            return None
        about = f"{found.rule}{_where(scope, found.value)}, {found.tag}"
        after = "" if is_joint else self._after(state, {move: f"{about}: {_saved_text(effect)}"})
        if isinstance(after, State):
            return after
        self._refused.setdefault(found.rule, {})[move] = about, f"{what} {after}" if after else ""
        return None

    def together(self, state: State) -> State | None:
        """Returns the state after all rewritings of one rule that do not pay one by one, where they do together."""
        for rule, refused in self._refused.items():
            if len(refused) < 2 and not rules()[rule].joint:
                continue
            done: dict[Rewrite, str] = {}
            graph = state.graph
            for move, (about, _) in refused.items():
                with contextlib.suppress(PlanError):  # one before it has taken away what it was to replace
                    graph = apply_moves(graph, [move])
                    done[move] = about
            together = f"one of {len(done)} that pay together"
            after = self._after(state, {move: f"{about}: {together}" for move, about in done.items()})
            if isinstance(after, State):
                del self._refused[rule]
                return after
        return None

    def _after(self, state: State, moves: dict[Rewrite, str]) -> State | str:
        """Returns the state after moves, given with their reasons; or why they do not pay, "" if they bring nothing."""
        graph = apply_moves(state.graph, moves)
        self._effort += graph.size
        peak = self._target.peak(graph)
        seconds = self._target.seconds(graph, peak)
        before, after = (state.peak.total_bytes, state.seconds), (peak.total_bytes, seconds)
        if not pays(before, after, self._target.limit_bytes):
            if not any(_is_less(new, old) for new, old in zip(after, before, strict=True)):
                return ""
            return f"does not pay: {_figures(state.peak, state.seconds)} would become {_figures(peak, seconds)}"
        times = f"estimated {state.seconds * 1e3:.3g} ms -> {seconds * 1e3:.3g} ms"
        saved_bytes = state.peak.total_bytes - peak.total_bytes
        last = next(reversed(moves), None)
        new = (Decision(m, f"{why}; {times}", saved_bytes if m is last else 0) for m, why in moves.items())
        return State(graph, (*state.decisions, *new), peak, seconds, ())


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
    gone, gone_flops = _made(_gone(scope, found))
    new, new_flops = _made(found.nodes)
    largest, new_largest = max(gone, default=0), max(new, default=0)
    is_less = sum(new) < _LESS * sum(gone) or new_flops < _LESS * gone_flops or new_largest < _LESS * largest
    return Effect(sum(gone) - sum(new), gone_flops - new_flops, largest - new_largest, is_less)


def _gone(scope: Graph, found: Rewriting) -> set[Node]:
    """Returns the nodes that nobody needs any more; found by going back from the value, for programs are long."""
    needed = {found.replacement, *(v for node in found.nodes for v in node.inputs)} - {found.value}
    gone: set[Node] = set()
    waiting = [scope.producer[found.value]]
    while waiting:
        node = waiting.pop()
        left = [v for v in node.outputs if v is not found.value]
        read = (reader for v in left for reader, _ in scope.consumers.get(v, ()))
        if node in gone or any(v in needed or v in scope.outputs for v in left) or any(r not in gone for r in read):
            continue
        gone.add(node)
        waiting.extend(scope.producer[v] for v in node.inputs if v in scope.producer)
    return gone


def _made(nodes: Iterable[Node]) -> tuple[list[int], float]:
    """Returns the bytes of each array that ops make, and their operations."""
    made_bytes: list[int] = []
    flops = 0.0
    for node in nodes:
        if isinstance(node, Op) and not node.bodies and not is_view(node):
            made_bytes += [v.size_bytes for v in node.outputs]
            flops += table.flops_of(node)
    return made_bytes, flops


def _turns(graph: Graph, times: float = 1.0) -> Iterator[tuple[Graph, float]]:
    """Yields a graph and all bodies inside it, with how often each runs."""
    yield graph, times
    for node in graph.nodes:
        often = node.trips if isinstance(node, Loop) else TURNS_OF_A_WHILE if node.kind == "while" else 1
        for body in node.inner:
            yield from _turns(body, times * often)


def _matters(effect: Effect, turns: float, state: State, target: Target) -> bool:
    """Whether an effect can show in the figures of the whole program, if its scope runs so many times."""
    in_temporaries = max(effect.saved_bytes, effect.narrowed_bytes) > _LEAST_SHARE * state.peak.temp_bytes
    return in_temporaries or _saved_seconds(effect, target) * turns > _LEAST_SHARE * state.seconds


def _saved_seconds(effect: Effect, target: Target) -> float:
    """Returns about what an effect can bring, each time that its scope runs."""
    machine = target.machine
    return effect.saved_flops / machine.elementwise_flops + effect.saved_bytes / machine.first_touch_bytes_per_s


def _saved_text(effect: Effect) -> str:
    made = f"{_signed(effect.saved_bytes)} made"
    if effect.saved_bytes < 0 < effect.narrowed_bytes:  # more small arrays in the place of a large one
        made = f"the largest array {format_bytes(effect.narrowed_bytes)} smaller"
    return f"{made}, {_signed_flops(effect.saved_flops)} operations"


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
