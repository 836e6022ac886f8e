"""The greedy planner: makes moves on the model until it fits, then asks the compiler, and corrects itself.

Where the compiled peak is over the limit although the planned one was not, the target is lowered by the
measured error and the search runs again; a handful of compiles decide.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from memline.analysis.fusion import model_for
from memline.analysis.machine import machine_for
from memline.analysis.peak import Moment, Peak
from memline.analysis.through import obstacle
from memline.ir.graph import Graph, Op
from memline.ir.inplace import NO_TAKERS, Takers
from memline.ir.scopes import loop_bodies
from memline.ir.text import node_name
from memline.options import Options
from memline.passes.products import slow_products
from memline.plan.apply import apply_moves, tape_moves
from memline.plan.candidates import Candidate, Target, candidates
from memline.plan.moves import SplitAxis, TurnProducts
from memline.plan.plan import Decision
from memline.plan.rewriting import rewritten
from memline.plan.state import State
from memline.plan.widen import widened
from memline.rules import table
from memline.units import format_bytes

_SLIM_SHARE = 0.02
"""A tape is made smaller where the temporaries fall by this share or more."""

_LEAST_GAIN, _GREAT_GAIN = 0.01, 0.25
"""What a move that does not yet make the program fit takes off what is over the limit; the second if it is slow."""
_GREATEST_ERROR = 2.0
"""By what factor at most the room for coarser splits is raised where programs compile to less than the model says."""
_SLOW = 4
"""Such a move is slow if the program takes so many times as long after it."""

Judge = Callable[[Graph], int]
"""Compiles a graph and returns its compiled peak in bytes."""


@dataclass(frozen=True, eq=False)
class Outcome:
    """What a search found."""

    graph: Graph
    decisions: tuple[Decision, ...]
    peak: Peak
    seconds: float
    floor_bytes: int | None
    """Its compiled peak: the smallest of all that were compiled."""
    compiles: int
    fits: bool
    whole_peak: Peak
    whole_seconds: float
    left_whole: tuple[str, ...]
    notes: tuple[str, ...]


class _Trials:
    """What has been compiled so far in one search: the smallest is the best, unless one that fits too is faster."""

    def __init__(self, judge: Judge, limit_bytes: int, whole: State) -> None:
        self._judge = judge
        self._limit_bytes = limit_bytes
        self.best = whole
        self.best_bytes = 0
        """The compiled peak of the best; 0 before anything is compiled."""
        self.floor_bytes: int | None = None
        """The smallest compiled peak; None before anything is compiled."""
        self.count = 0

    @property
    def fits(self) -> bool:
        return self.floor_bytes is not None and self.floor_bytes <= self._limit_bytes

    def add(self, state: State) -> int:
        """Compiles a state, and returns its compiled peak."""
        compiled_bytes = self._judge(state.graph)
        self.count += 1
        if self.floor_bytes is None or compiled_bytes <= self.floor_bytes:
            self.best, self.best_bytes, self.floor_bytes = state, compiled_bytes, compiled_bytes
        return compiled_bytes

    def prefer(self, state: State) -> bool:
        """Compiles a state that is faster than the best, and takes it if it fits; whether it does."""
        compiled_bytes = self._judge(state.graph)
        self.count += 1
        self.floor_bytes = min(compiled_bytes, self.floor_bytes or compiled_bytes)
        if compiled_bytes <= self._limit_bytes:
            self.best, self.best_bytes = state, compiled_bytes
        return compiled_bytes <= self._limit_bytes


def search(
    graph: Graph,
    *,
    limit_bytes: int,
    alias_bytes: int,
    platform: str,
    options: Options,
    judge: Judge,
    takers: Takers = NO_TAKERS,
    kernels: bool = False,
) -> Outcome:
    """Returns the fastest plan found that compiles to at most `limit_bytes`, or the smallest one found.

    Args:
      graph: the program as written.
      limit_bytes: the bound on arguments, results and temporaries together.
      alias_bytes: bytes of donated arguments that results take over.
      platform: whose fusion model and machine to plan for.
      options: see `memline.Options`.
      judge: compiles a candidate and tells its compiled peak.
      takers: which result takes over which donated argument.
      kernels: whether memline's own kernels are used.
    """
    target = Target(limit_bytes, alias_bytes, model_for(platform, kernels=kernels), machine_for(platform), takers)
    peak = target.peak(graph)
    whole = State(graph, (), peak, target.seconds(graph, peak))
    starts = _starts(whole, target, options)
    trials = _Trials(judge, limit_bytes, whole)
    lowered = target
    tried: list[tuple[int, int]] = []
    lowest_bytes = limit_bytes
    for _ in range(options.max_compiles):
        lowest_bytes = lowered.limit_bytes
        state = _finished(_plan_from(starts, lowered, target, options), lowered)
        if trials.count and state.peak.total_bytes >= trials.best.peak.total_bytes:
            break  # the model has nothing smaller to offer
        compiled = trials.add(state)
        if trials.fits:
            break
        tried.append((state.peak.total_bytes, compiled))
        lowered = _lowered(lowered, state.peak, tried, limit_bytes)
        if lowered.limit_bytes <= state.peak.fixed_bytes:
            break
    hopeless = replace(target, limit_bytes=peak.fixed_bytes + 1)
    if not trials.fits and lowest_bytes > hopeless.limit_bytes:
        # What a search for much less would find: so a limit that such a search told as its floor is met when asked for.
        state = _finished(_plan_from(starts, hopeless, target, options), hopeless)
        if state.decisions != trials.best.decisions:
            trials.add(state)
    floor = trials.floor_bytes
    if not trials.fits and trials.best is not whole and floor is not None and whole.peak.total_bytes < 2 * floor:
        # Nothing helped much. The program as written may take less than the model says, and is never to be beaten.
        trials.add(whole)
    while trials.fits and trials.count < options.max_compiles:
        if not _try_widened(trials, graph, lowered, limit_bytes):
            break
    best = trials.best
    return Outcome(
        best.graph,
        best.decisions,
        best.peak,
        best.seconds,
        trials.floor_bytes,
        trials.count,
        trials.fits,
        whole.peak,
        whole.seconds,
        _left_whole(best.graph, best.peak),
        _told(best, starts),
    )


def replay(
    graph: Graph,
    decisions: tuple[Decision, ...],
    *,
    alias_bytes: int,
    platform: str,
    judge: Judge,
    takers: Takers = NO_TAKERS,
    kernels: bool = False,
) -> Outcome:
    """Returns the outcome of making given moves, whatever they cost.

    Raises:
      PlanError: a move does not apply to the program.
    """
    target = Target(0, alias_bytes, model_for(platform, kernels=kernels), machine_for(platform), takers)
    whole_peak = target.peak(graph)
    moved = apply_moves(graph, [d.move for d in decisions])
    peak = target.peak(moved)
    compiled = judge(moved)
    return Outcome(
        moved,
        decisions,
        peak,
        target.seconds(moved, peak),
        compiled,
        1,
        True,
        whole_peak,
        target.seconds(graph, whole_peak),
        _left_whole(moved, peak),
        (),
    )


def _try_widened(trials: _Trials, whole: Graph, target: Target, limit_bytes: int) -> bool:
    """Compiles the best plan with coarser splits, if some would be clearly faster; whether that fits.

    Args:
      trials: those that led to the best plan, which fits.
      whole: the program as written.
      target: what the best plan was planned for.
      limit_bytes: what the compiled peak must not exceed.
    """
    state = trials.best
    decisions = tuple(d for d in state.decisions if not isinstance(d.move, TurnProducts))
    if sum(isinstance(d.move, SplitAxis) for d in decisions) < 2:  # one alone has the chunk that is best for it
        return False
    fixed_bytes = state.peak.fixed_bytes
    wrong = (trials.best_bytes - fixed_bytes) / max(state.peak.temp_bytes, 1)
    room = (limit_bytes - fixed_bytes) / max(wrong, 1 / _GREATEST_ERROR) * 0.95
    roomy = replace(target, limit_bytes=fixed_bytes + int(room))
    found = widened(whole, decisions, roomy)
    if found is None:
        return False
    return trials.prefer(_finished(replace(found, notes=(*state.notes, *found.notes)), roomy))


def _finished(state: State, target: Target) -> State:
    """Returns what is compiled for a state: its graph with products in the backend's order, if that fits too."""
    names = slow_products(state.graph, target.machine)
    if not names:
        return state
    move = TurnProducts(names)
    graph = apply_moves(state.graph, [move])
    peak = target.peak(graph)
    if peak.total_bytes > max(target.limit_bytes, state.peak.total_bytes):
        return state
    reason = "products in loops run faster on transposed chunks of their left operands"
    decisions = (*state.decisions, Decision(move, reason))
    return State(graph, decisions, peak, target.seconds(graph, peak), state.notes)


