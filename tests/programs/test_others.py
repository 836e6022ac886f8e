"""Other people's programs, small: inside a limit that plain `jax.jit` exceeds four times over, with its results."""

from __future__ import annotations

import importlib
import warnings
from typing import Any

import jax
import jax.numpy as jnp
import pytest

import memline
from benchmarks.agreement import difference
from benchmarks.compilers import HONEST_OPTIONS
from benchmarks.others import OTHERS

TRANSFORMER = {"layers": 1, "width": 32, "heads": 2, "tokens": 32, "scanned": False}
CASES: dict[str, tuple[str, dict[str, Any], tuple[int, ...]]] = {
    "equinox": ("equinox_transformer", TRANSFORMER, (32,)),
    "flax": ("nnx_transformer", TRANSFORMER, (32,)),
    "haiku": ("haiku_resnet", {"pixels": 32, "channels": (8, 16, 16, 16), "blocks": (1, 1, 1, 1)}, (64,)),
    "gpjax": ("gpjax_sparse", {"inducing": 40}, (4_000,)),
    "ott": ("ott_sinkhorn", {"iterations": 5}, (600,)),
    "numpyro": ("numpyro_mixture", {"components": 16}, (5_000,)),
    "blackjax": ("blackjax_chains", {"transitions": 2, "leapfrogs": 2}, (256, 500)),
    "diffrax": ("diffrax_gradient", {"width": 16, "steps": 6}, (1024,)),
    "jraph": ("jraph_messages", {"width": 16}, (500, 20_000)),
}
"""By package: the module of `benchmarks.others`, the sizes it is built for, and those of its arguments."""
WIDE = frozenset(["gpjax", "blackjax"])
"""Whose programs run in float64: positive definite matrices, and chains that part where a step is accepted or not."""


def built(package: str) -> tuple[Any, tuple[Any, ...]]:
    """The program and its arguments; what the packages warn about is their own affair."""
    module, sizes, counts = CASES[package]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pytest.importorskip(package, reason=f"{package} is not installed; pip install memline[programs]")
        fun, make_args = importlib.import_module(f"benchmarks.others.{module}").build(**sizes)
        return fun, jax.tree.map(jnp.asarray, make_args(0, *counts))


@pytest.mark.parametrize("package", CASES)
@pytest.mark.filterwarnings("ignore:::(?!memline)")
def test_a_quarter_of_the_memory_gives_the_same_results(package):
    with jax.enable_x64(package in WIDE):
        fun, args = built(package)
        options: Any = HONEST_OPTIONS
        plain = jax.jit(fun).lower(*args).compile(options)
        account: Any = plain.memory_analysis()
        fixed_bytes = account.argument_size_in_bytes + account.output_size_in_bytes
        limited = memline.jit(fun, memory_limit=fixed_bytes + account.temp_size_in_bytes // 4).lower(*args).compile()
        assert limited.plan.moves
        found = difference(jax.device_get(plain(*args)), jax.device_get(limited(*args)))
        assert found.within(1e-8 if package in WIDE else 2e-3), found


def test_every_program_of_the_suite_has_its_module():
    assert {reference.split(":")[0] for reference in OTHERS.values()} >= {
        f"benchmarks.others.{module}" for module, *_ in CASES.values()
    }
