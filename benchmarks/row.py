"""One row of the benchmark: everything measured of one program, and whether it met its numbers."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from benchmarks.measure import available_bytes
from benchmarks.processes import TaskError, run_task
from benchmarks.programs import find
from benchmarks.programs.program import MIB

PLAIN_HEADROOM = 1.8
"""Plain `jit` was seen to take up to this times the peak that XLA accounts for."""
SLACK_BYTES = 8 * MIB
SLACK_SHARE = 0.05


@dataclass
class Row:
    """Measurements of one program; None where something was not measured."""

    name: str
    title: str
    limit_text: str
    target_ratio: float
    argument_bytes: int | None = None
    limit_bytes: int | None = None
    honest_peak_bytes: int | None = None
    temp_limit_bytes: int | None = None
    plain: dict | None = None
    memline: dict | None = None
    timing: dict | None = None
    notes: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    @property
    def allowed_growth_bytes(self) -> int | None:
        """What resident memory may grow by: the limit less the arguments, with its slack."""
        if self.limit_bytes is None or self.argument_bytes is None:
            return None
        room = self.limit_bytes - self.argument_bytes
        return round(room * (1 + SLACK_SHARE)) + SLACK_BYTES

    @property
    def limit_held(self) -> bool | None:
        """Whether memline's measured growth stayed inside the limit."""
        if self.memline is None or self.allowed_growth_bytes is None:
            return None
        return self.memline["growth_bytes"] <= self.allowed_growth_bytes

    @property
    def limit_share(self) -> float | None:
        """The limit over the measured peak of plain `jit`, arguments included in both."""
        if self.plain is None or self.limit_bytes is None or self.argument_bytes is None:
            return None
        return self.limit_bytes / (self.argument_bytes + self.plain["growth_bytes"])

    @property
    def ratio(self) -> float | None:
        """Median time of memline over median time of plain `jit`."""
        medians = self.timing["median_seconds"] if self.timing else {}
        if not {"plain", "memline"} <= set(medians):
            return None
        return medians["memline"] / medians["plain"]

    @property
    def rival_ratios(self) -> dict[str, tuple[float, float]]:
        """Of each rival that was timed: median time of memline over its own, and the most that is acceptable."""
        medians = self.timing["median_seconds"] if self.timing else {}
        if "memline" not in medians:
            return {}
        targets = self.timing.get("rival_targets", {}) if self.timing else {}
        return {name: (medians["memline"] / medians[name], target) for name, target in targets.items()}

    @property
    def target_met(self) -> bool | None:
        """Whether memline was fast enough, against plain `jit` and against every rival."""
        held = [ratio <= target for ratio, target in self.rival_ratios.values()]
        if self.ratio is not None:
            held.append(self.ratio <= self.target_ratio)
        return all(held) if held else None

    @property
    def temp_held(self) -> bool | None:
        """Whether memline's temporaries, by XLA's account, are within the program's bound, if it has one."""
        if self.memline is None or self.temp_limit_bytes is None:
            return None
        return self.memline["temp_bytes"] <= self.temp_limit_bytes

    @property
    def agrees(self) -> bool | None:
        """Whether both computed the same."""
        return self.timing.get("agrees") if self.timing else None

    def to_json(self) -> dict:
        """Everything measured and every verdict."""
        return vars(self) | {
            "allowed_growth_bytes": self.allowed_growth_bytes,
            "limit_share": self.limit_share,
            "ratio": self.ratio,
            "rival_ratios": {name: ratio for name, (ratio, _) in self.rival_ratios.items()},
            "limit_held": self.limit_held,
            "target_met": self.target_met,
            "temp_held": self.temp_held,
            "agrees": self.agrees,
        }


def run_row(reference: str, kinds: list[str], repeats: int, seed: int, say: Callable[[str], None]) -> Row:
    """Measure the program that `find` finds; a task that fails leaves its error in the row."""
    program = find(reference)
    row = Row(program.name, program.title, program.limit_text, program.target_ratio)

    def attempt(task: str, **parameters: Any) -> dict | None:
        say(" ".join([program.name, task, str(parameters.get("kind", ""))]).strip())
        try:
            return run_task(task, reference, seed=seed, **parameters)
        except TaskError as error:
            row.errors.append(f"{parameters.get('kind', '')} {error}".strip())
            say(f"{program.name}: {row.errors[-1]}")
            return None

    account = attempt("account")
    if account is None:
        return row
    row.argument_bytes = account["argument_bytes"]
    row.limit_bytes = account["limit_bytes"]
    row.honest_peak_bytes = honest_peak_bytes = account["honest_peak_bytes"]
    row.temp_limit_bytes = account["temp_limit_bytes"]
    row.notes += account["notes"]

    running = []
    for kind in kinds:
        is_bold = kind == "plain" and not account["plain_fits"]
        if is_bold and honest_peak_bytes * PLAIN_HEADROOM > available_bytes():
            row.notes.append("plain jit was not run: it might not fit this machine's memory")
            continue
        measured = attempt("memory", kind=kind)
        setattr(row, kind, measured)
        if measured is not None:
            running.append(kind)
    if running:
        row.timing = attempt("timing", kinds=running, repeats=repeats)
        row.notes += row.timing["absent"] if row.timing else []
    return row
