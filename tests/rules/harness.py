"""Holds every rule to its word: an op computed in pieces along each of its dims equals the op computed whole.

`check(fun, *args)` traces a function, computes it op by op, and cuts each op along each dim that its
rule lists, into several uneven sets of chunks. It returns what was cut, so that a test can also say
which dims it expects.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from memline import compat
from memline.ir.graph import Graph, Op, Value
from memline.ir.trace import trace
from memline.rules import table
from memline.rules.elementwise import COSTLY
from memline.rules.folds import apply_op, fold_named
from memline.rules.table import Dim, Member

# Ops whose pieces a library or a vector unit may round otherwise than the whole.
_ROUNDED = COSTLY.keys() | {
    "dot_general", "conv_general_dilated", "cholesky", "eig", "eigh", "geqrf", "geqp3", "hessenberg",
    "householder_product", "lu", "ormqr", "qr", "schur", "svd", "symmetric_product", "triangular_solve",
    "tridiagonal", "tridiagonal_solve", "cumsum", "cumlogsumexp", "cumprod", "reduce_window_sum",
    "reduce_window", "reduce_sum", "reduce_prod", "fft", "reduce",
}  # fmt: skip
_SUMMING_FOLDS = {"sum", "prod", "dot"}
_SUMMING_OPS = {"scatter-add", "scatter-sub", "scatter-mul"}

_QUICK = {"xla_backend_optimization_level": 0}  # the rules are on trial here, not the compiler


@dataclass(frozen=True)
class Cut:
    """One dim of one op that was cut and agreed."""

    kind: str
    dim: Dim


def link(operands: Iterable[tuple[int, ...]], results: Iterable[tuple[int, ...]]) -> Dim:
    """Returns a parallel dim from (position, axis) or (position, axis, unit) tuples."""
    return Dim(tuple(Member(*m) for m in operands), tuple(Member(*m) for m in results))


def folded(fold: str, *operands: tuple[int, ...]) -> Dim:
    """Returns a folded dim from (position, axis) tuples."""
    return Dim(tuple(Member(*m) for m in operands), fold=fold)


def only_op(fun: Callable[..., Any], *args: Any, kind: str) -> Op:
    """Returns the one op of that kind in a function's graph."""
    (op,) = [node for node in trace(fun, *args).nodes if isinstance(node, Op) and node.kind == kind]
    return op


def dims(fun: Callable[..., Any], *args: Any, kind: str) -> set[Dim]:
    """Returns the dims of the one op of that kind in a function's graph."""
    listed = table.dims_of(only_op(fun, *args, kind=kind))
    assert len(set(listed)) == len(listed), "a dim is listed twice"
    return set(listed)


def check(
    fun: Callable[..., Any],
    *args: Any,
    rtol: float | None = None,
    kinds: str = "",
    wanted: Callable[[Op], bool] | None = None,
) -> list[Cut]:
    """Cuts the ops of a function along every dim; raises AssertionError where pieces and whole differ.

    `kinds` are the names of the ops to cut, by default all, and `wanted` tells of each whether to.
    Everything is computed by two compiled programs, one for the operands of the ops and one for each op
    whole and in pieces: the time of a test is that of its compilations.
    """
    graph = trace(fun, *args)
    ops = [node for node in graph.nodes if isinstance(node, Op)]
    chosen = [k for k, op in enumerate(ops) if not kinds or op.kind in kinds.split()]
    if wanted is not None:
        chosen = [k for k in chosen if wanted(ops[k])]
    if not chosen:
        return []
    operands = [[_on_host(x) for x in xs] for xs in _operands_of(graph, jax.tree.leaves(args))]
    ops, operands = [ops[k] for k in chosen], [operands[k] for k in chosen]
    trials = [
        Trial(op, dim, xs, chunks)
        for op, xs in zip(ops, operands, strict=True)
        for dim in table.dims_of(op)
        for chunks in uneven_chunks(steps_of(op, dim))
    ]

    def compute(operands: Any, pieces: Any) -> Any:
        wholes = {id(op): apply_op(op, xs) for op, xs in zip(ops, operands, strict=True)}
        return wholes, [trial.compute(x) for trial, x in zip(trials, pieces, strict=True)]

    wholes, found = jax.jit(compute, compiler_options=_QUICK)(operands, [trial.pieces for trial in trials])
    for trial, outputs in zip(trials, found, strict=True):
        exact, note = _is_exact(trial.op, trial.dim), f"{trial.op.kind} {trial.dim} {trial.chunks}"
        for whole, piece in zip(wholes[id(trial.op)], trial.joined(outputs), strict=True):
            assert_same(piece, _numbers(whole), exact=exact, rtol=rtol, note=note, scale=trial.scale)
    assert all(table.flops_of(op) >= 0 for op in ops)
    return [Cut(op.kind, dim) for op in ops for dim in table.dims_of(op)]


