"""Large results that are written into fresh huge pages: where, with what results, and what they take."""

import copy
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import memline
from memline.ir.emit import to_jaxpr
from memline.ir.once import fresh_places
from memline.ir.trace import trace
from memline.kernels import fresh
from memline.kernels.native import FRESH, Native
from memline.verify.hidden import hidden_bytes_of_text
from tests.kernels.native import needs_kernels

MIB = 2**20
X = jnp.linspace(-1.0, 1.0, 3000)  # its outer product takes 34.3 MiB


def outer(x):
    return jnp.tanh(x[:, None] * x[None, :])


def bounded(fun=outer, limit="64MiB", reuse_memory: bool | None = True, **settings):
    options = memline.Options(reuse_memory=reuse_memory, split_for_speed=0, kernels=settings.pop("kernels", True))
    return memline.jit(fun, memory_limit=limit, options=options, **settings)


def in_pieces(x):
    """A product of 16 MiB and its rows' greatest, which a limit of 20 MiB has made in pieces."""
    made = jnp.tanh(x[:, None] * x[None, :2048])
    return made, jnp.sort(made + 1.0, axis=1)[:, -1]


@needs_kernels
class TestWhereTheyAre:
    def test_a_result_of_a_program_as_written(self):
        compiled = bounded().lower(X).compile()
        assert not compiled.plan.decisions
        text = compiled.as_text()
        assert text.count(FRESH) == 1
        assert text.count(" while(") == 1
        assert "known_trip_count" in text
        assert hidden_bytes_of_text(text, 2) == 0

    def test_what_a_loop_stacks(self):
        y = X[:2048]
        compiled = bounded(in_pieces, "20MiB").lower(y).compile()
        assert compiled.plan.decisions
        assert FRESH in compiled.as_text()
        assert FRESH not in bounded(in_pieces, "20MiB", reuse_memory=False).lower(y).as_text()
        for mine, plain in zip(compiled(y), jax.jit(in_pieces)(y), strict=True):
            np.testing.assert_array_equal(mine, plain)

    def test_small_ones_are_left_to_jax(self):
        assert FRESH not in bounded().lower(X[:1000]).as_text()  # 3.8 MiB, and made at once
        graph = bounded(in_pieces, "300KiB").lower(X[:200]).compile().graph
        assert FRESH not in str(to_jaxpr(graph, native=Native(fresh=True)))

    def test_types_of_less_than_a_byte_are_left_to_jax(self):
        for dtype, is_fresh in (("bfloat16", True), ("int4", False), ("float8_e5m2", False)):
            made = jax.make_jaxpr(lambda dtype=dtype: fresh.empty((2**22,), jnp.dtype(dtype)))()
            assert (FRESH in str(made)) is is_fresh

    @pytest.mark.parametrize("options", [{"reuse_memory": False}, {"kernels": False}])
    def test_switched_off(self, options):
        assert FRESH not in bounded(**options).lower(X).as_text()

    def test_where_it_helps(self, monkeypatch: pytest.MonkeyPatch):
        for helps in (True, False):
            monkeypatch.setattr(fresh, "huge_pages_on_request", lambda helps=helps: helps)
            fun = copy.copy(bounded(reuse_memory=None))  # which plans by itself
            assert (FRESH in fun.lower(X).as_text()) is helps

    def test_without_a_limit_it_is_what_jax_jit_compiles(self):
        assert FRESH not in memline.jit(outer, options=memline.Options(reuse_memory=True)).lower(X).as_text()

    def test_what_is_written_over_has_its_memory(self):
        lowered = bounded(lambda x: x * 2 + 1, donate_argnums=0).lower(jnp.ones(9 * MIB))
        assert FRESH not in lowered.as_text()

    def test_arguments_that_are_handed_back_are_not_copied(self):
        x = jnp.ones(9 * MIB)
        fun = bounded(lambda x: (x, x * 2), "128MiB")
        assert FRESH not in fun.lower(x).as_text()
        np.testing.assert_array_equal(fun(x)[1], x * 2)

    def test_a_program_with_effects_is_left_alone(self):
        def tells(x):
            jax.debug.print("{}", x[0])
            return outer(x)

        assert FRESH not in bounded(tells).lower(X).as_text()

    def test_what_xla_would_compute_before_the_loop_does_not_cost(self):
        def masked(x):  # the mask is 9 MiB, where XLA does not compute it in place
            return jnp.where(jnp.tril(jnp.ones((3000, 3000), bool)), outer(x), 0)

        plain: Any = jax.jit(masked).lower(X).compile().memory_analysis()
        compiled = bounded(masked).lower(X).compile()
        assert compiled.memory_analysis().temp_size_in_bytes < plain.temp_size_in_bytes + MIB
        np.testing.assert_array_equal(compiled(X), masked(X))


