"""The table of rewrites: what a rule is, what it may do to a result, and how it writes its replacement.

A rule is one small function, `(scope, node) -> Rewriting | None`, under `@rule(name, tag)`. The identity it uses stands
in its docstring. It looks at what `node` makes in `scope` (the program, or the body of a loop or branch) and either
refuses, by None, or tells what can stand in its place. It decides nothing: whether the replacement is taken is
weighed by `memline.plan.rewriting`, on the models of memory and time, under the limit.

    @rule("log_of_scaled_exp", REASSOCIATES)
    def log_of_scaled_exp(scope: Graph, node: Op) -> Rewriting | None:
        \"\"\"log(a * exp(b)) = log(a) + b.\"\"\"
        ...
        return written(node.outputs[0], lambda a, b: jnp.log(a) + b, a, b, source=node.source)
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from memline import compat
from memline.ir.build import Builder
from memline.ir.graph import Graph, Node, Op, Source, Value
from memline.options import Options
from memline.rewrites.tolerance import tolerance_of


@dataclass(frozen=True)
class Tag:
    """By how much a rewrite may change a result.

    Args:
      kind: "exact", bit for bit, NaN and infinity included; "reassociates", the same terms added or multiplied in
        another order, or in a wider type; "approximate", with an error of its own.
      bound: of an approximate one, the greatest error that it adds, relative to the largest element of the result.

    >>> str(approximate(1e-6))
    'approximate (1e-06)'
    """

    kind: str
    bound: float = 0.0

    def __str__(self) -> str:
        return f"{self.kind} ({self.bound:.2g})" if self.bound else self.kind


EXACT = Tag("exact")
REASSOCIATES = Tag("reassociates")


def approximate(bound: float = 0.0) -> Tag:
    """Returns the tag of a rewrite with an error of its own; where it depends on what is found, `written` has it."""
    return Tag("approximate", bound)


@dataclass(frozen=True, eq=False)
class Rewriting:
    """One place where a rule applies, and what it writes there. Made by `written`; the table adds rule and tag."""

    value: Value
    """What is replaced, wherever the scope reads it."""
    nodes: tuple[Node, ...]
    """The new nodes, in order. They read only what is made before `value`."""
    replacement: Value
    """What stands for `value` from now on: the result of one of the new nodes, or a value that was there already."""
    rule: str = ""
    tag: Tag = EXACT


Finder = Callable[[Graph, Op], Rewriting | None]


@dataclass(frozen=True)
class Rule:
    """An entry of the table."""

    name: str
    tag: Tag
    finder: Finder
    kinds: frozenset[str]
    """The primitives by whose results the pattern can end; empty for any."""

    @property
    def identity(self) -> str:
        """What the rule rests on: its docstring."""
        return inspect.getdoc(self.finder) or ""

    def match(self, scope: Graph, node: Node) -> Rewriting | None:
        """Returns what the rule can do to the result of a node, or None."""
        if not isinstance(node, Op) or node.effects or (self.kinds and node.kind not in self.kinds):
            return None
        if not all(compat.is_array_aval(v.aval) and compat.is_usual_aval(v.aval) for v in node.outputs):
            return None  # spread over devices, or not an array: what is written anew would not say so
        with compat.wide_enough(scope.dtypes):
            found = self.finder(scope, node)
        if found is None:
            return None
        bound = found.tag.bound or self.tag.bound
        return replace(found, rule=self.name, tag=Tag(self.tag.kind, bound))


_TABLE: dict[str, Rule] = {}


def rule(name: str, tag: Tag, *kinds: str) -> Callable[[Finder], Finder]:
    """Enters a rule into the table.

    Args:
      name: what moves and plans call it; an identifier.
      tag: what it may do to a result.
      *kinds: the primitives that can be the last of its pattern, to look nowhere else; none to look everywhere.
    """

    def enter(finder: Finder) -> Finder:
        if name in _TABLE or not name.isidentifier():
            raise ValueError(f"a rule needs a name of its own, an identifier, not {name!r}")
        _TABLE[name] = Rule(name, tag, finder, frozenset(kinds))
        return finder

    return enter


def table() -> dict[str, Rule]:
    """Returns the rules by name, in the order in which they are tried."""
    return dict(_TABLE)


def written(
    value: Value,
    fun: Callable[..., Any],
    *operands: Value,
    source: Source | None = None,
    bound: float = 0.0,
) -> Rewriting:
    """Returns the rewriting of a value into a JAX function of other values.

    Args:
      value: what is replaced.
      fun: what computes the same; it is traced, and its result must have the shape and type of `value`.
      *operands: values made before `value`, constants included.
      source: the user's line that the new nodes stand for.
      bound: of a rule tagged approximate, its error here (see `Tag`).
    """
    builder = Builder(f"{value.name}.a")
    (replacement,) = builder.call(fun, *operands, source=source)
    assert (replacement.shape, replacement.dtype) == (value.shape, value.dtype), f"{replacement} is not like {value}"
    return Rewriting(value, tuple(builder.nodes), replacement, tag=approximate(bound))


def is_allowed(found: Rewriting, options: Options) -> bool:
    """Whether options let a rewriting be taken: by its tag, and by its bound where it is approximate."""
    if found.tag.kind not in options.rewrites:
        return False
    if found.tag.kind != "approximate":
        return True
    return found.tag.bound <= (tolerance_of(found.value.dtype) if options.rtol is None else options.rtol)
