"""Sparse Gaussian processes, value and gradient: with rewriting and without, and beside GPflow's own."""

import atexit
import json
import os
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

import memline
from benchmarks.programs.program import MIB, Program, Rival
from benchmarks.programs.sgpr import SGPR, split_table, value_and_gradient, warm_args

ROWS, COLUMNS, INDUCING = 50_000, 8, 500
PYTHON = "MEMLINE_GPFLOW_PYTHON"
"""The environment variable that names a Python which has GPflow: it does not share an environment with JAX."""


def without_rewriting(*args: Any) -> Callable[[], Any]:
    """memline under the same limit, with the program's arithmetic as it is written."""
    options = memline.Options(rewrites=())
    limited = memline.jit(value_and_gradient, memory_limit=SGPR.limit_bytes, options=options)
    return lambda: limited(*args)


def by_gpflow(params: dict, x: jax.Array, y: jax.Array) -> Callable[[], Any]:
    """GPflow's SGPR on the same inputs, in a process that answers a line for each evaluation.

    Raises:
      ImportError: no Python with GPflow is named.
    """
    python = os.environ.get(PYTHON)
    if not python:
        raise ImportError(f"set {PYTHON} to a Python that has gpflow")
    folder = tempfile.TemporaryDirectory()
    data = Path(folder.name) / "data.npz"
    given = {name: np.asarray(value) for name, value in params.items()}
    np.savez(
        data,
        x=np.asarray(x),
        y=np.asarray(y),
        inducing=given["inducing"],
        scales=np.exp(given["log_scales"]),
        variance=np.exp(given["log_variance"]),
        noise=np.exp(given["log_noise"]),
    )
    worker = subprocess.Popen(
        [python, str(Path(__file__).with_name("gpflow_worker.py")), str(data)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )

    def end() -> None:
        worker.kill()
        worker.wait()
        folder.cleanup()

    atexit.register(end)

    def evaluate() -> dict:
        assert worker.stdin is not None
        assert worker.stdout is not None
        worker.stdin.write("\n")
        worker.stdin.flush()
        return json.loads(worker.stdout.readline())

    return evaluate


def make_args(seed: int) -> tuple:
    """A smooth function of some features with noise, and inducing points drawn from the features."""
    rng = np.random.default_rng(seed)
    features = rng.standard_normal((ROWS, COLUMNS))
    target = np.sin(features.sum(-1)) + 0.1 * rng.standard_normal(ROWS)
    return split_table(np.column_stack([features, target]), seed, INDUCING)


REWRITTEN = Program(
    name="sgpr-rewritten",
    title=SGPR.title,
    fun=value_and_gradient,
    make_args=SGPR.make_args,
    warm_args=SGPR.warm_args,
    limit_bytes=SGPR.limit_bytes,
    target_ratio=1.0,
    x64=True,
    note=SGPR.note,
    rivals=(Rival("memline without rewriting", without_rewriting, 1 / 1.5),),
)

BESIDE_GPFLOW = Program(
    name="sgpr-gpflow",
    title="sparse GP bound, value and gradient, float64, 50 000 x 8, M = 500",
    fun=value_and_gradient,
    make_args=make_args,
    warm_args=warm_args,
    limit_bytes=448 * MIB,  # a quarter of what GPflow was seen to take
    target_ratio=1.0,
    x64=True,
    rivals=(Rival("GPflow", by_gpflow, 0.6),),
)
