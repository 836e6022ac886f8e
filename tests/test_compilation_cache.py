"""JAX's compilation cache on disk: a second process compiles nothing anew, and its accounts are the same."""

import json
import subprocess
import sys
import textwrap

SCRIPT = """
    import json, sys
    import jax, jax.numpy as jnp
    import memline

    jax.config.update("jax_compilation_cache_dir", sys.argv[1])
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    events = []
    jax.monitoring.register_event_listener(lambda event, **_: events.append(event.rpartition("/")[2]))

    def products(x):  # in a loop, and with scratch outside XLA's account
        k = jnp.exp(-((x[:, None] - x[None, :]) ** 2))
        return x + (k.T @ jnp.tile(x[:, None], 256)).max(1)

    x = jnp.linspace(0, 1, 2000)
    compiled = memline.jit(products, memory_limit="8MiB", donate_argnums=0).lower(x).compile()
    account, counted = compiled.memory_analysis(), list(events)
    print(json.dumps({
        "misses": counted.count("cache_misses"),
        "hits": counted.count("cache_hits"),
        "plan": [str(move) for move in compiled.plan.moves],
        "compiled peak": compiled.plan.compiled_peak_bytes,
        "hidden": compiled.plan.compiled_peak_bytes - account.argument_size_in_bytes - account.temp_size_in_bytes,
        "alias": account.alias_size_in_bytes,
        "measured": compiled.measure(x, repeats=0).peak_bytes,
        "result": compiled(x).tolist(),
    }))
"""


def run(folder) -> dict:
    script = textwrap.dedent(SCRIPT)
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script, str(folder)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_the_second_process_compiles_nothing_and_counts_the_same(tmp_path):
    first, second = run(tmp_path), run(tmp_path)
    assert first["misses"] > 0
    assert (second["misses"], second["hits"]) == (0, first["misses"] + first["hits"])
    assert first["plan"]
    assert first["hidden"] > 0
    assert first["alias"] == 4 * 2000
    for name in ("plan", "compiled peak", "hidden", "alias", "result"):
        assert first[name] == second[name], name
    whole_bytes = 4 * 2000**2
    assert max(first["measured"], second["measured"]) < whole_bytes
