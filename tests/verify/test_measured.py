"""Measured peaks: they are right to the page, whatever the program, its arguments and its devices are; and what
goes wrong in the fresh process is told."""

import json
import os
import subprocess
import sys
import textwrap

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from memline.errors import ArgumentError, MeasureError
from memline.verify import measured, transport
from memline.verify.measured import Measured, measure, measure_compiled

MIB = 2**20
# A peak may be more than its program explains by pages of code that run first, and a little of the runtime.
SLACK_BYTES = 3 * MIB

f32 = jnp.float32


def spec(*shape: int, dtype=f32) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(shape, dtype)


def assert_near(found: Measured, expected_bytes: int) -> None:
    assert abs(found.peak_bytes - expected_bytes) <= SLACK_BYTES, str(found)


@pytest.mark.parametrize("mib", [0, 4, 20, 80])
def test_a_result_is_counted_to_the_page(mib):
    """Sizes on either side of where the C library begins to keep what is freed."""
    assert_near(measure(lambda x: x * 2, spec(mib * MIB // 4 + 2), repeats=0), mib * MIB)


def test_machine_code_of_products_is_no_memory_of_the_program():
    """The first product that XLA leaves to Eigen makes 3.3 MiB of code, which stays with the process."""
    options = {"xla_disable_hlo_passes": "dot-library-rewriter"}
    found = measure(lambda a, b: a.T @ b, spec(256, 64), spec(256, 128), repeats=0, compiler_options=options)
    assert found.peak_bytes < 3 * MIB // 2


def test_several_results_of_several_dtypes():
    found = measure(lambda x: {"a": x * 2, "b": (x > 1, x.astype(jnp.bfloat16))}, spec(8 * MIB), repeats=0)
    assert_near(found, (32 + 8 + 16) * MIB)


def test_temporaries_are_counted_where_they_are_not_results():
    def program(x):
        return jax.lax.fori_loop(0, 3, lambda _, y: y * 2, x)[:3]  # a loop's carry is a whole copy

    compiled = jax.jit(program).lower(spec(8 * MIB)).compile()
    stats = compiled.memory_analysis()
    assert stats is not None
    assert stats.temp_size_in_bytes >= 32 * MIB
    assert_near(measure_compiled(compiled, (spec(8 * MIB),), repeats=0), stats.temp_size_in_bytes)


def test_donated_memory_is_used_again_and_each_run_gets_its_own():
    found = measure(lambda x: x * 2, spec(16 * MIB), jit_options={"donate_argnums": 0}, repeats=2)
    assert_near(found, 0)
    assert found.baseline_bytes > 64 * MIB
    assert len(found.times_s) == 2


def test_it_agrees_with_a_measurement_inside_one_process():
    """The same program, compiled and run in a process of its own with the plainest of meters."""
    body = "(jnp.exp(-x) @ x.T).sum(0)"
    script = textwrap.dedent(f"""
        import jax, jax.numpy as jnp
        def field(name):
            return next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith(name)) * 1024
        x = jax.block_until_ready(jnp.full((3000, 3000), 0.5))
        program = jax.jit(lambda x: {body}).lower(x).compile()
        jax.block_until_ready(jax.jit(lambda x: {body})(x[:500, :500]))
        open("/proc/self/clear_refs", "w").write("5")
        before = field("VmRSS")
        jax.block_until_ready(program(x))
        print(field("VmHWM") - before)
    """)
    try:
        inside = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    except subprocess.CalledProcessError as error:
        pytest.fail(error.stderr)
    found = measure(lambda x: (jnp.exp(-x) @ x.T).sum(0), jnp.full((3000, 3000), 0.5), repeats=0)
    # A process that measures itself has free memory of its own making to grow into: a few MiB are not seen there.
    assert abs(found.peak_bytes - int(inside.stdout)) <= 0.05 * found.peak_bytes + 8 * MIB


def test_linear_algebra_runs_in_a_process_that_never_compiled_it():
    x = jnp.eye(256) * 3
    found = measure(lambda x: (jnp.linalg.cholesky(x), jnp.linalg.eigh(x), jnp.linalg.qr(x)), x, repeats=1)
    assert found.median_s > 0


def test_a_warm_up_program_runs_first_at_its_own_size():
    found = measure(lambda x: (x * 2, x + 1), spec(4 * MIB), warm=(spec(1000),), repeats=0)
    assert_near(found, 2 * 16 * MIB)


KEYS = jax.random.split(jax.random.key(7, impl="rbg"), 3)
ARRAYS = [
    jnp.arange(6, dtype=jnp.bfloat16).reshape(2, 3),
    jnp.array([True, False, True]),
    np.arange(-3, 3, dtype=np.int8),
    jnp.array([1, 2, 7], jnp.int4),
    np.array([1 + 2j, -3j], np.complex64),
    jnp.array([0.5, 2.0], jnp.float8_e4m3fn),
    np.asfortranarray(np.arange(6.0, dtype=np.float32).reshape(2, 3)),
    np.arange(12, dtype=np.uint16)[::3],
    jnp.zeros((0, 4)),
    np.float32(3.5),
    2.5,
    True,
    KEYS,
    jax.random.key(3),
]


@pytest.mark.parametrize("value", ARRAYS, ids=lambda value: f"{type(value).__name__}-{getattr(value, 'dtype', '')}")
def test_values_survive_the_journey(tmp_path, value):
    compiled = jax.jit(lambda x: x, keep_unused=True).lower(value).compile()
    transport.write_program(tmp_path, "main", compiled, (value,), {})
    program = transport.read_description(tmp_path, "main")
    arrived = transport.load_leaf(tmp_path, "main", 0, program.leaves[0], None)
    expected = jnp.asarray(value)
    assert arrived.dtype == expected.dtype
    if jnp.issubdtype(expected.dtype, jax.dtypes.prng_key):
        assert jax.random.key_impl(arrived) == jax.random.key_impl(expected)
        arrived, expected = jax.random.key_data(arrived), jax.random.key_data(expected)
    assert np.array_equal(np.asarray(arrived), np.asarray(expected))


def test_the_loaded_program_computes_the_same(tmp_path):
    x, key = jnp.linspace(0, 1, 35).reshape(5, 7), jax.random.key(1)
    compiled = jax.jit(lambda tree, *, key: {"y": tree["x"] @ tree["x"].T, "z": jax.random.normal(key, (3,))})
    compiled = compiled.lower({"x": x}, key=key).compile()
    transport.write_program(tmp_path, "main", compiled, ({"x": x},), {"key": key})
    description = transport.read_description(tmp_path, "main")
    loaded = transport.load_program(tmp_path, "main", description)
    leaves = [transport.load_leaf(tmp_path, "main", i, leaf, None) for i, leaf in enumerate(description.leaves)]
    expected = compiled({"x": x}, key=key)
    assert all(np.array_equal(a, b) for a, b in zip(loaded(*leaves), jax.tree.leaves(expected), strict=True))


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16, jnp.int32, jnp.int4, jnp.bool_, jnp.complex64])
def test_made_up_values_are_not_zero_and_not_wild(tmp_path, dtype):
    compiled = jax.jit(lambda x: x).lower(spec(500, dtype=dtype)).compile()
    transport.write_program(tmp_path, "main", compiled, (spec(500, dtype=dtype),), {})
    leaf = transport.read_description(tmp_path, "main").leaves[0]
    assert not list(tmp_path.glob("*.raw"))
    values = np.asarray(transport.load_leaf(tmp_path, "main", 0, leaf, None)).astype(np.complex64)
    assert np.any(values != values[0])
    assert np.all(np.abs(values) <= 100)
    assert dtype == jnp.bool_ or np.all(values != 0)


def test_keys_can_be_made_up():
    key = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), 4))
    assert measure(lambda keys: jax.vmap(jax.random.normal)(keys), key, repeats=0).peak_bytes < SLACK_BYTES