def _lowered(target: Target, planned: Peak, tried: list[tuple[int, int]], limit_bytes: int) -> Target:
    """Returns the target for the next try: the room for temporaries less what the model got wrong.

    One try says by what factor it was wrong; two say by what factor and by how much besides.

    Args:
      target: what the last try was planned for.
      planned: the planned peak of the last try.
      tried: planned and compiled peaks of all tries, in bytes.
      limit_bytes: what the compiled peak must not exceed.
    """
    planned_bytes, compiled_bytes = tried[-1]
    room = limit_bytes - planned.fixed_bytes
    temp = compiled_bytes - planned.fixed_bytes
    wrong = max(1.0, temp / max(planned.temp_bytes, 1))
    lower = planned.fixed_bytes + int(room / wrong * 0.95)
    if len(tried) > 1:
        before_planned, before_compiled = tried[-2]
        gained, told = before_compiled - compiled_bytes, before_planned - planned_bytes
        if gained > 0 and told > 0:
            lower = min(lower, planned_bytes - int((compiled_bytes - limit_bytes) * told / gained * 1.05))
    return replace(target, limit_bytes=min(lower, planned_bytes - 1, target.limit_bytes - 1))


def _starts(whole: State, target: Target, options: Options) -> tuple[State, ...]:
    """Returns the programs to plan from: the rewritten one, where rewriting pays, and the one as written."""
    found = rewritten(whole.graph, whole.peak, whole.seconds, target, options)
    as_written = replace(whole, notes=found.notes)
    if not found.decisions:
        return (as_written,)
    return found, as_written


