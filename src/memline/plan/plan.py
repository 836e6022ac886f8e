"""The plan: the moves with their reasons and figures, readable as a page and as JSON."""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass
from typing import Any

from memline.errors import PlanError
from memline.plan.moves import Compile, Move, move_from_dict, move_to_dict
from memline.plan.record import read_record
from memline.plan.strategies import CompileOptions
from memline.plan.tried import Tried
from memline.units import format_bytes

VERSION = 2


@dataclass(frozen=True)
class Decision:
    """One move of a plan: why it was made, and what it was expected to gain."""

    move: Move
    reason: str
    saved_bytes: int = 0
    """By how much the planned peak fell."""


@dataclass(frozen=True)
class Plan:
    """What memline does to a program, and what it expects of it. All sizes in bytes.

    A plan is made by `memline.plan` or by hand from moves (`Plan.of(SplitAxis(...))`), saved with
    `to_json` and replayed with `memline.jit(fun, plan=plan)`. A plan made by hand has moves only.
    """

    decisions: tuple[Decision, ...] = ()
    limit_bytes: int | None = None
    argument_bytes: int = 0
    output_bytes: int = 0
    alias_bytes: int = 0
    whole_peak_bytes: int | None = None
    """The planned peak of the program as it was written."""
    planned_peak_bytes: int | None = None
    compiled_peak_bytes: int | None = None
    floor_bytes: int | None = None
    """The smallest compiled peak of all candidates."""
    whole_seconds: float | None = None
    """Estimated time of the program as it was written."""
    estimated_seconds: float | None = None
    planning_seconds: float = 0.0
    compile_seconds: float = 0.0
    compiles: int = 0
    platform: str = ""
    signature: tuple[str, ...] = ()
    """The types of the arguments that the plan was made for."""
    left_whole: tuple[str, ...] = ()
    """What could not be split and why."""
    notes: tuple[str, ...] = ()
    tuning_seconds: float = 0.0
    """What measuring XLA's strategies took, with their compiles."""
    tried: tuple[Tried, ...] = ()
    """The strategies that were tried, with their measured times."""

    @classmethod
    def of(cls, *moves: Move) -> Plan:
        """Returns a plan of moves written by hand.

        >>> from memline.plan.moves import SplitAxis
        >>> Plan.of(SplitAxis("%7", axis=0, chunk=64)).moves
        (SplitAxis(value='%7', axis=0, chunk=64),)
        """
        return cls(tuple(Decision(move, "written by hand") for move in moves))

    @property
    def moves(self) -> tuple[Move, ...]:
        return tuple(d.move for d in self.decisions)

    @property
    def compile_options(self) -> CompileOptions:
        """The options of XLA's own that the plan compiles with: those of its last `Compile`."""
        return next((tuple(dict(m.options).items()) for m in reversed(self.moves) if isinstance(m, Compile)), ())

    @property
    def is_tuned(self) -> bool:
        """Whether the plan says how to compile, by measurement, by rule or by hand: it is replayed with just that."""
        return any(isinstance(move, Compile) for move in self.moves)

    def to_json(self) -> str:
        """Returns the plan as JSON text, versioned; `Plan.from_json` reads it back equal."""
        data: dict[str, Any] = {"memline_plan": VERSION}
        for f in dataclasses.fields(self):
            if f.name not in ("decisions", "tried"):
                data[f.name] = getattr(self, f.name)
        data["decisions"] = [
            {**move_to_dict(d.move), "reason": d.reason, "saved_bytes": d.saved_bytes} for d in self.decisions
        ]
        data["tried"] = [tried.to_dict() for tried in self.tried]
        return json.dumps(data, indent=1)

    @classmethod
    def from_json(cls, text: str | bytes) -> Plan:
        """Returns the plan that `to_json` wrote.

        Raises:
          PlanError: the text is not a plan, or one of another version, or its fields are off.
        """
        data = read_record(text, "plan", VERSION)
        names = {f.name for f in dataclasses.fields(cls)}
        if set(data) != names:
            odd = sorted(set(data) ^ names)
            raise PlanError(f"a plan with other fields than expected: {', '.join(odd)}")
        _check_types(data)
        decisions = tuple(_decision_from(d) for d in data.pop("decisions"))
        lists: dict[str, Any] = {name: tuple(data[name]) for name in ("signature", "left_whole", "notes")}
        lists["tried"] = tuple(Tried.from_dict(t) for t in data["tried"])
        return cls(decisions=decisions, **{**data, **lists})

    def __str__(self) -> str:
        return _page(self)


