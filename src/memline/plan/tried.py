"""What came of each strategy that was tried on a program: the record that a plan keeps of its tuning."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from memline.errors import PlanError

VERDICTS = ("base", "chosen", "not faster", "slower", "too big", "lost", "other results", "no effect",
            "refused", "no time")  # fmt: skip


@dataclass(frozen=True)
class Tried:
    """One strategy and its verdict.

    Args:
      strategy: its name; "as planned" for the program without any.
      verdict: one of `VERDICTS`.
      seconds: the median of its measured times, or None where it was not timed.
      rounds: how many times it was timed.
      compiled_peak_bytes: its compiled peak, or None where it was not compiled.
      detail: what the verdict rests on, in words; may be empty.

    >>> Tried("wide vectors", "chosen", seconds=0.002, rounds=7).verdict
    'chosen'
    """

    strategy: str
    verdict: str
    seconds: float | None = None
    rounds: int = 0
    compiled_peak_bytes: int | None = None
    detail: str = ""

    def __str__(self) -> str:
        timed = "" if self.seconds is None else f", {self.seconds * 1e3:.3g} ms"
        often = f" (median of {self.rounds})" if self.rounds > 1 else ""
        detail = f": {self.detail}" if self.detail else ""
        return f"{self.strategy}: {self.verdict}{timed}{often}{detail}"

    def to_dict(self) -> dict[str, Any]:
        """Returns the record as plain data."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Any) -> Tried:
        """Returns the record that `to_dict` wrote.

        Raises:
          PlanError: the data is no such record.
        """
        if not isinstance(data, Mapping) or set(data) != {f.name for f in fields(cls)}:
            raise PlanError(f"not a record of a strategy that was tried: {data!r}")
        texts = [data["strategy"], data["detail"]]
        counts = [data["rounds"], 0 if data["compiled_peak_bytes"] is None else data["compiled_peak_bytes"]]
        seconds = 0.0 if data["seconds"] is None else data["seconds"]
        if (
            not all(isinstance(text, str) for text in texts)
            or data["verdict"] not in VERDICTS
            or not all(type(count) is int and count >= 0 for count in counts)
            or not (isinstance(seconds, int | float) and 0 <= seconds < math.inf)
        ):
            raise PlanError(f"not a record of a strategy that was tried: {data!r}")
        return cls(**data)