def _plan_from(starts: tuple[State, ...], target: Target, asked: Target, options: Options) -> State:
    """Returns the fastest plan that fits `target` from any start, or the smallest.

    What fits as it is, and takes no longer than the program as written, is not compared with splits of that.
    """
    states: list[State] = []
    for start in starts:
        states.append(_plan_for(start, target, asked, options))
        is_whole = states[-1].decisions == start.decisions and states[-1].peak.total_bytes <= target.limit_bytes
        if is_whole and start.seconds <= starts[-1].seconds:
            break
    fitting = [s for s in states if s.peak.total_bytes <= target.limit_bytes]
    return min(fitting, key=lambda s: s.seconds) if fitting else min(states, key=lambda s: s.peak.total_bytes)


def _told(best: State, starts: tuple[State, ...]) -> tuple[str, ...]:
    """Returns the notes of a plan, with the rewritings that it goes without although they seemed to pay."""
    paid = starts[0].decisions
    if not paid or best.decisions[: len(paid)] == paid:
        return best.notes
    moves = ", ".join(str(d.move) for d in paid)
    return (*best.notes, f"without rewriting the program is split better under this limit: {moves} not made")


def _plan_for(whole: State, target: Target, asked: Target, options: Options) -> State:
    """Makes moves until the model says that the program fits `target`, or nothing helps any more."""
    state = whole
    if state.peak.total_bytes <= target.limit_bytes:
        faster = _faster(state, target, options)
        return faster or state
    state = _moved(_slimmed(state, target), target, asked, options)
    if state.peak.total_bytes <= target.limit_bytes:
        return state
    thorough = replace(target, at_any_cost=True)
    return min(state, _moved(_slimmed(whole, target), thorough, asked, options), key=lambda s: s.peak.total_bytes)


def _moved(state: State, target: Target, asked: Target, options: Options) -> State:
    """Returns the state after split upon split, until it fits or nothing helps."""
    for _ in range(options.max_moves):
        if state.peak.total_bytes <= target.limit_bytes:
            break
        better = _best_move(state, target)
        if better is None:
            break
        state = _after(state, better, asked)
    return state


def _slimmed(state: State, target: Target) -> State:
    """Returns the state with smaller tapes, where they bring the peak down."""
    for move, saved_bytes in tape_moves(state.graph):
        graph = apply_moves(state.graph, [move])
        peak = target.peak(graph)
        if state.peak.total_bytes - peak.total_bytes > _SLIM_SHARE * state.peak.temp_bytes:
            reason = f"{format_bytes(saved_bytes)} of what a loop leaves for later ones follows cheaply from the rest"
            decision = Decision(move, reason, state.peak.total_bytes - peak.total_bytes)
            state = State(graph, (*state.decisions, decision), peak, target.seconds(graph, peak), state.notes)
    return state


