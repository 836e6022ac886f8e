"""Every option in one frozen value that travels with a call: there are no global switches."""

from __future__ import annotations

from dataclasses import dataclass, fields

from memline.errors import ArgumentError


@dataclass(frozen=True)
class Options:
    """How memline plans; every field has a default that suits most programs.

    Args:
      max_compiles: at most so many plans are compiled before giving up; at least 1. Where they help little, the
        program as written is compiled as well.
      honest_accounting: on CPU, compile with XLA's library fusions off, for they allocate memory that no
        account shows. Switch it off only if you measure the peak yourself.
      split_for_speed: a program that fits its limit is still split if the estimated time falls below
        this share of the whole program's; 0 leaves every program that fits alone.
      max_moves: at most so many moves in one plan.

    Raises:
      ArgumentError: a field is out of its range.

    >>> Options(max_compiles=2).max_compiles
    2
    """

    max_compiles: int = 4
    honest_accounting: bool = True
    split_for_speed: float = 0.6
    max_moves: int = 64

    def __post_init__(self) -> None:
        if not isinstance(self.max_compiles, int) or self.max_compiles < 1:
            raise ArgumentError(f"max_compiles is a whole number from 1, not {self.max_compiles!r}")
        if not isinstance(self.max_moves, int) or self.max_moves < 1:
            raise ArgumentError(f"max_moves is a whole number from 1, not {self.max_moves!r}")
        if not isinstance(self.split_for_speed, int | float) or not 0 <= self.split_for_speed <= 1:
            raise ArgumentError(f"split_for_speed is a share from 0 to 1, not {self.split_for_speed!r}")

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """Returns the names of all options."""
        return tuple(f.name for f in fields(cls))
