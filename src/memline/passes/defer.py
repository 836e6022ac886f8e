"""Frees the folds of a region from waiting: factors are applied after the sum, maxima are read while they run.

`analysis.rescale` says which folds those are. This pass writes their summands anew without the factors
(`dot(e / l, v)` becomes `dot(e, v) / l`), beside the old ones where others still read those, and marks
where the new ones read a maximum that may still be running. The graph alone means what it meant before,
up to the order of products; the marks tell `passes.split` that one loop will do (see `passes.online`).

Bare sums of half-precision values are kept in float32, where a sum that is only scaled down later has
room. Refused: what makes a result larger than the summands, integers, and regions that come out with as
many stages as before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax.numpy as jnp
import numpy as np

from memline import compat
from memline.analysis.axes import Along, Region
from memline.analysis.forms import Term
from memline.analysis.rescale import Deferral, Rescalable, rescalable
from memline.analysis.running import Rescale, Running
from memline.ir.build import Builder
from memline.ir.dead import drop_dead
from memline.ir.graph import Graph, Node, Op, Value
from memline.rules.folds import wide_dtype
from memline.rules.table import Dim


def defer(region: Region) -> Region:
    """Returns the region over a graph in which it has fewer stages; the region itself where there is none.

    Values keep their names; new ones are called after those they stand in for. The same region always
    gives the same graph.
    """
    if region.stages == 1 or any(map(region.is_sequential, region.dims)):
        return region
    found = rescalable(region)
    if not found.folds:
        return region
    deferred = _Deferrer(region, found).run()
    return deferred if deferred.stages < region.stages else region


class _Deferrer:
    def __init__(self, region: Region, found: Rescalable) -> None:
        self.region = region
        self.found = found
        self.nodes: list[Node] = []
        self.along: dict[Value, Along] = dict(region.along)
        self.dims: dict[Node, Dim] = dict(region.dims)
        self.running: dict[tuple[Op, int], Running] = {}
        self.rescaled: dict[Op, tuple[Rescale, ...]] = {}
        self.taken = {v.name for v in region.graph.values()}
        self.bare: dict[tuple[Value, frozenset[Value]], Value] = {}

    def run(self) -> Region:
        graph = self.region.graph
        for node in graph.nodes:
            if isinstance(node, Op) and node in self.found.folds:
                self._fold(node, self.found.folds[node])
            else:
                self.nodes.append(node)
        new = drop_dead(Graph(graph.inputs, tuple(self.nodes), graph.outputs))
        dims = {n: self.dims[n] for n in new.nodes if n in self.dims}
        along = {v: self.along[v] for op in dims for v in op.outputs if v in self.along}
        running = {read: value for read, value in self.running.items() if read[0] in dims}
        return Region(new, self.region.steps, along, dims, self.region.through, running, self.rescaled)

    def _fold(self, op: Op, deferral: Deferral) -> None:
        """Writes a fold of bare summands, and after it the factors they lack."""
        left_out = frozenset(t.value for t in deferral.terms)
        factors = [t for t in deferral.terms if t.maximum is None]
        operands = self._operands(op, left_out)
        (out,) = op.outputs
        params, result = op.params, out
        if factors:
            result = Value(compat.shaped(out.shape, wide_dtype(out.dtype)), self._name(out))
            if op.kind == "dot_general" and result.dtype != out.dtype:
                params = {**params, "preferred_element_type": np.dtype(result.dtype)}
        fold = self._add(op, params, operands, (result,))
        maxima = (self._rescale(t, deferral) for t in deferral.terms if t.maximum is not None)
        rescales = tuple(maxima)
        if rescales:
            self.rescaled[fold] = rescales
        if factors:
            inputs = (result, *(t.value for t in factors))
            self.nodes.extend(_written(_scaling(out, factors, deferral.masked), inputs, op, self._name(out)))

    def _rescale(self, term: Term, deferral: Deferral) -> Rescale:
        return Rescale(self.found.running[term.value], term.power, term.axes, deferral.masked)

    def _operands(self, op: Op, left_out: frozenset[Value]) -> list[Value | None]:
        """Returns an op's operands without the terms; None for one that is nothing else."""
        return [
            self._bare(v, left_out)
            if self.region.aligned(op, position)
            else (None if v in left_out and v not in self.found.running else v)
            for position, v in enumerate(op.inputs)
        ]

    def _bare(self, v: Value, left_out: frozenset[Value]) -> Value | None:
        """Returns a value of the region without the terms that it holds of `left_out`."""
        form = self.found.forms[v]
        held = {t.value for t in form.terms}
        if form.shift is not None:
            held.add(form.shift.running.root)
        held &= left_out
        if not held:
            return v
        if form.pure:
            return None
        key = (v, frozenset(held))
        if key not in self.bare:
            self.bare[key] = self._write_bare(v, frozenset(held))
        return self.bare[key]

    def _write_bare(self, v: Value, left_out: frozenset[Value]) -> Value:
        op = self.region.graph.producer[v]
        assert isinstance(op, Op)
        operands = self._operands(op, left_out)
        if any(x is None for x in operands):  # a product or quotient by nothing but terms
            (core,) = (x for x in operands if x is not None)
            return core
        bare = Value(v.aval, self._name(v))
        self.along[bare] = self.region.along[v]
        self._add(op, op.params, operands, (bare,))
        return bare

    def _add(self, op: Op, params: dict[str, Any], operands: Sequence[Value | None], outputs: tuple[Value, ...]) -> Op:
        """Appends an op that stands in for one of the region's; returns it."""
        inputs = tuple(v for v in operands if v is not None)
        assert len(inputs) == len(operands)
        new = Op(op.primitive, params, inputs, outputs, op.source, op.context)
        self.nodes.append(new)
        self.dims[new] = self.region.dims[op]
        for position, v in enumerate(inputs):
            running = self.found.running.get(v)
            if running is not None and not self.region.aligned(op, position):
                self.running[new, position] = running
        return new

    def _name(self, v: Value) -> str:
        name = f"{v.name}~"
        while name in self.taken:
            name += "~"
        self.taken.add(name)
        return name


