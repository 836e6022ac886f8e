"""The measured peak: how much memory a program really takes, found by running it in a fresh process.

The peak is the growth of the process's peak resident memory over the state just before the call, with arguments
resident, the program compiled and the runtime warm. The run that is measured is the first at its full size, so
every page it touches is new and counts.

The process is a new Python that gets the compiled executable itself (see `memline.verify.transport`): it neither
imports the user's code nor compiles again.
"""

import dataclasses
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax

from memline import compat
from memline.errors import ArgumentError, MeasureError
from memline.units import format_bytes
from memline.verify import transport

TIMEOUT_S = 600.0


@dataclasses.dataclass(frozen=True)
class Measured:
    """What a fresh process found. Prints as a line.

    Attributes:
        peak_bytes: growth of peak memory during the first run, over `baseline_bytes`: temporaries and results.
        baseline_bytes: memory held just before it, arguments included.
        first_s: seconds of that first run.
        times_s: seconds of each later run.
        method: how memory was read: ``"high-water mark"``, ``"sampled"`` or ``"allocator"``.

    Example:
        >>> print(Measured(peak_bytes=2**20, baseline_bytes=2**28, first_s=0.5, times_s=(0.2, 0.4, 0.3)))
        measured peak 1.00 MiB, median 0.300 s of 3 runs (high-water mark)
    """

    peak_bytes: int
    baseline_bytes: int
    first_s: float
    times_s: tuple[float, ...] = ()
    method: str = "high-water mark"

    @property
    def median_s(self) -> float:
        """Median seconds of the later runs, or of the first when it was the only one."""
        return statistics.median(self.times_s or (self.first_s,))

    def __str__(self) -> str:
        runs = f"{len(self.times_s)} runs" if self.times_s else "the first run"
        return f"measured peak {format_bytes(self.peak_bytes)}, median {self.median_s:.3f} s of {runs} ({self.method})"


def measure(
    fun: Callable[..., Any],
    *args: Any,
    repeats: int = 3,
    warm: tuple[Any, ...] | None = None,
    compiler_options: Mapping[str, Any] | None = None,
    jit_options: Mapping[str, Any] | None = None,
    timeout_s: float = TIMEOUT_S,
) -> Measured:
    """Compile a function with `jax.jit` and measure it in a fresh process.

    Args:
        fun: the function, or one that `jax.jit` returned.
        *args: its arguments: arrays, or `jax.ShapeDtypeStruct`s, for which the fresh process makes up values.
        repeats: further runs, for the clock.
        warm: arguments of a smaller size; `fun` runs on them first, as a warm-up. Without them, programs that
            have nothing to do with `fun` warm the runtime.
        compiler_options: for the compiler, as in `jax.stages.Lowered.compile`.
        jit_options: for `jax.jit`, such as ``donate_argnums``. Bind static arguments with `functools.partial`.
        timeout_s: seconds after which the process is given up.

    Returns:
        What was measured.

    Raises:
        ArgumentError: an argument is no array, or options are given for a function that is already jitted.
        MeasureError: the process crashed, was killed or took too long, or this system cannot measure.

    Example:
        >>> import jax.numpy as jnp
        >>> measured = measure(lambda x: jnp.sort(x), jax.ShapeDtypeStruct((2**22,), jnp.float32), repeats=1)
        >>> measured.peak_bytes >= 2**24  # the result alone is 16 MiB
        True
    """
    jitted: Any = fun
    if not (hasattr(fun, "lower") and hasattr(fun, "trace")):
        jitted = compat.plain_jit(fun, **(jit_options or {}))
    elif jit_options:
        raise ArgumentError(
            f"the function is jitted already, so jit_options={dict(jit_options)} cannot apply. Give them to jax.jit."
        )

    def compile_for(call_args: tuple[Any, ...]) -> jax.stages.Compiled:
        return compat.compiled_afresh(jitted.lower(*call_args), dict(compiler_options) if compiler_options else None)

    return measure_compiled(
        compile_for(args),
        args,
        repeats=repeats,
        warm=None if warm is None else (compile_for(warm), warm),
        timeout_s=timeout_s,
    )


