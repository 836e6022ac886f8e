"""What is to be packed: buffers with sizes and lifetimes, and the pools that they may lie in.

Sizes and offsets are whole numbers of any unit, bytes as a rule; times are whole numbers of any clock. Lifetimes are
half-open: a buffer with lower 3 and upper 9 is alive at 3 and dead at 9. All numbers are 64-bit, and so is every sum
that a solver makes of them: a problem whose sums are not is refused here, so that no answer can come of an overflow.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from memline.errors import PackingError
from memline.packing.faults import Fault, first_fault
from memline.packing.numbers import INT64_MAX, INT64_MIN, MOST_IN_ALL


@dataclass(frozen=True)
class Gap:
    """A time within a buffer's lifetime at which it needs none of its bytes, or only some.

    Attributes:
      lower: the first time of the gap.
      upper: the first time after it.
      window: (first, last + 1) of the bytes that are needed all the same, counted from the buffer's offset; None for
        none.
    """

    lower: int
    upper: int
    window: tuple[int, int] | None = None

    def __post_init__(self) -> None:
        _need_int64(self, "lower", "upper")
        if self.lower >= self.upper:
            raise PackingError(f"a gap ends after it begins, not from {self.lower} to {self.upper}")
        if self.window is not None:
            window = tuple(self.window)
            if len(window) != 2 or not all(_is_int(end) for end in window) or not 0 <= window[0] < window[1]:
                raise PackingError(f"a gap's window is two numbers, 0 <= first < last, not {self.window!r}")
            object.__setattr__(self, "window", window)


@dataclass(frozen=True)
class Buffer:
    """Something that needs `size` bytes in a row from time `lower` on until `upper`.

    Attributes:
      id: its name, different from all others'.
      lower: the first time at which it is alive.
      upper: the first time after that at which it is dead.
      size: how much it takes, from 0.
      alignment: its offset is a multiple of this.
      offset: where it has to lie; None where the packing may choose.
      hint: where it would best lie; tried first, promised never.
      gaps: times at which it needs none of its bytes, or only some; in order, and none touching another.
      pools: names of the pools that it may lie in; () for any.
      reuses: ids of buffers whose place it may take over although they are alive at its first times: the results that
        may be written over an operand that dies there. It then begins at the same offset, and is not the larger one.

    Raises:
      PackingError: a field is out of its range.

    >>> Buffer("weights", lower=0, upper=12, size=4096, alignment=64).size
    4096
    """

    id: str
    lower: int
    upper: int
    size: int
    alignment: int = 1
    offset: int | None = None
    hint: int | None = None
    gaps: tuple[Gap, ...] = ()
    pools: tuple[str, ...] = ()
    reuses: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("gaps", "pools", "reuses"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if not isinstance(self.id, str) or not self.id:
            raise PackingError(f"a buffer's id is a text that is not empty, not {self.id!r}")
        _need_int64(self, "lower", "upper", "size", "alignment", *(n for n in ("offset", "hint") if _given(self, n)))
        if self.lower < -MOST_IN_ALL or self.upper > MOST_IN_ALL:
            raise PackingError(
                f"buffer {self.id!r} lives from {self.lower} to {self.upper}; times are within 2^61 of 0"
            )
        if self.lower >= self.upper:
            raise PackingError(f"buffer {self.id!r} dies after it is born, not from {self.lower} to {self.upper}")
        for name, least in (("size", 0), ("alignment", 1), ("offset", 0), ("hint", 0)):
            if _given(self, name) and getattr(self, name) < least:
                raise PackingError(f"buffer {self.id!r} has {name} {getattr(self, name)}; the least is {least}")
        if self.offset is not None and self.offset % self.alignment:
            raise PackingError(
                f"buffer {self.id!r} is fixed at {self.offset}, which is no multiple of its alignment {self.alignment}"
            )
        _check_gaps(self)

    @property
    def segments(self) -> tuple[tuple[int, int, int, int], ...]:
        """What it takes, as (first time, first time after, first byte, first byte after), bytes from its offset."""
        if self.size == 0:
            return ()
        found = []
        time = self.lower
        for gap in self.gaps:
            if time < gap.lower:
                found.append((time, gap.lower, 0, self.size))
            if gap.window is not None:
                found.append((gap.lower, gap.upper, *gap.window))
            time = gap.upper
        if time < self.upper:
            found.append((time, self.upper, 0, self.size))
        return tuple(found)


@dataclass(frozen=True)
class Pool:
    """A memory of its own, such as a fast one beside a big one.

    Attributes:
      name: what buffers call it.
      capacity: how much it holds; None for as much as it takes.
    """

    name: str
    capacity: int | None = None

    def __post_init__(self) -> None:
        if not isinstance(self.name, str) or not self.name:
            raise PackingError(f"a pool's name is a text that is not empty, not {self.name!r}")
        _need_capacity(self.capacity)


@dataclass(frozen=True)
class Problem:
    """Buffers, and what they are to lie in.

    Attributes:
      buffers: what is to be placed.
      capacity: how much the one pool holds; None for as much as it takes.
      pools: the pools, where there are several or they have names; they have their own capacities.

    Raises:
      PackingError: two buffers have one id, or fixed offsets that collide; a buffer is larger than all pools that it
        may lie in, or names a pool or a buffer that is not there; a sum of sizes does not fit 64 bits.

    >>> Problem([Buffer("a", 0, 3, 4), Buffer("b", 2, 9, 4)], capacity=8).peak_load
    8
    """

    buffers: tuple[Buffer, ...]
    capacity: int | None = None
    pools: tuple[Pool, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "buffers", tuple(self.buffers))
        object.__setattr__(self, "pools", tuple(self.pools))
        _need_capacity(self.capacity)
        fault = first_fault_of(self.buffers, self.capacity, self.pools)
        if fault is not None:
            raise PackingError(fault.message)

    @property
    def all_pools(self) -> tuple[Pool, ...]:
        """The pools; one without a name's worth where none was named."""
        return _all_pools(self.capacity, self.pools)

    @property
    def peak_load(self) -> int:
        """The most that is alive at one time: no arena can be smaller, if there is one pool and nothing is reused."""
        events: list[tuple[int, int]] = []
        for buffer in self.buffers:
            for begin, end, first, last in buffer.segments:
                events += [(begin, last - first), (end, first - last)]
        load = peak = 0
        for _, change in sorted(events):  # at one time what dies comes before what is born
            load += change
            peak = max(peak, load)
        return peak

    def with_capacity(self, capacity: int | None) -> Problem:
        """Returns the same buffers in one pool of another capacity.

        Raises:
          PackingError: the problem has named pools, whose capacities are their own.
        """
        if self.pools:
            raise PackingError("this problem has pools, and they have their own capacities: change those")
        return replace(self, capacity=capacity)

    def without_offsets(self) -> Problem:
        """Returns the same problem with no buffer fixed."""
        return replace(self, buffers=tuple(replace(buffer, offset=None) for buffer in self.buffers))


