"""Which donated arguments a loop may write over, each reason why it may not, and that XLA then does as told."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import memline
from memline import compat
from memline.analysis.fusion import CPU
from memline.analysis.peak import peak_of
from memline.compiling import HONEST_CPU, KEPT_BARRIERS, WRITTEN_OVER
from memline.ir.build import Builder
from memline.ir.check import check
from memline.ir.emit import evaluate
from memline.ir.graph import Graph, Loop, Op, Slice, Stack, Value
from memline.ir.inplace import read_before, reads_first, takeovers, written_over
from memline.ir.trace import trace
from memline.plan.moves import SplitAxis
from memline.plan.plan import Plan

N = 256
ARRAY = 4 * N * N
SLACK = ARRAY // 4


def array(name: str, *shape: int, dtype: Any = np.float32) -> Value:
    return Value(compat.shaped(shape or (N, N), np.dtype(dtype)), name)


def chunked(v: Value, axis: int, size: int) -> Any:
    shape = list(v.shape)
    shape[axis] = size
    return compat.shaped(shape, v.dtype)


def loop_of(
    fun: Callable[..., Sequence[Any]],
    sliced: Sequence[tuple[Value, int]],
    results: Sequence[tuple[Value, int]],
    whole: Sequence[Value] = (),
    chunk: int = 16,
    reverse: bool = False,
) -> Loop:
    """A loop along axes that computes chunks of `results` of chunks of `sliced` and of what it reads whole."""

    def body(size: int, prefix: str) -> Graph:
        builder = Builder(prefix)
        start = builder.value(compat.shaped((), np.dtype(np.int32)))
        inputs = [builder.value(chunked(v, axis, size)) for v, axis in sliced]
        inputs += [builder.value(v.aval) for v in whole]
        outputs = builder.call(lambda *xs: list(fun(*xs)), *inputs)
        return Graph((start, *inputs), tuple(builder.nodes), tuple(outputs))

    name = results[0][0].name
    return Loop(
        length=N,
        chunk=chunk,
        sliced=tuple(Slice(v, axis, 1) for v, axis in sliced),
        whole=tuple(whole),
        carried=(),
        stacked=tuple(Stack(axis, 1) for _, axis in results),
        outputs=tuple(v for v, _ in results),
        body=body(chunk, f"%b{name}"),
        tail=body(N % chunk, f"%t{name}") if N % chunk else None,
        reverse=reverse,
    )


def moment(m: Any, g: Any) -> Any:
    return 0.9 * m + 0.1 * g


def adam(p: Any, m: Any, g: Any) -> tuple[Any, Any]:
    return p - 0.01 * moment(m, g) / (jnp.abs(m) + 1), moment(m, g)


P, M, G = array("%p"), array("%m"), array("%g")
NEW_P, NEW_M = array("%P"), array("%M")
BOTH = {0: 0, 1: 1}
"""The first result takes over the first argument, the second one the second."""


def updates(fun: Callable[..., Sequence[Any]] = adam, **how: Any) -> Graph:
    """New parameters and a new moment of the old ones and a gradient, chunk by chunk."""
    loop = loop_of(fun, [(P, 0), (M, 0), (G, 0)], [(NEW_P, 0), (NEW_M, 0)], **how)
    return Graph((P, M, G), (loop,), (NEW_P, NEW_M))


def op(fun: Callable[..., Any], result: Value, *inputs: Value) -> Any:
    builder = Builder(f"%o{result.name}")
    [made] = builder.call(fun, *inputs)
    [node] = builder.nodes
    assert isinstance(node, Op)
    assert made.aval == result.aval
    return replace(node, outputs=(result,))


def late_reader() -> Graph:
    graph, total = updates(), array("%sum")
    return Graph(graph.inputs, (*graph.nodes, op(jnp.exp, total, P)), (*graph.outputs, total))


def early_reader() -> Graph:
    """What reads the old array before the loop, and is read by it, is in nobody's way."""
    total = array("%sum")
    loop = loop_of(lambda p, m, s: adam(p, m, s), [(P, 0), (M, 0), (total, 0)], [(NEW_P, 0), (NEW_M, 0)])
    return Graph((P, M, G), (op(jnp.exp, total, P), loop), (NEW_P, NEW_M))


