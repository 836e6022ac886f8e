"""Splits a region into loops over chunks of its axis, one loop a stage.

What a later stage needs of an earlier one in pieces is read back where it was kept, else computed
again. Folded ops become accumulators, values needed whole are stacked, and what lies outside the
region stays as it is. A chunk that does not divide the axis gives every loop a shorter last call.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from memline import compat
from memline.analysis.axes import Region, outside
from memline.analysis.links import Along
from memline.ir.build import Builder
from memline.ir.dead import drop_dead
from memline.ir.graph import Graph, Loop, Node, Op, Slice, Source, Stack, Value
from memline.ir.scopes import loop_bodies
from memline.passes.checkpoints import first_saved, restore, save
from memline.passes.cutting import add_cut_op, cut_aval, cut_node, cut_op, scope_of
from memline.passes.merging import carried_on, first_accumulators, merge_results
from memline.passes.online import RunningMaxima, settled
from memline.rules import folds


def split(region: Region, chunk: int, keep: frozenset[Value] = frozenset()) -> Graph:
    """Returns the region's graph with the region run in chunks.

    Args:
      region: from `analysis.axes.grow_region`.
      chunk: steps of the region's axis in each iteration, from 1 to `region.steps`.
      keep: values among `region.crossing` that are stored whole between stages; the others are
        computed again in the later stage.
    """
    with compat.wide_enough(region.graph.dtypes):
        return _Splitter(region, chunk, keep).run()


@dataclass(frozen=True)
class _LoopParts:
    """What one stage's loop reads and delivers, in the order of its inputs and outputs."""

    ops: list[Node]
    sliced: list[Slice]
    whole: list[Value]
    folded: list[Node]
    stacked: list[Value]
    saved: list[Loop]
    """Loops along the axis whose carries are saved here, for they run again in a later stage."""
    restored: list[Loop]
    """Loops along the axis that run again here."""
    runs_backward: bool