def first_fault_of(buffers: Sequence[Buffer], capacity: int | None = None, pools: Sequence[Pool] = ()) -> Fault | None:
    """Returns the first reason why buffers and pools make no problem, with the buffer at fault; None if they do."""
    return first_fault(buffers, capacity, pools, _all_pools(capacity, pools))


def _all_pools(capacity: int | None, pools: Sequence[Pool]) -> tuple[Pool, ...]:
    return tuple(pools) or (Pool("memory", capacity),)


def _check_gaps(buffer: Buffer) -> None:
    time: int | None = None
    for gap in buffer.gaps:
        if not isinstance(gap, Gap):
            raise PackingError(f"buffer {buffer.id!r} has a gap that is none: {gap!r}")
        if gap.lower < buffer.lower or gap.upper > buffer.upper or (time is not None and gap.lower < time):
            raise PackingError(
                f"buffer {buffer.id!r} has a gap from {gap.lower} to {gap.upper} that is not within its life, "
                "or not after the one before"
            )
        if gap.window is not None and gap.window[1] > buffer.size:
            raise PackingError(f"buffer {buffer.id!r} of size {buffer.size} has a window up to {gap.window[1]}")
        time = gap.upper


def _given(buffer: Buffer, name: str) -> bool:
    return getattr(buffer, name) is not None


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _need_int64(record: Buffer | Gap, *names: str) -> None:
    for name in names:
        value = getattr(record, name)
        if not _is_int(value):
            raise PackingError(f"{name} is a whole number, not {value!r}")
        if not INT64_MIN <= value <= INT64_MAX:
            raise PackingError(f"{name} is {value}, which does not fit 64 bits")


def _need_capacity(capacity: int | None) -> None:
    if capacity is not None and (not _is_int(capacity) or not 0 < capacity <= INT64_MAX):
        raise PackingError(f"a capacity is a whole number from 1 that fits 64 bits, or None, not {capacity!r}")