def reader_that_is_not_needed() -> Graph:
    """XLA could run it after the loop, and keep the old array for it: the loop is told to wait."""
    graph, product = updates(), array("%product")
    return Graph(graph.inputs, (op(lax.dot, product, P, P), *graph.nodes), (*graph.outputs, product))


def read_whole() -> Graph:
    loop = loop_of(
        lambda p, m, g, w: (p - m * w[:1], moment(m, g)),
        [(P, 0), (M, 0), (G, 0)], [(NEW_P, 0), (NEW_M, 0)], whole=[M],
    )  # fmt: skip
    return Graph((P, M, G), (loop,), (NEW_P, NEW_M))


def read_along_another_axis() -> Graph:
    loop = loop_of(
        lambda p, m, t, g: (p - t.T, moment(m, g)),
        [(P, 0), (M, 0), (M, 1), (G, 0)], [(NEW_P, 0), (NEW_M, 0)],
    )  # fmt: skip
    return Graph((P, M, G), (loop,), (NEW_P, NEW_M))


def stacked_along_another_axis() -> Graph:
    loop = loop_of(lambda p, m, g: (p - m, moment(m, g).T), [(P, 0), (M, 0), (G, 0)], [(NEW_P, 0), (NEW_M, 1)])
    return Graph((P, M, G), (loop,), (NEW_P, NEW_M))


def returned_as_it_is() -> Graph:
    graph = updates()
    return Graph(graph.inputs, graph.nodes, (*graph.outputs, P))


def of_another_type() -> Graph:
    """JAX gives an array's memory to any result with as many elements of the same width."""
    whole = array("%I", dtype=np.int32)
    loop = loop_of(lambda p, g: ((p + g).astype(jnp.int32),), [(P, 0), (G, 0)], [(whole, 0)])
    return Graph((P, M, G), (loop,), (whole,))


def swapped() -> Graph:
    """Each result takes over what the other one is made of as well: all chunks are read before any is written."""
    loop = loop_of(lambda p, m, g: (m + g, p + m), [(P, 0), (M, 0), (G, 0)], [(NEW_P, 0), (NEW_M, 0)])
    return Graph((P, M, G), (loop,), (NEW_P, NEW_M))


def crossed_by_products() -> Graph:
    """The same, but a product has read its chunks before its result is used."""
    loop = loop_of(
        lambda p, m, w: (p - lax.dot(m, w), m - lax.dot(p, w)),
        [(P, 0), (M, 0)], [(NEW_P, 0), (NEW_M, 0)], whole=[G],
    )  # fmt: skip
    return Graph((P, M, G), (loop,), (NEW_P, NEW_M))


def two_loops() -> Graph:
    """The second one is made of the new parameters."""
    first = loop_of(lambda p, g: (p - g,), [(P, 0), (G, 0)], [(NEW_P, 0)])
    second = loop_of(lambda p, m: (p * m,), [(NEW_P, 1), (M, 1)], [(NEW_M, 1)])
    return Graph((P, M, G), (first, second), (NEW_P, NEW_M))


def two_loops_of_the_old() -> Graph:
    first = loop_of(lambda p, g: (p - g,), [(P, 0), (G, 0)], [(NEW_P, 0)])
    second = loop_of(lambda p, q, m: (p * q * m,), [(P, 0), (NEW_P, 0), (M, 0)], [(NEW_M, 0)])
    return Graph((P, M, G), (first, second), (NEW_P, NEW_M))


def not_read() -> Graph:
    """The array is free before the loop begins."""
    loop = loop_of(lambda g: (g * 2,), [(G, 0)], [(NEW_P, 0)])
    return Graph((P, M, G), (loop,), (NEW_P, M))


def returned_twice() -> Graph:
    graph = updates()
    return Graph(graph.inputs, graph.nodes, (NEW_P, NEW_M, NEW_P))


