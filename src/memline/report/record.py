"""What a report says of a program, as plain frozen values: every page, trace and table is made from this alone.

Times on the axis of a program are numbers of its `steps`, from 0; a lifetime includes both its ends. All sizes are in
bytes, all durations in seconds.
"""

from __future__ import annotations

from dataclasses import dataclass

VERSION = 1
KINDS = ("argument", "constant", "output", "temporary")
"""What a value may be to the program that holds it."""


@dataclass(frozen=True)
class Place:
    """A place in the user's code."""

    file: str
    line: int
    function: str


@dataclass(frozen=True)
class Step:
    """What is held while one node of a program runs; or at most, while any of several do.

    Attributes:
      op: the node's primitive, or "loop".
      place: the user's line that it comes from.
      total_bytes: what is held: arguments, results and temporaries. Of several nodes, the most.
      covers: how many nodes this step stands for; more than 1 where a program was too long to tell each, 0 in a program
        that computes nothing: it has one step all the same.
    """

    op: str
    place: Place | None
    total_bytes: int
    covers: int = 1


@dataclass(frozen=True)
class Held:
    """A value that takes memory, from the first step that holds it to the last.

    Attributes:
      name: its name in the program's text, such as "%7", by which moves call it.
      type: its dtype and shape, such as "f32[512,100]"; "scratch" for what a kernel takes for itself.
      kind: one of `KINDS`.
      op: the primitive that makes it; "" for arguments and constants.
      place: the user's line that it comes from; None where it is not known.
      label: what the user calls it, such as "params['w']", for an argument; "" for all else.
    """

    name: str
    type: str
    size_bytes: int
    kind: str
    op: str
    place: Place | None
    first: int
    last: int
    label: str = ""


@dataclass(frozen=True)
class Band:
    """A loop or a branch: the steps that are inside it.

    Attributes:
      title: what it is, in words, such as "loop over axis 0 of %7, 16 runs of 32".
      depth: 0 for those that are in no other.
      runs: how often its body runs; None where nobody knows before.
    """

    title: str
    place: Place | None
    first: int
    last: int
    depth: int
    runs: int | None


@dataclass(frozen=True)
class Buffer:
    """A temporary of the compiled program, as XLA places it.

    Attributes:
      name: XLA's name of the value.
      op: the primitive or the fusion that XLA made it in, as far as its metadata tells; may be "".
      first, last: places in XLA's own schedule, both included.
      offset: where XLA put it.
      packed_offset: where the exact packing puts it; None where nothing was packed.
    """

    name: str
    op: str
    place: Place | None
    size_bytes: int
    first: int
    last: int
    offset: int
    packed_offset: int | None


@dataclass(frozen=True)
class Layout:
    """The address map of a compiled program's temporaries.

    Attributes:
      temp_bytes: what XLA takes for them.
      load_bytes: the most that is alive at once: no packing takes less.
      packed_bytes: what the exact packing takes; None where nothing was packed.
      is_proved: whether no packing takes less than `packed_bytes`.
      moments: the length of XLA's schedule.
      omitted: how many of the smallest buffers are not told, for there are too many.
      omitted_bytes: their sizes, added.
    """

    temp_bytes: int
    load_bytes: int
    packed_bytes: int | None
    is_proved: bool
    moments: int
    buffers: tuple[Buffer, ...]
    omitted: int = 0
    omitted_bytes: int = 0


@dataclass(frozen=True)
class Program:
    """One form of a program: as it was written, or as it is planned.

    Attributes:
      name: "as written" or "planned".
      nodes: how many nodes it has, those inside of loops and branches counted once.
      planned_peak_bytes: what memline's model of memory says; compiled: what XLA's account says; measured: the
        arguments, and what a run in a fresh process took beside them. None for what was not asked.
      estimated_seconds, measured_seconds: of one call.
      steps: its run, in order.
      bands: its loops and branches.
      values: what takes memory, in the order in which it begins.
      peak: the step of the peak.
      at_peak: numbers of `values` that are alive there, the biggest first. With none omitted, their sizes less
        `alias_bytes` add up to the step's bytes.
      layout: the address map of its temporaries, where it was compiled for it.
        Without a graph, as in a report of a plan alone, there are no steps, values and bands.
      omitted: how many of the smallest values are not told, for there are too many.
      omitted_bytes: their sizes, added.
    """

    name: str
    nodes: int
    argument_bytes: int
    output_bytes: int
    alias_bytes: int
    planned_peak_bytes: int
    compiled_peak_bytes: int | None
    measured_peak_bytes: int | None
    estimated_seconds: float | None
    measured_seconds: float | None
    steps: tuple[Step, ...]
    bands: tuple[Band, ...]
    values: tuple[Held, ...]
    peak: int
    at_peak: tuple[int, ...]
    layout: Layout | None = None
    omitted: int = 0
    omitted_bytes: int = 0


@dataclass(frozen=True)
class MoveTold:
    """A move of the plan, with its reason.

    Attributes:
      kind: the move's name, such as "SplitAxis".
      text: the move as the plan's page shows it.
      place: the user's line that makes the value it is about.
    """

    kind: str
    text: str
    reason: str
    saved_bytes: int
    place: Place | None


@dataclass(frozen=True)
class Origin:
    """What made the record: versions, and the machine."""

    memline: str
    jax: str
    jaxlib: str
    platform: str
    device: str


@dataclass(frozen=True)
class Record:
    """What a report says.

    Attributes:
      title: the function's name.
      place: where it is defined.
      limit_bytes: the limit that it was planned for; None for none.
      floor_bytes: the smallest compiled peak of all plans that were tried; None where nothing was planned.
      planning_seconds: what the search took, with its compiles.
      moves: what the plan does; empty for a program that was not planned or is left as it is.
      left_whole: what could not be split, and why.
      notes: what else the planner has to say.
      programs: the program as written, and as planned where there is a plan that changes it.
    """

    title: str
    place: Place | None
    origin: Origin
    limit_bytes: int | None
    floor_bytes: int | None
    planning_seconds: float | None
    moves: tuple[MoveTold, ...]
    left_whole: tuple[str, ...]
    notes: tuple[str, ...]
    programs: tuple[Program, ...]
