"""The planner's vocabulary: what can be done to a program, one small frozen value a move.

Moves name values as the graph's text does (`%7`; inside the first loop `%7@0`). They can be written by
hand, saved as JSON and replayed. `page` is where a move's documentation lies in memline's source.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar, TypeAlias

from memline.errors import PlanError
from memline.plan.strategies import CompileOption, CompileOptions


@dataclass(frozen=True)
class SplitAxis:
    """Makes a value, and all that hangs on it, in chunks of one axis.

    Args:
      value: the value's name.
      axis: which of its axes, from 0.
      chunk: how many elements of that axis at a time.

    >>> SplitAxis("%7", axis=0, chunk=512)
    SplitAxis(value='%7', axis=0, chunk=512)
    """

    page: ClassVar[str] = "docs/moves/split-axis.md"

    value: str
    axis: int
    chunk: int

    def __post_init__(self) -> None:
        _require_name(self, self.value)
        for name in ("axis", "chunk"):
            number = getattr(self, name)
            if isinstance(number, bool) or not isinstance(number, int) or number < (name == "chunk"):
                least = "1" if name == "chunk" else "0"
                raise PlanError(f"SplitAxis: {name} is a whole number from {least}, not {number!r}", page=self.page)


@dataclass(frozen=True)
class Keep:
    """Stores a value whole between the stages of the next `SplitAxis`, which would compute it again.

    >>> Keep("%12")
    Keep(value='%12')
    """

    page: ClassVar[str] = "docs/moves/keep.md"

    value: str

    def __post_init__(self) -> None:
        _require_name(self, self.value)


@dataclass(frozen=True)
class Recompute:
    """Computes a value again in each stage of the next `SplitAxis` that reads it: the default, said aloud.

    >>> Recompute("%12")
    Recompute(value='%12')
    """

    page: ClassVar[str] = "docs/moves/recompute.md"

    value: str

    def __post_init__(self) -> None:
        _require_name(self, self.value)


@dataclass(frozen=True)
class TurnProducts:
    """Has matrix products read their left operand from a copy whose last axis is the contracted one.

    Args:
      values: the names of the products' results. A product whose left operand lies so already cannot be turned.

    >>> TurnProducts(("%57@0",))
    TurnProducts(values=('%57@0',))
    """

    page: ClassVar[str] = "docs/moves/turn-products.md"

    values: tuple[str, ...]

    def __post_init__(self) -> None:
        if not isinstance(self.values, list | tuple) or not self.values:
            raise PlanError(
                f"TurnProducts: values are the names of one or more products, not {self.values!r}", page=self.page
            )
        object.__setattr__(self, "values", tuple(self.values))
        for name in self.values:
            _require_name(self, name)


@dataclass(frozen=True)
class SlimTape:
    """Has a loop stack less for the loops that read it: they compute again what follows cheaply from the rest.

    Args:
      value: the name of a result that the loop stacks and shall stack no longer. What else follows cheaply from
        what is left is dropped with it.

    >>> SlimTape("%5")
    SlimTape(value='%5')
    """

    page: ClassVar[str] = "docs/moves/slim-tape.md"

    value: str

    def __post_init__(self) -> None:
        _require_name(self, self.value)


@dataclass(frozen=True)
class Rewrite:
    """Replaces a value by what computes the same with less: by one of the rules that docs/rewriting.md lists.

    Args:
      value: the value's name.
      rule: the rule's name.

    >>> Rewrite("%7", rule="contract")
    Rewrite(value='%7', rule='contract')
    """

    page: ClassVar[str] = "docs/moves/rewrite.md"

    value: str
    rule: str

    def __post_init__(self) -> None:
        _require_name(self, self.value)
        if not isinstance(self.rule, str) or not self.rule.isidentifier():
            raise PlanError(
                f"Rewrite: a rule is named as in docs/rewriting.md, such as 'contract', not {self.rule!r}",
                page=self.page,
            )


@dataclass(frozen=True)
class Compile:
    """Compiles the program with options of XLA's own, on top of those that memline always gives.

    Args:
      options: names and values, as a mapping or as pairs; none to say that XLA's defaults are best.

    >>> Compile({"xla_cpu_prefer_vector_width": 512})
    Compile(options=(('xla_cpu_prefer_vector_width', 512),))
    """

    page: ClassVar[str] = "docs/moves/compile.md"

    options: CompileOptions | Mapping[str, CompileOption] = ()

    def __post_init__(self) -> None:
        given: Any = self.options
        pairs = tuple(given.items()) if isinstance(given, Mapping) else given
        if not isinstance(pairs, list | tuple) or not all(map(_is_option, pairs)):
            raise PlanError(
                f"Compile: options are names with a truth value, a whole number or text, not {given!r}", page=self.page
            )
        if len({name for name, _ in pairs}) < len(pairs):
            raise PlanError(f"Compile: an option is given twice: {given!r}", page=self.page)
        object.__setattr__(self, "options", tuple((name, value) for name, value in pairs))


Move: TypeAlias = SplitAxis | Keep | Recompute | TurnProducts | SlimTape | Rewrite | Compile

_KINDS: dict[str, type[Any]] = {
    kind.__name__: kind for kind in (SplitAxis, Keep, Recompute, TurnProducts, SlimTape, Rewrite, Compile)
}


def move_to_dict(move: Move) -> dict[str, Any]:
    """Returns a move as plain data.

    >>> move_to_dict(Keep("%12"))
    {'move': 'Keep', 'value': '%12'}
    """
    return {"move": type(move).__name__, **asdict(move)}


def move_from_dict(data: Any) -> Move:
    """Returns the move that `move_to_dict` wrote.

    Raises:
      PlanError: the data is not a move that this memline knows.

    >>> move_from_dict({"move": "SplitAxis", "value": "%7", "axis": 1, "chunk": 64})
    SplitAxis(value='%7', axis=1, chunk=64)
    """
    if not isinstance(data, Mapping) or data.get("move") not in tuple(_KINDS):
        known = ", ".join(_KINDS)
        raise PlanError(f"not a move of this memline: {data!r}. Known moves: {known}.")
    kind = _KINDS[data["move"]]
    expected = {f.name for f in fields(kind)}
    given = set(data) - {"move"}
    if given != expected:
        raise PlanError(f"{data['move']} has the fields {sorted(expected)}, not {sorted(given)}", page=kind.page)
    return kind(**{name: data[name] for name in expected})


def _is_option(pair: Any) -> bool:
    if not isinstance(pair, list | tuple) or len(pair) != 2:
        return False
    name, value = pair
    return isinstance(name, str) and name.isidentifier() and isinstance(value, bool | int | str)


def _require_name(move: Any, name: Any) -> None:
    if not isinstance(name, str) or not name.startswith("%"):
        kind = type(move).__name__
        raise PlanError(f"{kind}: a value is named as in the graph's text, such as '%7', not {name!r}", page=move.page)