def test_double_precision_and_several_devices():
    """Both are settings of a whole process, so this needs one of its own."""
    script = textwrap.dedent("""
        import jax, jax.numpy as jnp, numpy as np
        jax.config.update("jax_num_cpu_devices", 4)
        jax.config.update("jax_enable_x64", True)
        from jax.sharding import Mesh, NamedSharding, PartitionSpec
        from memline.verify.measured import measure
        rows = NamedSharding(Mesh(np.array(jax.devices()), "d"), PartitionSpec("d"))
        x = jax.device_put(np.ones((8, 2**18)), rows)
        last = jax.device_put(np.ones(2**20), jax.devices()[3])
        results = [
            measure(lambda x: x * 2, x, repeats=1, jit_options={"donate_argnums": 0}),
            measure(lambda x: x * 2, x, repeats=1),
            measure(lambda x: x - x.mean(0), x, repeats=1),
            measure(lambda x: x * 2, last, repeats=1),
        ]
        print([result.peak_bytes for result in results])
    """)
    environment = {name: text for name, text in os.environ.items() if name != "XLA_FLAGS"}
    environment["PYTHONPATH"] = os.pathsep.join(sys.path)
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    donated_bytes, doubled_bytes, centred_bytes, on_last_bytes = json.loads(done.stdout)
    assert donated_bytes < SLACK_BYTES
    assert abs(doubled_bytes - 16 * MIB) < SLACK_BYTES
    assert centred_bytes >= 16 * MIB
    assert abs(on_last_bytes - 8 * MIB) < SLACK_BYTES


def test_node_types_of_the_users_need_not_be_known_there():
    @jax.tree_util.register_pytree_node_class
    class Pair:
        def __init__(self, a, b):
            self.a, self.b = a, b

        def tree_flatten(self):
            return (self.a, self.b), None

        @classmethod
        def tree_unflatten(cls, _, leaves):
            return cls(*leaves)

    found = measure(lambda pair: Pair(pair.b * 2, pair.a), Pair(spec(10), spec(2 * MIB)), repeats=0)
    assert_near(found, 8 * MIB)