# Program, which result takes over which argument, and the arguments that are copied with a word of why.
LEGAL: dict[str, tuple[Graph, dict[int, int], str]] = {
    "both": (updates(), BOTH, "pm"),
    "one of two": (updates(), {1: 1}, "m"),
    "with a tail": (updates(chunk=24), BOTH, "pm"),
    "backward": (updates(chunk=24, reverse=True), BOTH, "pm"),
    "returned as it is as well": (returned_as_it_is(), BOTH, "pm"),
    "after another reader": (early_reader(), BOTH, "pm"),
    "after a reader that it does not need": (reader_that_is_not_needed(), BOTH, "pm"),
    "in two loops": (two_loops(), BOTH, "pm"),
    "one over the other": (updates(), {0: 1}, "m"),
    "a result that takes over two": (returned_twice(), {0: 0, 2: 1}, "p"),
    "an argument for two results": (returned_twice(), {0: 0, 1: 0}, "p"),
    "swapped": (swapped(), BOTH, "pm"),
    "crossed by products": (crossed_by_products(), BOTH, "pm"),
    "dead already": (not_read(), {0: 0}, ""),
}
ILLEGAL: dict[str, tuple[Graph, dict[int, int], str, str]] = {
    "read later": (late_reader(), BOTH, "p", "reads it after the loop"),
    "read by a later loop": (two_loops_of_the_old(), BOTH, "p", "reads it after the loop"),
    "read whole": (read_whole(), BOTH, "m", "reads it whole"),
    "read along another axis": (read_along_another_axis(), BOTH, "m", "in other pieces"),
    "stacked along another axis": (stacked_along_another_axis(), BOTH, "m", "in other pieces"),
    "of another type": (of_another_type(), {0: 0}, "p", "another shape or type"),
}


def names_over(graph: Graph, takers: dict[int, int]) -> str:
    return "".join(v.name[1:] for over in written_over(graph, takers).values() for v in over.values())


def arrays() -> list[Any]:
    rng = np.random.default_rng(0)
    return [jnp.asarray(rng.normal(size=(N, N)), jnp.float32) for _ in range(3)]


def compiled(graph: Graph, takers: dict[int, int]) -> Any:
    """The compiled program, its donated arguments those that are taken over."""
    donated = tuple(takers.values())
    options = {**HONEST_CPU, **WRITTEN_OVER, **KEPT_BARRIERS}
    run = jax.jit(lambda *xs: evaluate(graph, xs, takers), donate_argnums=donated, compiler_options=options)
    return run.lower(*arrays()).compile()


class TestStructure:
    @pytest.mark.parametrize("name", LEGAL)
    def test_what_may_be_written_over(self, name):
        graph, takers, over = LEGAL[name]
        check(graph)
        assert names_over(graph, takers) == over
        assert not any(each.objection for each in takeovers(graph, takers))

    @pytest.mark.parametrize("name", ILLEGAL)
    def test_what_may_not_and_why(self, name):
        graph, takers, argument, why = ILLEGAL[name]
        check(graph)
        told = {each.argument.name: each.objection for each in takeovers(graph, takers) if each.objection}
        assert list(told) == [f"%{argument}"]
        assert why in told[f"%{argument}"]
        assert argument not in names_over(graph, takers)

    def test_the_loop_starts_with_the_old_arrays_and_reads_them_there(self):
        graph = updates()
        args = arrays()
        plain = jax.make_jaxpr(lambda *xs: evaluate(graph, xs))(*args)
        over = jax.make_jaxpr(lambda *xs: evaluate(graph, xs, BOTH))(*args)
        assert [len(starts(jaxpr)) for jaxpr in (plain, over)] == [0, 2]
        # Whole arrays that the loop takes: the old and the new ones; then each of them once, and the gradient.
        assert [whole_operands(jaxpr) for jaxpr in (plain, over)] == [5, 3]


def the_loop(jaxpr: Any) -> Any:
    [loop] = [eqn for eqn in jaxpr.eqns if eqn.primitive.name in ("while", "scan")]
    return loop


