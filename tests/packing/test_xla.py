"""XLA's buffer assignment as a problem: XLA's own answer passes the checker, and what it merges is one buffer."""

from typing import Any

import jax
import jax.numpy as jnp
import pytest

from memline.errors import PackingError
from memline.packing import Gap, Packing, check, from_jax, minimize, xla_assignment
from memline.packing.xla import read_assignment
from tests.packing.native import needs_solver

ASSIGNMENT = """BufferAssignment:
allocation 0: size 128, parameter 0, shape |f32[32]| at ShapeIndex {}:
 value: <0 x @0> (size=128,offset=0): f32[32]{0}
allocation 1: size 320, preallocated-temp:
 value: <1 a @0> (size=128,offset=0): f32[32]{0}
 value: <2 b @0> (size=128,offset=0): f32[32]{0}
 value: <3 c @0> (size=64,offset=256): f32[16]{0}
 value: <4 d @0> (size=64,offset=256): f32[16]{0}
 value: <5 while{0} (phi) @0> (size=64,offset=128): f32[16]{0}
 value: <6 tuple{0} @0> (size=64,offset=128): f32[16]{0}
"""
RANGES = """HloLiveRange (max 20):
  BufferLiveRange:
    x{}:0-20
    a{}:1-4
    b{}:4-6
    c{}:2-3
    d{}:5-9
    while{0}:7-8
    tuple{0}:2-4
"""


def test_values_become_buffers():
    found = read_assignment(ASSIGNMENT, RANGES)
    rows = [(b.id, b.lower, b.upper, b.size, b.alignment, b.gaps) for b in found.problem.buffers]
    assert rows == [
        ("a{}", 1, 7, 128, 64, ()),  # b is written over a
        ("c{}", 2, 4, 64, 64, ()),
        ("d{}", 5, 10, 64, 64, ()),
        ("tuple{0}", 2, 9, 64, 64, (Gap(5, 7),)),  # what goes round a loop stays in its place
    ]
    assert (found.packing, found.temp_bytes) == (Packing((0, 256, 256, 128)), 320)
    assert check(found.problem.with_capacity(320), found.packing) == ()


def test_a_dump_that_is_not_whole():
    with pytest.raises(PackingError, match="no live range"):
        read_assignment(ASSIGNMENT, "")
    assert read_assignment("", "").problem.buffers == ()


def network(weights, x):
    for w in weights:
        x = jnp.tanh(x @ w)
    return jax.lax.fori_loop(0, 3, lambda _, y: jnp.sin(y @ weights[0]) + y.sum(0), x).sum()


ARGS = ([jnp.ones((32, 32))] * 4, jnp.ones((16, 32)))


@pytest.mark.parametrize("fun", [network, jax.jit(jax.grad(network))])
def test_xla_itself_passes_the_checker(fun):
    found = xla_assignment(fun, *ARGS)
    account: Any = jax.jit(fun).lower(*ARGS).compile().memory_analysis()
    assert found.temp_bytes == account.temp_size_in_bytes
    assert check(found.problem.with_capacity(found.temp_bytes), found.packing) == ()
    assert 0 < found.problem.peak_load <= found.temp_bytes


@needs_solver
def test_a_program_is_packed_no_worse_than_xla_does():
    problem = from_jax(jax.grad(network), *ARGS)
    best = minimize(problem, time_limit=5)
    assert check(problem, best.packing) == ()
    assert best.arena <= xla_assignment(jax.grad(network), *ARGS).temp_bytes