def _operands_of(graph: Graph, leaves: Sequence[Any]) -> list[list[Any]]:
    """Computes a graph and returns the operands of each of its nodes."""

    def compute(*inputs: Any) -> list[list[Any]]:
        env: dict[Value, Any] = dict(zip(graph.inputs, inputs, strict=True))
        found = []
        for op in graph.nodes:
            assert isinstance(op, Op)
            found.append([jnp.asarray(v.const) if v.is_const else env[v] for v in op.inputs])
            env.update(zip(op.outputs, apply_op(op, found[-1]), strict=True))
        return found

    return jax.jit(compute, compiler_options=_QUICK)(*leaves)


class Trial:
    """One op cut along one dim into chunks of given sizes."""

    def __init__(self, op: Op, dim: Dim, operands: Sequence[Any], chunks: Sequence[int]) -> None:
        self.op, self.dim, self.chunks = op, dim, chunks
        self.scale = _largest_term(op, operands)
        unit = dim.operands[0].unit if dim.fold else 1
        firsts = [sum(chunks[:k]) for k in range(len(chunks))]
        self.pieces = [
            (np.int32(first * unit), _chunk_operands(dim, operands, first, size))
            for first, size in zip(firsts, chunks, strict=True)
        ]

    def compute(self, pieces: Any) -> list[list[Any]]:
        """Computes the op piece by piece; `pieces` are traced, so a rule can look at nothing but types."""
        if self.dim.fold:
            return [self._merged(self.dim.fold, pieces)]
        return [self._apart(first, xs, size) for (first, xs), size in zip(pieces, self.chunks, strict=True)]

    def joined(self, outputs: Any) -> list[Any]:
        """Returns the op's results from what `compute` returned."""
        if self.dim.fold:
            return outputs[0]
        axes = {m.position: m.axis for m in self.dim.results}
        return [
            np.concatenate([_numbers(x) for x in parts], axes[position])
            for position, parts in enumerate(zip(*outputs, strict=True))
        ]

    def _apart(self, first: Any, operands: Sequence[Any], size: int) -> list[Any]:
        cut, rule = self._cut_op(operands, size), table.local_rule(self.op.primitive)
        if rule is None:
            results = apply_op(cut, operands)
        else:
            (m,) = self.dim.results
            results = rule(cut, self.op, m, first * m.unit, *operands)
        for expected, found in zip(cut.outputs, results, strict=True):
            assert found.shape == expected.shape, f"{self.op.kind} {self.dim}: {found.shape}"
        return results

    def _merged(self, name: str, pieces: Any) -> list[Any]:
        fold = fold_named(name)
        members = {m.position for m in self.dim.operands}
        accs = list(fold.init(self.op, [None if i in members else x for i, x in enumerate(pieces[0][1])]))
        for (start, operands), size in zip(pieces, self.chunks, strict=True):
            before = [(a.shape, a.dtype) for a in accs]
            accs = list(fold.step(self._cut_op(operands, size), start, accs, operands))
            assert before == [(a.shape, a.dtype) for a in accs], f"{self.dim}: a carry changed type"
        return list(fold.finish(self.op, accs))

    def _cut_op(self, operands: Sequence[Any], size: int) -> Op:
        """Returns the op on a chunk of `size` steps, with params resized as the split pass does."""
        op = self.op
        shapes = [list(v.shape) for v in op.outputs]
        for m in self.dim.results:
            shapes[m.position][m.axis] = size * m.unit
        ins = tuple(tuple(np.shape(x)) for x in operands)
        outs = tuple(tuple(s) for s in shapes)
        params = table.resized_params(op, ins, outs)
        inputs, outputs = (
            tuple(Value(compat.shaped(s, v.dtype), v.name) for s, v in zip(shaped, values, strict=True))
            for shaped, values in ((ins, op.inputs), (outs, op.outputs))
        )
        return Op(op.primitive, params, inputs, outputs, op.source, op.context, op.effects)


