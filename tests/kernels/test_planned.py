"""Planned programs that call kernels: what is emitted, where it is not, what is told, and what it takes."""

import copy
import dataclasses
import json
import re
import subprocess
import sys
import textwrap
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

import memline
from memline.analysis import cost
from memline.analysis.fusion import model_for
from memline.analysis.machine import machine_for
from memline.analysis.peak import peak_of
from memline.ir.emit import evaluate, to_jaxpr
from memline.ir.trace import from_jaxpr, trace
from memline.kernels import native
from memline.kernels.native import TOP_K, Native
from memline.verify.hidden import hidden_bytes
from tests.kernels.native import needs_kernels
from tests.kernels.test_top_k import assert_bits_equal

LIMIT = "700KiB"
K = 5


def farthest(queries, points):
    """The points with the greatest products: an array of 1.5 MiB, which the limit leaves no room for."""
    return lax.top_k(queries @ points.T, K)


@pytest.fixture
def args():
    rng = np.random.default_rng(0)
    # Whole numbers: sums are exact, and there are many equal ones.
    return tuple(jnp.asarray(rng.integers(-4, 5, shape).astype(np.float32)) for shape in ((200, 4), (2000, 4)))


def bounded(fun=farthest, **options):
    return memline.jit(fun, memory_limit=LIMIT, options=memline.Options(**options))


@needs_kernels
class TestWhatIsEmitted:
    def test_the_graph_is_ordinary_and_the_program_calls_the_kernel(self, args):
        lowered = bounded().lower(*args)
        assert TOP_K in lowered.as_text()
        assert "top_k" in str(lowered.compile().graph)
        assert TOP_K not in str(lowered.compile().graph)
        [note] = [note for note in lowered.plan.notes if "kernel" in note]
        told = r"top_k of float32\[\d+,2000\] \(test_planned.py:\d+ \(farthest\)\) runs as memline's own kernel"
        assert re.fullmatch(told, note)

    def test_bodies_call_it_too(self):
        def programs(x):
            chosen = lax.cond(x[0, 0] > 0, lambda x: lax.top_k(x, K)[0], lambda x: x[:, :K], x)
            turned = lax.while_loop(
                lambda v: v[0, 0] < 1e9, lambda v: v + lax.top_k(jnp.tile(v, 40), K)[0] + 1e9, chosen
            )
            return lax.scan(lambda c, row: (c, lax.top_k(row + c, K)), turned[0, 0], jnp.stack([x, -x]))[1]

        x = jnp.asarray(np.random.default_rng(0).normal(size=(8, 400)), jnp.float32)
        graph = from_jaxpr(jax.make_jaxpr(programs)(x), platform="cpu", open_bodies=True)
        assert str(to_jaxpr(graph, native=Native(kernels=True))).count(TOP_K) == 3
        assert TOP_K not in str(to_jaxpr(graph))
        assert_bits_equal(evaluate(graph, [x], native=Native(kernels=True)), jax.tree.leaves(jax.jit(programs)(x)))

    def test_a_program_that_fits_as_it_is_calls_it(self, args):
        fun = memline.jit(farthest, memory_limit="1GiB")
        assert TOP_K in fun.lower(*args).as_text()
        assert_bits_equal(fun(*args), jax.jit(farthest)(*args))
        assert TOP_K not in memline.jit(farthest).lower(*args).as_text()  # no limit: what jax.jit compiles

    def test_folded_along_its_own_axis(self):
        def best(x, y):
            return lax.top_k(x[:, None] * y, K)  # one long row in each of three

        x, y = (
            jnp.asarray([1.0, -1.0, 0.5]),
            jnp.asarray(np.random.default_rng(0).integers(-99, 99, 100_000), jnp.float32),
        )
        fun = memline.jit(best, memory_limit="600KiB")
        assert TOP_K in fun.lower(x, y).as_text()
        assert_bits_equal(fun(x, y), jax.jit(best)(x, y))