def _scaling(out: Value, factors: Sequence[Term], masked: bool) -> Callable[..., Any]:
    """Returns the function from a bare sum and its factors to the sum as it was written."""

    def scale(bare: Any, *values: Any) -> Any:
        scaled = bare
        for term, value in zip(factors, values, strict=True):
            factor = spread(value, term.axes, bare.ndim).astype(bare.dtype)
            for _ in range(abs(term.power)):
                scaled = scaled * factor if term.power > 0 else scaled / factor
        if masked:  # a sum of zeros that were put in the place of summands knows nothing of a bad factor
            scaled = jnp.where(bare == 0, bare, scaled)
        return scaled.astype(out.dtype)

    return scale


def spread(x: Any, axes: Sequence[int | None], ndim: int) -> Any:
    """Returns an array laid out for broadcasting: its axis k along axes[k] of `ndim`, those of None dropped."""
    kept = [k for k, axis in enumerate(axes) if axis is not None]
    x = jnp.squeeze(x, tuple(k for k, axis in enumerate(axes) if axis is None))
    homes = [axis for axis in axes if axis is not None]
    order = sorted(range(len(kept)), key=homes.__getitem__)
    x = jnp.transpose(x, order)
    return jnp.expand_dims(x, tuple(d for d in range(ndim) if d not in homes))


def _written(fun: Callable[..., Any], inputs: Sequence[Value], op: Op, prefix: str) -> list[Op]:
    """Returns the ops of a plain JAX function whose result takes the place of an op's."""
    builder = Builder(f"{prefix}.")
    results = builder.call(fun, *inputs, source=op.source)
    renamed = dict(zip(results, op.outputs, strict=True))
    ops = []
    for node in builder.nodes:
        assert isinstance(node, Op)  # traced from plain JAX: no loops of ours
        outputs = tuple(renamed.get(v, v) for v in node.outputs)
        ops.append(Op(node.primitive, node.params, node.inputs, outputs, node.source, node.context))
    return ops