def test_unused_arguments_and_none_at_all():
    assert measure(lambda x, y: x + 1, spec(10), spec(20), repeats=1).peak_bytes < SLACK_BYTES
    assert_near(measure(lambda: jnp.arange(4 * MIB), repeats=1), 16 * MIB)


def test_constants_travel_inside_the_program():
    table = np.random.default_rng(0).random((1000, 1000), np.float32)
    assert measure(lambda x: x @ table, spec(4, 1000), repeats=1).peak_bytes < SLACK_BYTES


def test_a_file_in_the_current_folder_hides_no_module(tmp_path, monkeypatch):
    (tmp_path / "json.py").write_text("raise SystemExit('the wrong json')")
    monkeypatch.chdir(tmp_path)
    assert measure(lambda x: x + 1, spec(8), repeats=0).peak_bytes < SLACK_BYTES


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ((np.ones(3, int),), r"argument \[0\]\[0\] has dtype int32, the program was compiled for float32"),
        ((jnp.ones(4),), r"argument \[0\]\[0\] has shape \(4,\), the program was compiled for \(3,\)"),
        (("three",), r"argument \[0\]\[0\] is a str, and a program takes arrays"),
        ((jnp.ones(3), jnp.ones(3)), "Leave static arguments out"),
    ],
)
def test_arguments_that_do_not_fit_are_told(args, message):
    compiled = jax.jit(lambda x: x + 1).lower(spec(3)).compile()
    with pytest.raises(ArgumentError, match=message):
        measure_compiled(compiled, args)


def test_wide_numpy_arrays_are_taken_as_a_call_takes_them():
    compiled = jax.jit(lambda x, i: x[i]).lower(spec(3), jax.ShapeDtypeStruct((2,), jnp.int32)).compile()
    measured = measure_compiled(compiled, (np.ones(3), np.arange(2)), repeats=0)
    assert measured.peak_bytes < SLACK_BYTES


def test_an_argument_that_was_given_away_is_told():
    x = jnp.ones(3)
    compiled = jax.jit(lambda x: x + 1).lower(x).compile()
    x.delete()
    with pytest.raises(ArgumentError, match="was deleted, perhaps donated"):
        measure_compiled(compiled, (x,))


def test_what_cannot_be_measured_is_told():
    with pytest.raises(ArgumentError, match="not a function"):
        measure_compiled(lambda x: x, ())  # pyright: ignore[reportArgumentType]
    with pytest.raises(ArgumentError, match="repeats is -1"):
        measure(lambda x: x, spec(1), repeats=-1)
    with pytest.raises(ArgumentError, match="jitted already"):
        measure(jax.jit(lambda x: x), spec(1), jit_options={"donate_argnums": 0})


def test_a_tracer_is_told():
    compiled = jax.jit(lambda x: x + 1).lower(spec(3)).compile()
    with pytest.raises(ArgumentError, match="is a tracer"):
        jax.jit(lambda x: measure_compiled(compiled, (x,)))(jnp.ones(3))


def test_a_program_that_calls_back_is_told():
    def program(x):
        return jax.pure_callback(lambda v: v, spec(3), x)

    with pytest.raises(MeasureError, match="call back into Python"):
        measure(program, spec(3))


def test_a_process_that_takes_too_long_is_told():
    def endless(x):
        return jax.lax.while_loop(lambda x: x > 0, lambda x: x + 1, x)

    with pytest.raises(MeasureError, match=r"stopped after 6 s .* Raise timeout_s"):
        measure(endless, spec(), timeout_s=6)


def test_running_out_of_memory_is_told():
    with pytest.raises(MeasureError, match="ran out of memory"):
        measure(lambda x: x[:, None] + x[None, :], spec(2**24), repeats=0)


def test_a_full_disk_is_told(monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(transport, "write_program", full)
    with pytest.raises(MeasureError, match=r"No space left on device. Set TMPDIR"):
        measure(lambda x: x, spec(1))


@pytest.mark.parametrize(
    ("ending", "message"),
    [
        ("os.kill(os.getpid(), 9)", "was killed .* ran out of memory"),
        ("os.kill(os.getpid(), 11)", "crashed with SIGSEGV"),
        ("sys.exit('no such thing')", "exit status 1. Its last words:\nno such thing"),
        ("pass", "exit status 0"),
    ],
)
def test_how_a_process_ended_is_told(tmp_path, monkeypatch, ending, message):
    python = tmp_path / "python"
    python.write_text(f"#!{sys.executable}\nimport os, sys\n{ending}\n")
    python.chmod(0o755)
    monkeypatch.setattr(measured.sys, "executable", str(python))
    with pytest.raises(MeasureError, match=message):
        measure(lambda x: x, spec(1))


def test_what_jaxlib_cannot_save_is_told(monkeypatch):
    def refuse(compiled):
        raise RuntimeError("UNIMPLEMENTED: `LessThan` is not serializable.")

    monkeypatch.setattr(transport.serialize_executable, "serialize", refuse)
    with pytest.raises(MeasureError, match=r"not serializable\. This jaxlib cannot save the program"):
        measure(lambda x: x + 1, jnp.ones(3))