@needs_kernels
class TestResults:
    def test_under_transformations(self, args):
        fun, queries, points = bounded(), *args
        assert_bits_equal(fun(*args), jax.jit(farthest)(*args))
        assert_bits_equal(jax.jit(lambda *xs: fun(*xs))(*args), jax.jit(farthest)(*args))
        several = jnp.stack([queries, -queries])
        assert_bits_equal(*(jax.vmap(f, in_axes=(0, None))(several, points) for f in (fun, farthest)))
        gradients = (jax.grad(lambda q, f=f: (f(q, points)[0] ** 2).sum())(queries) for f in (fun, farthest))
        np.testing.assert_array_equal(*gradients)

    @pytest.mark.parametrize("axis", [0, 1])
    def test_of_other_types_and_axes(self, axis):
        def best(x):
            return lax.top_k(jnp.outer(x, x[:300]).astype(jnp.bfloat16), 20, axis=axis)

        x = jnp.asarray(np.random.default_rng(0).normal(size=3000), jnp.float32)
        fun = memline.jit(best, memory_limit="1MiB")
        assert TOP_K in fun.lower(x).as_text()
        assert_bits_equal(fun(x), jax.jit(best)(x))


class TestWithoutKernels:
    """The same results; and the plan says why, where a kernel would have served."""

    def check(self, args, why, **options):
        lowered = copy.copy(bounded(**options)).lower(*args)  # which plans by itself
        assert TOP_K not in lowered.as_text()
        assert any(f"memline's own kernels are not used ({why}" in note for note in lowered.plan.notes)
        assert_bits_equal(lowered.compile()(*args), jax.jit(farthest)(*args))

    def test_switched_off(self, args):
        self.check(args, "Options(kernels=False)", kernels=False)
        with pytest.raises(memline.ArgumentError, match="True or False"):
            memline.Options(kernels=1)  # type: ignore[arg-type]

    def test_not_built(self, args, monkeypatch):
        monkeypatch.setitem(sys.modules, "memline.kernels._native", None)
        native.missing.cache_clear()
        try:
            self.check(args, native.NOT_BUILT)
        finally:
            native.missing.cache_clear()

    @needs_kernels
    def test_refused_by_jaxlib(self, args, monkeypatch):
        def refuse(*_, **__):
            raise RuntimeError("of another version")

        native.missing.cache_clear()
        monkeypatch.setattr(jax.ffi, "register_ffi_target", refuse)
        try:
            self.check(args, "this jaxlib does not take memline's native module: of another version")
        finally:
            native.missing.cache_clear()

    def test_nothing_is_told_where_none_would_serve(self):
        def small(x):
            return lax.top_k(x, 3), lax.top_k(x, 0), jnp.exp(-((x[:, None] - x) ** 2)).sum(1)

        plan = memline.plan(small, "64KiB")(jax.ShapeDtypeStruct((500,), np.float32))
        assert not any("kernel" in note for note in plan.notes)

    def test_exported_programs_name_no_kernel(self, args):
        fun = bounded()
        for exported in (fun, jax.jit(lambda *xs: fun(*xs))):
            made = jax.export.export(exported)(*args)
            assert TOP_K not in made.mlir_module()
            assert_bits_equal(jax.tree.leaves(made.call(*args)), jax.jit(farthest)(*args))

    def test_spread_over_devices(self):
        run_alone(
            """
            mesh = jax.make_mesh((2,), ("d",), axis_types=(jax.sharding.AxisType.Auto,))
            rows, everywhere = (jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec(*p)) for p in (("d",), ()))
            here = np.ones((200, 4), np.float32), np.arange(8000, dtype=np.float32).reshape(2000, 4)
            spread = jax.device_put(here[0], rows), jax.device_put(here[1], everywhere)
            def farthest(queries, points):
                return jax.lax.top_k(queries @ points.T, 5)
            expected = jax.jit(farthest)(*here)
            fun = memline.jit(farthest, memory_limit="700KiB")
            assert "memline_top_k" not in fun.lower(*spread).as_text()
            assert "memline_top_k" not in jax.jit(lambda *xs: fun(*xs)).lower(*spread).as_text()
            for given in (spread, here, spread):
                assert np.array_equal(fun(*given)[1], expected[1])
            # Planned where all is on one device, and then called with arrays that are not.
            fun = memline.jit(farthest, memory_limit="700KiB")
            for given in (here, spread):
                assert np.array_equal(fun(*given)[1], expected[1])
            print("{}")
            """,
            XLA_FLAGS="--xla_force_host_platform_device_count=2",
        )


