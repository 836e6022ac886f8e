"""The fresh process that measures: ``python -m memline.verify.child FOLDER``.

It reads a program that `memline.verify.transport` wrote, warms the runtime with programs that have nothing to do
with it, brings the arguments into memory, and only then lets the program run for the first time, between two
readings of a meter. Later runs are for the clock. The answer goes to ``result.json`` in the folder.
"""

import functools
import json
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp

from memline.verify import resident, transport


def main(folder: Path) -> None:
    """Measure what is in `folder`, and write ``result.json`` there.

    Args:
        folder: holds ``request.json`` (``repeats``, ``warm``), the program ``main`` and perhaps ``warm``.
    """
    resident.return_memory_at_once()
    request = json.loads((folder / "request.json").read_text())
    description = transport.read_description(folder, "main")
    if description.enable_x64:
        jax.config.update("jax_enable_x64", True)
    device = jax.devices(description.platform)[description.device_ids[0]]
    warm_runtime()
    if request["warm"]:
        run_warm_program(folder)
    program = transport.load_program(folder, "main", description)
    args = load_args(folder, "main", description, program)
    meter = resident.best_meter(device)
    resident.keep_memory()

    baseline_bytes = meter.start()
    first_s = timed_run(program, args)
    peak_bytes = meter.stop()

    times_s: list[float] = []
    for _ in range(request["repeats"]):
        args = renew_donated(folder, description, program, args)
        times_s.append(timed_run(program, args))
    result = {
        "peak_bytes": max(0, peak_bytes - baseline_bytes),
        "baseline_bytes": baseline_bytes,
        "first_s": first_s,
        "times_s": times_s,
        "method": meter.method,
    }
    (folder / "result.json").write_text(json.dumps(result))


def warm_runtime() -> None:
    """Run small programs that make the runtime start its threads, fill its pools and load its libraries.

    The factorisations matter twice: compiling them is what registers LAPACK's entry points, and a loaded
    executable that calls LAPACK before that crashes.
    """

    @jax.jit
    def everyday(x: jax.Array) -> tuple[jax.Array, ...]:
        product = x @ x.T
        spread = jnp.exp(-jnp.abs(product)).sum(0)
        factor = jnp.linalg.cholesky(jnp.eye(len(x)) * 2 + spread[:, None] * spread * 1e-6)
        solved = jax.scipy.linalg.solve_triangular(factor, x, lower=True)
        # In float64 XLA's convolution reads what is freed already, and crashes where freed blocks go back at once.
        image = x[None, None].astype(jnp.float32)
        edges = jax.lax.conv(image, jnp.ones((1, 1, 3, 3), jnp.float32), (1, 1), "SAME")
        return jnp.sort(solved, axis=1), jax.lax.top_k(spread, 4)[0], jnp.cumsum(x, 1), edges

    # The products that XLA leaves to Eigen are run by machine code which is made with the first of them, 3.3 MiB once a
    # process. In everyday programs most go to another library.
    @functools.partial(jax.jit, compiler_options={"xla_disable_hlo_passes": "dot-library-rewriter"})
    def product(x: jax.Array) -> jax.Array:
        return x.astype(jnp.float32).T @ x.astype(jnp.float32)

    x = jnp.linspace(-1.0, 1.0, 512 * 512).reshape(512, 512)
    for _ in range(3):
        jax.block_until_ready((everyday(x), product(x)))


def run_warm_program(folder: Path) -> None:
    """Run the caller's own warm-up program, twice: its second run takes paths that its first prepares."""
    description = transport.read_description(folder, "warm")
    program = transport.load_program(folder, "warm", description)
    for _ in range(2):
        timed_run(program, load_args(folder, "warm", description, program))


def load_args(folder: Path, name: str, description: transport.Program, program: jax.stages.Compiled) -> list[jax.Array]:
    """All arguments of a program, resident."""
    shardings = program.input_shardings[0]
    return [
        transport.load_leaf(folder, name, index, leaf, sharding)
        for index, (leaf, sharding) in enumerate(zip(description.leaves, shardings, strict=True))
    ]


def renew_donated(
    folder: Path, description: transport.Program, program: jax.stages.Compiled, args: list[jax.Array]
) -> list[jax.Array]:
    """The arguments again, those that the last run was given for good loaded anew."""
    shardings = program.input_shardings[0]
    return [
        transport.load_leaf(folder, "main", index, leaf, shardings[index]) if leaf.donated else args[index]
        for index, leaf in enumerate(description.leaves)
    ]


def timed_run(program: jax.stages.Compiled, args: list[jax.Array]) -> float:
    """Seconds of one call, until its results are there. The results are dropped."""
    start_s = time.perf_counter()
    jax.block_until_ready(program(*args))
    return time.perf_counter() - start_s


if __name__ == "__main__":
    main(Path(sys.argv[1]))
