"""What the solver answers: a packing, a proof that there is none, or that it does not know; never one for another."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum


@dataclass(frozen=True)
class Packing:
    """Where every buffer lies.

    Attributes:
      offsets: one for each buffer, in the problem's order.
      pools: the name of the pool of each; () where there is one pool without a name.
    """

    offsets: tuple[int, ...]
    pools: tuple[str, ...] = ()


@dataclass(frozen=True)
class Overload:
    """Proof that nothing fits: at one time more is alive than the pools hold.

    Attributes:
      time: that time.
      load: what is alive then, in all.
      capacity: what the pools hold together.
    """

    time: int
    load: int
    capacity: int


@dataclass(frozen=True)
class Core:
    """Buffers that fit no more by themselves, though they do without any one of them.

    Attributes:
      buffers: their ids.
    """

    buffers: tuple[str, ...]


class Status(Enum):
    """The three answers to whether a problem fits."""

    FITS = "fits"
    INFEASIBLE = "infeasible"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Answer:
    """The answer to whether a problem fits its capacity; see `memline.packing.pack`.

    Attributes:
      status: fits, infeasible or unknown.
      packing: where everything lies, if it fits; None otherwise.
      certificate: what proves that nothing fits, where that is cheap to say; None if there is none but the search
        itself.
      reason: one sentence on how the answer came about, such as ``"searched exhaustively: 1 204 nodes"``.
      nodes: states that the exact search looked at.
      cpu_seconds: processor time of the solver, over all its threads.
    """

    status: Status
    packing: Packing | None = None
    certificate: Overload | Core | None = None
    reason: str = ""
    nodes: int = field(default=0, compare=False)
    cpu_seconds: float = field(default=0.0, compare=False)


@dataclass(frozen=True)
class Progress:
    """How far the search for the smallest arena has come: what `memline.packing.minimize` reports while it runs.

    Attributes:
      arena: the smallest so far.
      bound: no arena is smaller than this.
      seconds: since the call.
    """

    arena: int
    bound: int
    seconds: float

    @property
    def gap(self) -> float:
        """By what share the arena may still be too large; 0 when it is proved the smallest."""
        return (self.arena - self.bound) / self.arena if self.arena else 0.0


@dataclass(frozen=True)
class Minimum:
    """The smallest arena that was found; see `memline.packing.minimize`.

    Attributes:
      packing: where everything lies.
      arena: the highest address that is used, plus one, in the pool without a capacity.
      bound: no arena is smaller than this.
      stopped: why the search ended: ``"proved"``, ``"time limit"``, ``"interrupted"`` or
        ``"too large to search"``.
      history: every better arena on the way, with when it was found.
      nodes: states that the exact search looked at.
      cpu_seconds: processor time of the solver, over all its threads.
    """

    packing: Packing
    arena: int
    bound: int
    stopped: str
    history: tuple[Progress, ...] = field(default=(), compare=False)
    nodes: int = field(default=0, compare=False)
    cpu_seconds: float = field(default=0.0, compare=False)

    @property
    def proved(self) -> bool:
        """Whether no arena is smaller."""
        return self.arena == self.bound

    @property
    def gap(self) -> float:
        """By what share the arena may be too large; 0 when it is proved the smallest."""
        return (self.arena - self.bound) / self.arena if self.arena else 0.0