def measure_compiled(
    compiled: jax.stages.Compiled,
    args: tuple[Any, ...],
    kwargs: Mapping[str, Any] | None = None,
    *,
    repeats: int = 3,
    warm: tuple[jax.stages.Compiled, tuple[Any, ...]] | None = None,
    timeout_s: float = TIMEOUT_S,
) -> Measured:
    """Measure a program that is already compiled, in a fresh process.

    Args:
        compiled: what ``jax.jit(fun).lower(...).compile()`` returns.
        args: its positional arguments without the static ones: arrays, or `jax.ShapeDtypeStruct`s.
        kwargs: its keyword arguments.
        repeats: further runs, for the clock.
        warm: a smaller program and its arguments, to run first as a warm-up.
        timeout_s: seconds after which the process is given up.

    Returns:
        What was measured.

    Raises:
        ArgumentError: the arguments are not those that the program was compiled for.
        MeasureError: the program cannot be moved; the process crashed, was killed or took too long; or this
            system cannot measure.

    Example:
        >>> import jax.numpy as jnp
        >>> x = jnp.ones(2**20)
        >>> compiled = jax.jit(jnp.cumsum).lower(x).compile()
        >>> measure_compiled(compiled, (x,), repeats=2).times_s  # doctest: +ELLIPSIS
        (..., ...)
    """
    if not isinstance(compiled, jax.stages.Compiled):
        raise ArgumentError(f"measure_compiled takes a jax.stages.Compiled, not a {type(compiled).__name__}.")
    if repeats < 0:
        raise ArgumentError(f"repeats is {repeats}; it is a number of runs, zero or more.")
    with tempfile.TemporaryDirectory(prefix="memline-measure-") as name:
        folder = Path(name)
        try:
            transport.write_program(folder, "main", compiled, tuple(args), dict(kwargs or {}))
            if warm is not None:
                transport.write_program(folder, "warm", warm[0], tuple(warm[1]), {})
        except OSError as error:
            raise MeasureError(
                f"the arguments could not be written to {folder}: {error}. Set TMPDIR to a folder with more room."
            ) from error
        (folder / "request.json").write_text(json.dumps({"repeats": repeats, "warm": warm is not None}))
        return _run_child(folder, timeout_s)


def _run_child(folder: Path, timeout_s: float) -> Measured:
    # -P: a file in the current folder must not hide a module of the same name from the fresh process.
    command = [sys.executable, "-P", "-m", "memline.verify.child", str(folder)]
    environment = _child_environment(transport.read_description(folder, "main"))
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=timeout_s, check=False)
    except subprocess.TimeoutExpired:
        raise MeasureError(
            f"the fresh process was stopped after {timeout_s:g} s without a result. "
            "Raise timeout_s, or measure a smaller program."
        ) from None
    result = folder / "result.json"
    if done.returncode == 0 and result.exists():
        fields = json.loads(result.read_text())
        return Measured(**{**fields, "times_s": tuple(fields["times_s"])})
    raise MeasureError(_explain_failure(done.returncode, done.stderr))


def _child_environment(program: transport.Program) -> dict[str, str]:
    environment = dict(os.environ)
    # The child must find this memline, wherever this process got it from.
    roots = [str(Path(__file__).parents[2]), environment.get("PYTHONPATH", "")]
    environment["PYTHONPATH"] = os.pathsep.join(root for root in roots if root)
    # An accelerator's allocator takes most of the device at start, and this process may hold it already.
    environment["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"
    if program.platform == "cpu":
        environment["JAX_PLATFORMS"] = "cpu"
        # The flag, where it is set, is inherited, and JAX refuses to be told twice.
        if "xla_force_host_platform_device_count" not in environment.get("XLA_FLAGS", ""):
            environment["JAX_NUM_CPU_DEVICES"] = str(program.n_devices)
    return environment


def _explain_failure(returncode: int, stderr: str) -> str:
    lines = [line for line in stderr.strip().splitlines() if line.strip()]
    last_words = "\n".join(lines[-8:])
    if returncode == -signal.SIGKILL:
        reason = "was killed (SIGKILL), most often because the system ran out of memory. Measure on a larger machine"
    elif returncode < 0:
        reason = f"crashed with {signal.Signals(-returncode).name}"
    elif "NOT_FOUND: Function" in stderr:
        reason = (
            "has no code for the program, which XLA:CPU loses when it saves one that came from JAX's compilation "
            "cache on disk. Compile it without jax_compilation_cache_dir, or let memline.verify.measured.measure do it"
        )
    elif "RESOURCE_EXHAUSTED" in stderr or "MemoryError" in stderr:
        reason = "ran out of memory. Measure on a larger machine or device, or a smaller program"
    else:
        reason = f"failed with exit status {returncode}"
    return f"the fresh process that measures {reason}." + (f" Its last words:\n{last_words}" if last_words else "")