def _faster(state: State, target: Target, options: Options) -> State | None:
    """Returns a split of a program that fits already, if it is clearly faster on the model."""
    worst = state.peak.worst
    if not options.split_for_speed or worst is None or state.peak.temp_bytes < 32 << 20:
        return None
    found = [c for c in candidates(state.graph, target, worst) if c.fits]
    best = min(found, key=lambda c: c.seconds, default=None)
    if best is None or best.seconds > options.split_for_speed * state.seconds:
        return None
    return _after(state, best, target)


def _best_move(state: State, target: Target) -> Candidate | None:
    """Returns the fastest candidate that fits; else the one that comes nearest, if it helps at all."""
    tried: set[int] = set()
    excess = state.peak.excess_bytes(target.limit_bytes)
    for worst in _worst_moments(state.peak, target.limit_bytes):
        if id(worst.node) in tried:
            continue
        tried.add(id(worst.node))
        found = [c for c in candidates(state.graph, target, worst) if _is_worth_it(c, state, excess)]
        fitting = [c for c in found if c.fits]
        if fitting:
            return min(fitting, key=lambda c: c.seconds)
        if found:
            return min(found, key=lambda c: (_octave(c.excess_bytes), c.seconds))
        if len(tried) >= 3:
            break
    return None


def _is_worth_it(candidate: Candidate, state: State, excess_bytes: int) -> bool:
    """Whether a candidate brings a program that is `excess_bytes` over the limit nearer to it, or under it."""
    if candidate.fits:
        return excess_bytes > 0
    is_slow = candidate.seconds > _SLOW * state.seconds
    return candidate.excess_bytes <= (1 - (_GREAT_GAIN if is_slow else _LEAST_GAIN)) * excess_bytes


def _worst_moments(peak: Peak, limit_bytes: int) -> list[Moment]:
    over = [m for m in peak.moments if m.total_bytes > limit_bytes]
    return sorted(over, key=lambda m: -m.total_bytes)


def _octave(n_bytes: int) -> int:
    """Rounds a size to its power of two: candidates within a factor of two come equally near."""
    return n_bytes.bit_length()


def _after(state: State, candidate: Candidate, asked: Target) -> State:
    reason = _reason(state, candidate, asked)
    saved_bytes = state.peak.total_bytes - candidate.peak.total_bytes
    new = tuple(
        Decision(move, reason if move is candidate.moves[-1] else "cheaper to keep than to compute again",
                 saved_bytes if move is candidate.moves[-1] else 0)
        for move in candidate.moves
    )  # fmt: skip
    return State(candidate.graph, (*state.decisions, *new), candidate.peak, candidate.seconds, state.notes)


def _reason(state: State, candidate: Candidate, asked: Target) -> str:
    seed = candidate.seed
    # Inside a loop the seed's own source says where; at the top the node that made it does.
    maker = _maker_text(state.graph, candidate)
    peak = format_bytes(state.peak.total_bytes)
    if state.peak.total_bytes > asked.limit_bytes:
        why = f"{seed.aval.str_short()} {maker} is held at the peak of {peak}"
    else:
        why = f"{seed.aval.str_short()} {maker} passes through slow memory"
    stages = f"{candidate.stages} stage{'s' * (candidate.stages != 1)}"
    kept = f", {format_bytes(candidate.kept_bytes)} kept between them" if candidate.kept_bytes else ""
    times = f"{state.seconds * 1e3:.3g} ms -> {candidate.seconds * 1e3:.3g} ms"
    return f"{why}; {stages}{kept}; estimated {times}"


def _maker_text(graph: Graph, candidate: Candidate) -> str:
    for scope in (graph, *loop_bodies(graph)):
        if candidate.seed in scope.producer:
            return f"of {node_name(scope.producer[candidate.seed])}"
    return ""


def _left_whole(graph: Graph, peak: Peak) -> tuple[str, ...]:
    """Returns the big ops that cannot be cut along any axis, and those with side effects, with the user's lines."""
    threshold = max(peak.total_bytes // 64, 1)
    found: dict[str, None] = {}
    for node in graph.nodes:
        if not isinstance(node, Op) or (table.dims_of(node) and not node.effects):
            continue
        size_bytes = max((v.size_bytes for v in (*node.outputs, *node.inputs)), default=0)
        if size_bytes >= threshold or node.effects:
            why = "has no rule" if not table.has_axes_rule(node.primitive) else "cannot be cut"
            why = "has side effects" if node.effects else why
            if node.bodies:
                in_the_way = obstacle(node)
                if in_the_way is None:
                    continue
                why = f"is not split through: {in_the_way}"
            found.setdefault(f"{node_name(node)} {why}; up to {format_bytes(size_bytes)} whole")
    return tuple(found)