def run_alone(script, **environment):
    text = "import json, os\n" + f"os.environ.update({environment!r})\n"
    text += "import jax, jax.numpy as jnp, numpy as np, memline\n" + textwrap.dedent(script)
    done = subprocess.run([sys.executable, "-W", "error", "-c", text], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@needs_kernels
class TestOtherProcesses:
    def test_a_fresh_process_measures_it(self, args):
        compiled = bounded().lower(*args).compile()
        measured = compiled.measure(*args, repeats=1)
        fixed = compiled.plan.argument_bytes
        assert measured.peak_bytes + fixed <= compiled.plan.limit_bytes
        assert measured.peak_bytes <= 1.2 * (compiled.plan.compiled_peak_bytes - fixed) + 2**19

    def test_caches_on_disk(self, tmp_path):
        script = f"""
            jax.config.update("jax_compilation_cache_dir", {str(tmp_path / "xla")!r})
            jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
            jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
            def best(x):
                return jax.lax.top_k(x[:, None] * x, 5)[1]
            x = jnp.arange(1000.0)
            options = memline.Options(plan_cache={str(tmp_path / "plans")!r})
            fun = memline.jit(best, memory_limit="1MiB", options=options)
            notes = fun.lower(x).plan.notes
            told = [[note for note in notes if word in note] for word in ("kernel", "found in")]
            print(json.dumps([fun(x).tolist(), *told]))
        """
        (first, *told), (again, *told_again) = run_alone(script), run_alone(script)
        assert first == again
        assert told[0] == told_again[0]
        assert len(told[0]) == 1
        assert (len(told[1]), len(told_again[1])) == (0, 1)


@needs_kernels
class TestModels:
    """Planner and checker know what the kernel takes."""

    @pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int32"])
    @pytest.mark.parametrize("k", [10, 4000])
    def test_planned_and_compiled_peaks_agree(self, dtype, k):
        x = jax.ShapeDtypeStruct((30, 20_000), jnp.dtype(dtype))
        plan: Any = memline.plan(lambda x: lax.top_k(x + x, k), "64MiB")(x)
        assert any("own kernel" in note for note in plan.notes)
        assert abs(plan.planned_peak_bytes - plan.compiled_peak_bytes) <= 0.05 * plan.compiled_peak_bytes

    def test_scratch_is_counted_by_the_checker(self):
        x = jax.ShapeDtypeStruct((4, 300_000), np.float32)
        fun = memline.jit(lambda x: lax.top_k(x, 100_000), memory_limit="64MiB")
        compiled = fun.lower(x).compile()
        few = memline.jit(lambda x: lax.top_k(x, 10), memory_limit="64MiB").lower(x).compile()
        assert hidden_bytes(compiled) >= 2 * 100_000 * 8
        assert hidden_bytes(few) < 2**14
        measured = compiled.measure(x, repeats=0).peak_bytes
        accounted = compiled.plan.compiled_peak_bytes - compiled.plan.argument_bytes
        assert measured <= 1.1 * accounted + 2**19

    def test_it_is_faster(self):
        graph = trace(lambda x: lax.top_k(x, 10), jax.ShapeDtypeStruct((25, 200_000), np.float32))
        with_kernels, without = (
            cost.seconds(graph, peak_of(graph, model), model, machine_for("cpu"))
            for model in (model_for("cpu", kernels=True), model_for("cpu"))
        )
        assert with_kernels < without

    def test_the_models_differ_in_nothing_else(self):
        assert dataclasses.replace(model_for("cpu", kernels=True), kernels=False) == model_for("cpu")