@needs_kernels
class TestResults:
    def test_under_transformations(self):
        fun = bounded()
        np.testing.assert_array_equal(fun(X), jax.jit(outer)(X))
        np.testing.assert_array_equal(jax.jit(lambda x: fun(x) + 0)(X), jax.jit(outer)(X))
        both = jnp.stack([X, -X])[:, :2100]
        np.testing.assert_array_equal(jax.vmap(fun)(both), jax.vmap(outer)(both))
        mine, plain = (jax.grad(lambda x, f=f: (f(x) ** 2).sum())(X) for f in (fun, outer))
        np.testing.assert_allclose(mine, plain, rtol=1e-5, atol=1e-3)

    def test_types_and_structure_stay(self):
        def several(x, n):
            made = outer(x)
            return {"made": made, "flag": made > 0, "same": made, "weak": 2.0 * n, "const": np.float32(3)}

        mine, plain = bounded(several, "128MiB")(X, 2), jax.jit(several)(X, 2)
        assert jax.tree.structure(mine) == jax.tree.structure(plain)
        for a, b in zip(jax.tree.leaves(mine), jax.tree.leaves(plain), strict=True):
            np.testing.assert_array_equal(a, b)
            assert (a.dtype, a.weak_type) == (b.dtype, b.weak_type)

    def test_keys_may_be_arguments(self):
        def noisy(key, x):
            return outer(x) + jax.random.normal(key, (3000, 1))

        key = jax.random.key(0)
        np.testing.assert_array_equal(bounded(noisy, "128MiB")(key, X), jax.jit(noisy)(key, X))

    def test_double_precision(self):
        with jax.enable_x64(True):
            x = jnp.linspace(-1.0, 1.0, 2200)
            made = bounded()(x)
            assert made.dtype == jnp.float64
            np.testing.assert_array_equal(made, jax.jit(outer)(x))

    def test_for_other_processes_without_the_native_module(self):
        exported = jax.export.export(bounded())(X)
        assert FRESH not in exported.mlir_module()
        np.testing.assert_array_equal(exported.call(X), outer(X))


@needs_kernels
class TestMemory:
    @pytest.mark.parametrize(("fun", "limit", "n"), [(outer, 36 * MIB, 3000), (in_pieces, 20 * MIB, 2048)])
    def test_the_limit_holds_in_a_fresh_process(self, fun, limit, n):
        compiled = bounded(fun, limit).lower(X[:n]).compile()
        assert FRESH in compiled.as_text()
        measured = compiled.measure(X[:n], repeats=0)
        assert compiled.plan.argument_bytes + measured.peak_bytes <= limit

    def test_results_take_few_page_faults(self):
        """In fresh processes: one that has run much may have a block at hand whose pages are there already."""
        if fresh.huge_pages_on_request():
            assert faults(reuse_memory=True) < faults(reuse_memory=False) / 2
        else:  # they cost as many faults there, so that nothing begins in them unless asked for
            assert FRESH not in bounded(reuse_memory=None).lower(X).compile().as_text()


def faults(reuse_memory: bool) -> int:
    """The fewest page faults of a call, of several."""
    code = f"""
import resource
import jax
from tests.kernels.test_fresh import X, bounded

fun = bounded(reuse_memory={reuse_memory})
def count():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    jax.block_until_ready(fun(X))
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
print(min([count() for _ in range(5)][1:]))
"""
    root = str(Path(__file__).parents[2])
    environment = dict(os.environ, JAX_PLATFORMS="cpu", PYTHONPATH=os.pathsep.join([f"{root}/src", root]))
    found = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    return int(found.stdout)


class TestPlaces:
    def test_are_those_of_large_results(self):
        shape = jax.ShapeDtypeStruct((3000,), jnp.float32)
        graph = trace(lambda x: (x.sum(), outer(x), outer(x + 1)), shape)
        assert fresh_places(graph, {}, as_written=True) == (1, 2)
        assert fresh_places(graph, {0: 0}, as_written=True) == ()

    def test_loops_of_the_graph_begin_in_fresh_arrays_themselves(self):
        shape = jax.ShapeDtypeStruct((3000, 3000), jnp.float32)
        graph = bounded(lambda x: lax.map(jnp.cumsum, x), "128MiB").lower(shape).compile().graph
        assert fresh_places(graph, {}, as_written=True) == (0,)
        assert fresh_places(graph, {}, as_written=False) == ()

    def test_options_say_what_is_wrong(self):
        with pytest.raises(memline.ArgumentError, match="reuse_memory is True, False or None"):
            memline.Options(reuse_memory=1)  # type: ignore[arg-type]


@needs_kernels
def test_what_loops_stack_for_others_is_left_to_xla():
    """An array that a call made shares no memory with what died before: it would make a plan take more."""

    def shares(x):
        table = jnp.exp(x[:, None] * x[None, :2048])
        return jnp.tanh(table / table.sum(0)).sum(1)

    y = X[:2048]
    named = {node.kind: node.outputs[0].name for node in trace(shares, y).nodes}
    moves = memline.Plan.of(memline.Keep(named["exp"]), memline.SplitAxis(named["mul"], 0, 256))
    options = memline.Options(reuse_memory=True)
    compiled = memline.jit(shares, plan=moves, options=options).lower(y).compile()
    assert any(v.size_bytes == 2048 * 2048 * 4 for node in compiled.graph.nodes for v in node.outputs)
    assert FRESH not in compiled.as_text()