class _Splitter:
    def __init__(self, region: Region, chunk: int, keep: frozenset[Value]) -> None:
        if not 1 <= chunk <= region.steps:
            raise ValueError(f"a chunk of {chunk} steps of an axis that has {region.steps}")
        self.region = region
        self.chunk = chunk
        self.stored = region.escapes | keep
        self.serial = _loops_in(region.graph)
        self.scope = scope_of(region.graph)
        self.builder = Builder(f"%s{self.serial}{self.scope}.")
        self.pending = {node: index for index, node in enumerate(outside(region))}
        self.stage_ops = [region.stage_ops(stage, self.stored) for stage in range(region.stages)]
        self.rerun = [region.rerun(stage, self.stored) for stage in range(region.stages)]
        self.checkpoints: dict[Loop, list[Value]] = {}

    def run(self) -> Graph:
        for stage, ops in enumerate(self.stage_ops):
            if not ops:
                continue
            parts = self._parts(ops, stage)
            self._place_outside({s.value for s in parts.sliced} | set(parts.whole))
            self._loop(parts)
        self._place_outside(set(self.region.graph.outputs), rest=True)
        graph = self.region.graph
        return Graph(graph.inputs, tuple(self.builder.nodes), graph.outputs)

    def _place_outside(self, wanted: set[Value], rest: bool = False) -> None:
        """Appends the nodes outside the region that `wanted` needs; all that are left if `rest`."""
        if rest:
            chosen = list(self.pending)
        else:
            found: set[Node] = set()
            todo = list(wanted)
            while todo:
                node = self.region.graph.producer.get(todo.pop())
                if node in self.pending and node not in found:
                    found.add(node)
                    todo.extend(node.inputs)
            chosen = sorted(found, key=self.pending.__getitem__)
        for node in chosen:
            self.builder.add(node)
            del self.pending[node]

    def _parts(self, ops: list[Node], stage: int) -> _LoopParts:
        region = self.region
        made = {v for op in ops for v in op.outputs if region.stage[op] == stage or v not in self.stored}
        sliced: dict[Slice, None] = {}
        whole: dict[Value, None] = {}
        folded = [op for op in ops if region.folds(op) and region.stage[op] == stage]
        for op in ops:
            goes_on = region.goes_on(op) if op in folded or region.is_sequential(op) else ()
            for position, v in enumerate(op.inputs):
                if (v.is_const and v.ndim == 0) or position in goes_on:
                    continue
                piece = region.piece(op, position)
                if v in made and (region.aligned(op, position) or region.reads_same(op, position)):
                    continue
                if isinstance(op, Op) and (op, position) in region.running:
                    whole.update(dict.fromkeys(region.running[op, position].whole_operands))
                    continue
                if piece is not None:
                    sliced.setdefault(Slice(v, piece.axis, piece.unit))
                elif not v.is_const:
                    whole.setdefault(v)
        stacked = [
            v for op in ops for v in op.outputs if v in self.stored and v in region.along and region.stage[op] == stage
        ]
        restored = self.rerun[stage]
        whole.update(dict.fromkeys(v for loop in restored for v in self.checkpoints[loop]))
        later = {loop for again in self.rerun[stage + 1 :] for loop in again}
        saved = [op for op in folded if isinstance(op, Loop) and op in later]
        backward = region.runs_backward(stage)
        return _LoopParts(ops, list(sliced), list(whole), folded, stacked, saved, restored, backward)

    def _loop(self, parts: _LoopParts) -> None:
        region = self.region
        accumulators: list[list[Value]] = []
        for op in parts.folded:
            accumulators.append(self._first_accumulators(op))
        finals = self._fold_outputs(parts.folded, accumulators)
        saved = {loop: first_saved(self.builder, loop, -(-region.steps // self.chunk)) for loop in parts.saved}
        self.checkpoints.update((loop, [self.builder.value(v.aval) for v in group]) for loop, group in saved.items())
        rest = region.steps % self.chunk
        loop = Loop(
            length=region.steps,
            chunk=self.chunk,
            sliced=tuple(parts.sliced),
            whole=tuple(parts.whole),
            carried=tuple(a for group in (*accumulators, *saved.values()) for a in group),
            stacked=tuple(Stack(region.along[v].axis, region.along[v].unit) for v in parts.stacked),
            outputs=(
                *(v for group in finals for v in group),
                *(v for loop in parts.saved for v in self.checkpoints[loop]),
                *parts.stacked,
            ),
            body=self._body(parts, accumulators, self.chunk),
            tail=self._body(parts, accumulators, rest) if rest else None,
            source=_biggest_source(parts.ops),
            reverse=parts.runs_backward,
        )
        self.builder.add(loop)
        for op, group in zip(parts.folded, finals, strict=True):
            self._finish(op, group)
        self.serial += 1

    def _first_accumulators(self, node: Node) -> list[Value]:
        if node.bodies:
            self._place_outside({node.inputs[position] for position in self.region.goes_on(node)})
            return first_accumulators(self.builder, node, self.region.merged(node))
        assert isinstance(node, Op)
        fold = folds.fold_named(self.region.dims[node].fold or "")
        held = [self.region.piece(node, i) is None for i in range(len(node.inputs))]
        # The operands that the fold needs whole before the loop are an initial accumulator's.
        inputs = [v for v, is_whole in zip(node.inputs, held, strict=True) if is_whole]
        self._place_outside(set(inputs))
        return self.builder.call(_initial(fold, node, held), *inputs, source=node.source, memo=self.region.memo)

    def _folded_results(self, node: Node) -> tuple[Value, ...]:
        """Returns the results of a node that come of its accumulators."""
        if node.bodies:
            return tuple(node.outputs[at] for at in self.region.merged(node))
        return node.outputs

    def _fold_outputs(self, ops: list[Node], accumulators: list[list[Value]]) -> list[list[Value]]:
        """Returns the loop's result values; the op's own where an accumulator is already the result."""
        groups = []
        for op, accs in zip(ops, accumulators, strict=True):
            passed, results = self._passed_through(op, accs), self._folded_results(op)
            groups.append(
                [
                    results[passed[index]] if index in passed else self.builder.value(acc.aval)
                    for index, acc in enumerate(accs)
                ]
            )
        return groups

    def _passed_through(self, op: Node, accs: Sequence[Value]) -> dict[int, int]:
        """Returns which of the op's results are accumulators as they are: {accumulator: result}."""
        finished = self._finished(op, accs)
        return {finished.inputs.index(v): index for index, v in enumerate(finished.outputs) if v in finished.inputs}

    def _finished(self, op: Node, accs: Sequence[Value]) -> Graph:
        """Returns the graph from a fold's last accumulators to the op's results."""
        key = (op, "finish")
        if key not in self.region.memo:
            finish, beside = self._settled(op)
            sub = Builder(f"{op.outputs[0].name}.f")
            inputs = tuple(sub.value(v.aval) for v in (*accs, *beside))
            results = sub.call(finish, *inputs, source=op.source)
            self.region.memo[key] = Graph(inputs, tuple(sub.nodes), tuple(results))
        return self.region.memo[key]

    def _settled(self, op: Node) -> tuple[Callable[..., Any], list[Value]]:
        if op.bodies:
            results = self._folded_results(op)
            return (lambda *accs: [a.astype(v.dtype) for a, v in zip(accs, results, strict=True)]), []
        assert isinstance(op, Op)
        fold = folds.fold_named(self.region.dims[op].fold or "")
        return settled(self.region, op, lambda *accs: fold.finish(op, accs))

    def _finish(self, op: Node, finals: Sequence[Value]) -> None:
        finished = self._finished(op, finals)
        _, beside = self._settled(op)
        self._place_outside(set(beside))
        renamed = dict(zip(finished.inputs, (*finals, *beside), strict=True))
        renamed.update(zip(finished.outputs, self._folded_results(op), strict=True))
        for node in finished.nodes:
            assert isinstance(node, Op)  # traced from plain JAX: no loops of ours
            self.builder.add(
                Op(
                    node.primitive,
                    node.params,
                    tuple(renamed.get(v, v) for v in node.inputs),
                    tuple(renamed.get(v, v) for v in node.outputs),
                    node.source,
                    node.context,
                )
            )

    def _body(self, parts: _LoopParts, accumulators: list[list[Value]], size: int) -> Graph:
        region, suffix = self.region, f"{self.scope}@{self.serial}"
        builder = Builder(f"%b{suffix}.")
        start = builder.value(compat.shaped((), np.dtype(np.int32)), f"%i{suffix}")
        pieces: dict[tuple[Value, Along], Value] = {}
        inputs = [start]
        # A value that is computed again may also be read as it was stored, in other pieces.
        used = {f"{v.name}@{self.serial}" for op in parts.ops for v in op.outputs}

        def unique(name: str) -> str:
            while name in used:
                name += "'"
            used.add(name)
            return name

        for s in parts.sliced:
            along = Along(s.axis, s.unit)
            chunk = Value(cut_aval(s.value, along, size), unique(f"{s.value.name}@{self.serial}"))
            pieces[s.value, along] = chunk
            inputs.append(chunk)
        whole = {v: Value(v.aval, f"{v.name}@{self.serial}w") for v in parts.whole}
        inputs.extend(whole.values())
        carries = {
            op: [Value(v.aval, unique(f"{v.name}@{self.serial}c")) for v in group]
            for op, group in zip(parts.folded, accumulators, strict=True)
        }
        inputs.extend(v for group in carries.values() for v in group)
        saved = {
            loop: [Value(v.aval, f"{v.name}@{self.serial}k") for v in self.checkpoints[loop]] for loop in parts.saved
        }
        inputs.extend(v for group in saved.values() for v in group)
        maxima = RunningMaxima(region, builder, whole)
        new_accumulators: list[Value] = []
        made: dict[Value, Value] = {}

        def read(op: Node, position: int) -> Value:
            v = op.inputs[position]
            piece = region.piece(op, position)
            if isinstance(op, Op) and (op, position) in region.running:
                return maxima.read(region.running[op, position])
            if piece is not None and (v, piece) in pieces:
                return pieces[v, piece]
            if v in made and (region.aligned(op, position) or region.reads_same(op, position)):
                return made[v]
            return v if piece is not None else whole.get(v, v)

        for op in parts.ops:
            operands = [read(op, i) for i in range(len(op.inputs))]
            dim = region.dims[op]
            if op.bodies:
                accs = carries.get(op, [])
                if op in parts.restored:
                    accs = restore(builder, start, self.chunk, [whole[v] for v in self.checkpoints[op]])
                merges = region.merged(op) if accs else {}
                operands = carried_on(builder, op, merges, accs, operands)
                results = cut_node(builder, op, region.through[op], operands, size, f"@{self.serial}", start)
                if op in carries:
                    new_accumulators.extend(merge_results(builder, merges, accs, results))
                made.update(zip(op.outputs, results, strict=True))
                continue
            assert isinstance(op, Op)
            if dim.fold is not None:
                before = maxima.rescaled(op, carries[op])
                after = self._fold_step(builder, op, start, before, operands)
                maxima.advance(op, before, after)
                new_accumulators.extend(after)
                continue
            outputs = tuple(Value(cut_aval(v, region.along[v], size), f"{v.name}@{self.serial}") for v in op.outputs)
            cut = cut_op(op, operands, outputs)
            made.update(zip(op.outputs, add_cut_op(builder, op, dim, cut, start, region.memo), strict=True))
        for loop, rows in saved.items():
            new_accumulators.extend(save(builder, start, self.chunk, rows, carries[loop]))
        pieces_out = [made[v] for v in parts.stacked]
        return drop_dead(Graph(tuple(inputs), tuple(builder.nodes), (*new_accumulators, *pieces_out)))

    def _fold_step(
        self, builder: Builder, op: Op, start: Value, accs: list[Value], operands: list[Value]
    ) -> list[Value]:
        dim = self.region.dims[op]
        fold = folds.fold_named(dim.fold or "")
        if fold.combine is not None and all(a.dtype == v.dtype for a, v in zip(accs, op.outputs, strict=True)):
            results = [builder.value(v.aval) for v in op.outputs]
            builder.add(cut_op(op, operands, results))
            merged = [builder.value(a.aval) for a in accs]
            for acc, result, new in zip(accs, results, merged, strict=True):
                builder.add(Op(fold.combine, {}, (acc, result), (new,), op.source, op.context))
            return merged
        cut = cut_op(op, operands, op.outputs)
        unit = np.int32(dim.operands[0].unit)
        count = len(accs)

        def step(first: Any, *xs: Any) -> Any:
            return fold.step(cut, first * unit, xs[:count], xs[count:])

        return builder.call(((op, "step"), step), start, *accs, *operands, source=op.source, memo=self.region.memo)


def _initial(fold: folds.Fold, op: Op, held: list[bool]) -> tuple[Any, Callable[..., Any]]:
    """Returns the function of a fold's first accumulators, of the operands that are held whole, with its key."""

    def init(*whole: Any) -> Any:
        given = iter(whole)
        return fold.init(op, [next(given) if is_whole else None for is_whole in held])

    return (op, "init"), init


def _loops_in(graph: Graph) -> int:
    """Returns how many loops there are, those in bodies included: every split makes them more."""
    return sum(isinstance(node, Loop) for scope in (graph, *loop_bodies(graph)) for node in scope.nodes)


def _biggest_source(ops: Sequence[Node]) -> Source | None:
    biggest = max(ops, key=lambda op: max((v.size_bytes for v in op.outputs), default=0))
    return biggest.source