def steps_of(op: Op, dim: Dim) -> int:
    """Returns how many steps a dim has, on which all of its members must agree."""
    assert dim.operands or dim.results
    assert (dim.fold is None) == bool(dim.results)
    members = [(op.inputs[m.position], m) for m in dim.operands]
    members += [(op.outputs[m.position], m) for m in dim.results]
    if dim.fold is None:
        assert {m.position for m in dim.results} == set(range(len(op.outputs))), "a result is not cut"
    found = set()
    for value, m in members:
        steps, rest = divmod(value.shape[m.axis], m.unit)
        assert rest == 0, f"{op.kind}: unit {m.unit} does not divide axis {m.axis} of {value!r}"
        found.add(steps)
    assert len(found) == 1, f"{op.kind}: members of {dim} disagree on its length: {found}"
    return found.pop()


def uneven_chunks(steps: int) -> list[list[int]]:
    """Returns some ways to cut `steps`: two unequal parts, and several small ones with a remainder."""
    ways = []
    if steps > 1:
        first = steps // 2 + 1 if steps > 2 else 1
        ways.append([first, steps - first])
    if steps > 3:
        small = max(1, (steps - 1) // 3)
        ways.append([small] * (steps // small) + ([steps % small] if steps % small else []))
    return ways


def _largest_term(op: Op, operands: Sequence[Any]) -> float:
    """Returns a bound on the terms that a product sums: they may cancel, their roundings do not."""
    if op.kind != "dot_general" or not all(jnp.issubdtype(x.dtype, np.inexact) for x in operands):
        return 0.0
    left, right = (float(np.abs(np.asarray(x).astype(np.complex64)).max(initial=0.0)) for x in operands)
    return left * right if math.isfinite(left * right) else 0.0


def assert_same(
    piece: Any, whole: Any, *, exact: bool, rtol: float | None = None, note: str = "", scale: float = 0.0
) -> None:
    """Compares arrays: bit by bit (any NaN equals any NaN), or to a few units in the last place of the largest.

    `scale` is of what else roundings are a share, if that is larger.
    """
    assert piece.dtype == whole.dtype, note
    assert piece.shape == whole.shape, note
    if jnp.issubdtype(whole.dtype, jax.dtypes.extended):
        piece, whole = jax.random.key_data(piece), jax.random.key_data(whole)
    inexact = jnp.issubdtype(whole.dtype, np.inexact)
    narrow = inexact and np.dtype(whole.dtype).itemsize < 4
    a, b = (np.asarray(x).astype(np.float32) if narrow else np.asarray(x) for x in (piece, whole))
    if exact or not inexact:
        np.testing.assert_array_equal(a, b, err_msg=note)
        return
    finite = np.abs(b[np.isfinite(b)])
    scale = max(scale, float(finite.max()) if finite.size else 1.0)
    rtol = 100 * float(jnp.finfo(whole.dtype).eps) if rtol is None else rtol
    np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol * scale, err_msg=note)


def _is_exact(op: Op, dim: Dim) -> bool:
    if dim.fold is not None:
        return dim.fold not in _SUMMING_FOLDS and op.kind not in _SUMMING_OPS
    return op.kind not in _ROUNDED


def _numbers(x: Any) -> Any:
    """Returns an array on the host; of keys their data, which are one more axis behind theirs."""
    return np.asarray(jax.random.key_data(x) if jnp.issubdtype(x.dtype, jax.dtypes.extended) else x)


def _on_host(x: Any) -> Any:
    return x if jnp.issubdtype(x.dtype, jax.dtypes.extended) else np.asarray(x)


def _cut(x: Any, m: Member, first: int, size: int) -> Any:
    window = slice(first * m.unit, (first + size) * m.unit)
    return x[(slice(None),) * m.axis + (window,)]


def _chunk_operands(dim: Dim, operands: Sequence[Any], first: int, size: int) -> list[Any]:
    chunks = list(operands)
    for m in dim.operands:
        chunks[m.position] = _cut(chunks[m.position], m, first, size)
    return chunks


def normal(*shape: int, dtype: Any = np.float32, seed: int = 0) -> Any:
    """Returns normally distributed numbers."""
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape), dtype)


def integers(low: int, high: int, *shape: int, dtype: Any = np.int32, seed: int = 0) -> Any:
    """Returns integers from [low, high)."""
    return jnp.asarray(np.random.default_rng(seed).integers(low, high, size=shape), dtype)


def rough(*shape: int, dtype: Any = np.float32, seed: int = 0) -> Any:
    """Returns numbers with many ties, and with infinities, zeros of both signs and NaNs among them."""
    menu = np.array([0.0, -0.0, 1.0, -1.0, 2.0, np.inf, -np.inf, np.nan, -np.nan])
    chosen = np.random.default_rng(seed).choice(menu, size=shape, p=[0.15] * 5 + [0.05, 0.1, 0.05, 0.05])
    return jnp.asarray(chosen, dtype)
