"""The limit holds on the real machine: measured growth in a fresh process, one program for each family of rules."""

from __future__ import annotations

import jax
import numpy as np
import pytest

import memline
from tests.families import FAMILIES

MIB = 2**20
# Family, and a size at which the whole program's temporaries are tens of MiB.
SIZES = {
    "k-NN": 150_000,  # broadcast, elementwise, short reduction, top-k along a cut axis
    "kernel gradient": 2_501,  # dot products both ways
    "attention gradient": 2_049,  # softmax and its gradient
    "cross entropy gradient": 40_001,  # gather and scatter with batch axes
    "sparse GP gradient": 100_001,  # Cholesky and triangular solves
    "conv net gradient": 2_003,  # convolutions, pooling windows and their gradients
    "batch norm gradient": 80_001,  # stages
    "cumulative": 3_001,  # cumulative sums
    "sort": 2_501,  # sorts
    "argmax": 3_501,  # arg-max over the cut axis
    "gather and scatter": 150_001,  # embedding and its transpose
    "reshape": 30_001,  # merged axes
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SIZES)
def test_growth_stays_under_the_limit_less_the_arguments(name: str) -> None:
    family = FAMILIES[name]
    args = family.args(SIZES[name])
    held = sum(np.asarray(x).nbytes for x in jax.tree.leaves(args))
    whole = memline.jit(family.fun).lower(*args).plan
    assert whole.whole_peak_bytes is not None
    temporaries = whole.whole_peak_bytes - whole.argument_bytes - whole.output_bytes
    assert temporaries > 20 * MIB, "too small to show anything"
    limit_bytes = whole.argument_bytes + whole.output_bytes + max(temporaries // 4, 8 * MIB)
    compiled = memline.jit(family.fun, memory_limit=limit_bytes).lower(*args).compile()
    assert compiled.plan.moves
    room = limit_bytes - held
    assert compiled.measure(*args, repeats=0).peak_bytes <= 1.05 * room + 8 * MIB
