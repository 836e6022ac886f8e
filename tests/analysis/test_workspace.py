"""The planner's figures for scratch are those of the checker, which reads the compiled program instead."""

import jax
import jax.numpy as jnp
import pytest
from jax import lax

from memline.analysis.workspace import scratch_bytes
from memline.ir.trace import from_jaxpr
from memline.verify.hidden import hidden_bytes

MIB = 2**20
f32, i32 = jnp.float32, jnp.int32


def spec(*shape, dtype=f32):
    return jax.ShapeDtypeStruct(shape, dtype)


def convolve(x, w, **how):
    return lax.conv_general_dilated(x, w, **how, dimension_numbers=("NHWC", "HWIO", "NHWC"))


PROGRAMS = {
    "sort": (jnp.sort, spec(1 << 20)),
    "sort of integers": (jnp.sort, spec(1 << 20, dtype=i32)),
    "sort of rows": (lambda x: jnp.sort(x, axis=1), spec(8, 1 << 18)),
    "argsort": (jnp.argsort, spec(1 << 20)),
    "unstable sort": (lambda x: lax.sort(x, is_stable=False), spec(1 << 20)),
    "top-k": (lambda x: lax.top_k(x, 3), spec(4, 1 << 20)),
    "top-k of integers": (lambda x: lax.top_k(x, 3), spec(4, 1 << 20, dtype=i32)),
    "product": (lambda x, y: x @ y, spec(512, 1024), spec(1024, 2048)),
    "transposed product": (
        lambda x, y: lax.dot_general(x, y, (((0,), (0,)), ((), ()))),
        spec(1024, 512),
        spec(1024, 2048),
    ),
    "batch of products": (lambda x, y: x @ y, spec(16, 64, 512), spec(16, 512, 64)),
    "Fourier transform": (jnp.fft.fft, spec(1 << 20, dtype=jnp.complex64)),
    "Fourier transform of prime length": (jnp.fft.fft, spec(1048573, dtype=jnp.complex64)),
    "grouped convolution": (
        lambda x, w: convolve(x, w, window_strides=(1, 1), padding="SAME", feature_group_count=16),
        spec(16, 64, 64, 16),
        spec(3, 3, 1, 16),
    ),
    "dilated convolution": (
        lambda x, w: convolve(x, w, window_strides=(1, 1), padding=((1, 2), (1, 2)), lhs_dilation=(2, 2)),
        spec(8, 32, 32, 16),
        spec(3, 3, 16, 16),
    ),
    "triangular solve": (
        lambda a, b: lax.linalg.triangular_solve(a, b, left_side=True, lower=True),
        spec(512, 512),
        spec(512, 8192),
    ),
    "eigenvectors": (lambda x: lax.linalg.eigh(x, symmetrize_input=False), spec(1024, 1024)),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_planner_and_checker_agree(name):
    program, *args = PROGRAMS[name]
    traced = jax.jit(program).trace(*args)
    planned = max(scratch_bytes(node) for node in from_jaxpr(traced.jaxpr, platform="cpu").nodes)
    options: dict[str, str | bool] = {"xla_cpu_experimental_ynn_fusion_type": "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT"}
    found = hidden_bytes(traced.lower().compile(compiler_options=options))
    assert abs(planned - found) <= MIB + 0.1 * found