def starts(jaxpr: Any) -> list[Any]:
    """The program's arguments that its loop carries."""
    loop = the_loop(jaxpr)
    first = len(loop.invars) - sum(v.aval.shape == (N, N) for v in loop.outvars)
    return [v for v in loop.invars[first:] if v in jaxpr.jaxpr.invars]


def whole_operands(jaxpr: Any) -> int:
    return sum(v.aval.shape == (N, N) for v in the_loop(jaxpr).invars)


def barriers(graph: Graph) -> int:
    return str(jax.make_jaxpr(lambda *xs: evaluate(graph, xs, BOTH))(*arrays())).count("optimization_barrier")


class TestOrder:
    @pytest.mark.parametrize(
        ("graph", "waits_for"), [(reader_that_is_not_needed(), ["%product"]), (early_reader(), []), (updates(), [])]
    )
    def test_a_loop_waits_for_readers_that_do_not_reach_it(self, graph, waits_for):
        [(loop, over)] = written_over(graph, BOTH).items()
        assert [v.name for v in read_before(graph, loop, over.values())] == waits_for
        assert barriers(graph) == len(waits_for)

    @pytest.mark.parametrize(
        ("graph", "is_ring"), [(swapped(), True), (crossed_by_products(), False), (updates(), False)]
    )
    def test_a_ring_of_results_is_read_before_it_is_written(self, graph, is_ring):
        [(loop, over)] = written_over(graph, BOTH).items()
        assert reads_first(loop, over) == is_ring
        assert barriers(graph) == is_ring


class TestCompiled:
    @pytest.mark.parametrize("name", [n for n in (*LEGAL, *ILLEGAL) if n != "an argument for two results"])
    def test_results_and_peaks(self, name, monkeypatch):
        monkeypatch.setattr("memline.analysis.peak.scratch_bytes", lambda node, **_: 0)  # it is in no account here
        graph, takers = (LEGAL.get(name) or ILLEGAL[name])[:2]
        expected = [np.asarray(x) for x in evaluate(graph, arrays())]
        program = compiled(graph, takers)
        for found, wanted in zip(program(*arrays()), expected, strict=True):
            np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=1e-6)
        temp_bytes = program.memory_analysis().temp_size_in_bytes
        assert abs(temp_bytes - peak_of(graph, CPU, 0, takers).temp_bytes) <= SLACK


class TestTransformed:
    def test_gradients_and_batches_are_the_same(self):
        graph, args = updates(chunk=24), arrays()

        def loss(*xs: Any, takers: Any = BOTH) -> Any:
            return sum(jnp.sum(jnp.sin(out)) for out in evaluate(graph, xs, takers))

        found = jax.grad(loss, (0, 1, 2))(*args)
        expected = jax.grad(lambda p, m, g: sum(jnp.sum(jnp.sin(x)) for x in adam(p, m, g)), (0, 1, 2))(*args)
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5), found, expected)
        batch = [jnp.stack([x, 2 * x]) for x in args]
        run = jax.jit(jax.vmap(lambda *xs: evaluate(graph, xs, BOTH)), donate_argnums=(0, 1))
        for a, b in zip(run(*map(jnp.copy, batch)), jax.vmap(adam)(*batch), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("columns", "kernels"), [(4, 1), (64, 6)])
def test_rings_of_small_chunks_compile_whatever_xla_makes_of_their_loop(columns, kernels):
    """XLA:CPU dies of a barrier in a loop that it makes a function of, by itself or told so for its many kernels."""

    def step(p: Any, m: Any) -> Any:
        p, m = jnp.exp(p), jnp.exp(m)
        for _ in range(kernels):
            p, m = jnp.cumsum(p, 1) / (1 + p), jnp.cumsum(m, 1) / (1 + m)
        return m + p, p - m

    args = [np.linspace(0, 1, 64 * columns, dtype=np.float32).reshape(64, columns) + k for k in range(2)]
    name = trace(step, *args).nodes[0].outputs[0].name
    split = memline.jit(step, plan=Plan.of(SplitAxis(name, 0, 1)), donate_argnums=(0, 1))
    for found, wanted in zip(split(*map(jnp.asarray, args)), jax.jit(step)(*args), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)
