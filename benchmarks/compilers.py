"""The two ways a benchmark program is compiled: plain `jax.jit` and `memline.jit`."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax

KINDS: tuple[str, ...] = ("plain", "memline")

HONEST_OPTIONS = {
    "xla_cpu_experimental_ynn_fusion_type": "",
    "xla_disable_hlo_passes": "dot-library-rewriter",
}
"""Without XLA:CPU's library fusions, which allocate workspaces that its account does not show."""


@dataclass(frozen=True)
class Built:
    """A compiled program and what is known of it."""

    call: Callable[..., Any]
    compile_seconds: float
    compiled_peak_bytes: int
    temp_bytes: int
    planning_seconds: float | None = None
    moves: tuple[str, ...] = ()


def build(kind: str, fun: Callable[..., Any], args: tuple, limit_bytes: int) -> Built:
    """Compile `fun` for `args` as plain `jax.jit` or as `memline.jit` under the limit."""
    if kind == "plain":
        return build_plain(fun, args)
    if kind == "memline":
        return build_memline(fun, args, limit_bytes)
    raise ValueError(f"{kind!r} is no way to compile a program; these are: {', '.join(KINDS)}")


def build_plain(fun: Callable[..., Any], args: tuple, options: dict | None = None) -> Built:
    """Compile with `jax.jit`, by default as a user would: without any options."""
    start = time.perf_counter()
    compiled = jax.jit(fun).lower(*args).compile(compiler_options=options)
    seconds = time.perf_counter() - start
    return Built(compiled, seconds, compiled_peak(compiled), compiled_temp(compiled))


def build_memline(fun: Callable[..., Any], args: tuple, limit_bytes: int) -> Built:
    """Plan and compile with `memline.jit`."""
    import memline

    compiled = memline.jit(fun, memory_limit=limit_bytes).lower(*args).compile()
    plan = compiled.plan
    return Built(
        compiled,
        compile_seconds=plan.compile_seconds,
        compiled_peak_bytes=compiled_peak(compiled),
        temp_bytes=compiled_temp(compiled),
        planning_seconds=plan.planning_seconds,
        moves=tuple(str(move) for move in plan.moves),
    )


def warm_up(kind: str, fun: Callable[..., Any], args: tuple, limit_bytes: int) -> None:
    """Run `fun` once on small inputs, so that the runtime has started its threads and libraries."""
    jax.block_until_ready(build(kind, fun, args, limit_bytes).call(*args))


def honest(fun: Callable[..., Any], args: tuple) -> Built:
    """Plain `jit` compiled without library fusions, for what XLA then accounts for."""
    try:
        return build_plain(fun, args, HONEST_OPTIONS)
    except Exception as error:
        # A backend or a version of XLA that does not know these options.
        if "option" not in str(error).lower():
            raise
        return build_plain(fun, args)


def compiled_peak(compiled: Any) -> int:
    """Arguments, outputs and temporaries by XLA's buffer assignment, aliased bytes once."""
    stats = compiled.memory_analysis()
    return (
        stats.argument_size_in_bytes + stats.output_size_in_bytes + stats.temp_size_in_bytes - stats.alias_size_in_bytes
    )


def compiled_temp(compiled: Any) -> int:
    """Temporaries alone, by XLA's buffer assignment."""
    return compiled.memory_analysis().temp_size_in_bytes