_OPTIONAL_BYTES = (
    "limit_bytes",
    "whole_peak_bytes",
    "planned_peak_bytes",
    "compiled_peak_bytes",
    "floor_bytes",
)
_BYTES = ("argument_bytes", "output_bytes", "alias_bytes", "compiles")
_SECONDS = ("whole_seconds", "estimated_seconds", "planning_seconds", "compile_seconds", "tuning_seconds")


def _check_types(data: dict[str, Any]) -> None:
    for name in (*_OPTIONAL_BYTES, *_BYTES):
        number = data[name]
        if number is None and name in _OPTIONAL_BYTES:
            continue
        if isinstance(number, bool) or not isinstance(number, int) or number < 0:
            raise PlanError(f"a plan's {name} is a whole number from 0, not {number!r}")
    for name in _SECONDS:
        if data[name] is not None and not (isinstance(data[name], int | float) and 0 <= data[name] < math.inf):
            raise PlanError(f"a plan's {name} is a number from 0, not {data[name]!r}")
    if not isinstance(data["platform"], str):
        raise PlanError("a plan's platform is text")
    for name in ("signature", "left_whole", "notes"):
        if not isinstance(data[name], list) or not all(isinstance(x, str) for x in data[name]):
            raise PlanError(f"a plan's {name} is a list of texts")
    for name in ("decisions", "tried"):
        if not isinstance(data[name], list):
            raise PlanError(f"a plan's {name} are a list")


def _decision_from(data: Any) -> Decision:
    if not isinstance(data, dict):
        raise PlanError(f"not a decision: {data!r}")
    rest = dict(data)
    reason, saved_bytes = rest.pop("reason", None), rest.pop("saved_bytes", None)
    if not isinstance(reason, str) or isinstance(saved_bytes, bool) or not isinstance(saved_bytes, int):
        raise PlanError(f"a decision has a reason (text) and saved_bytes (a whole number): {data!r}")
    return Decision(move_from_dict(rest), reason, saved_bytes)


def _page(plan: Plan) -> str:
    lines = ["memline plan"]

    def row(name: str, value: str) -> None:
        lines.append(f"  {name:<14} {value}")

    def size(n_bytes: int | None) -> str:
        return "-" if n_bytes is None else format_bytes(n_bytes)

    row("limit", "none" if plan.limit_bytes is None else format_bytes(plan.limit_bytes))
    fixed = f"arguments {size(plan.argument_bytes)}, outputs {size(plan.output_bytes)}"
    if plan.alias_bytes:
        fixed += f", of which donated {size(plan.alias_bytes)}"
    row("fixed", fixed)
    row("as written", f"{size(plan.whole_peak_bytes)} planned peak{_time(plan.whole_seconds)}")
    planned = f"{size(plan.planned_peak_bytes)} planned, {size(plan.compiled_peak_bytes)} compiled peak"
    row("this plan", planned + _time(plan.estimated_seconds))
    row("floor", f"{size(plan.floor_bytes)} (smallest compiled peak tried)")
    row(
        "planning",
        f"{plan.planning_seconds:.2f} s, and {plan.compile_seconds:.2f} s in "
        f"{plan.compiles} compile{'s' * (plan.compiles != 1)}",
    )
    if plan.tuning_seconds:
        row("tuning", f"{plan.tuning_seconds:.2f} s")
    lines.append("  moves" if plan.decisions else "  no moves: the program is left as it is")
    for number, d in enumerate(plan.decisions, 1):
        saved = f" (saves {format_bytes(d.saved_bytes)})" if d.saved_bytes > 0 else ""
        lines.append(f"  {number:>3}. {d.move}{saved}")
        lines.append(f"       {d.reason}")
    for title, entries in (("left whole", plan.left_whole), ("strategies", plan.tried), ("notes", plan.notes)):
        if entries:
            lines.append(f"  {title}")
            lines.extend(f"     - {entry}" for entry in entries)
    return "\n".join(lines)


def _time(seconds: float | None) -> str:
    return "" if seconds is None else f", about {seconds * 1e3:.3g} ms"
