"""Linear algebra as it stands in a textbook: what is built whole is much larger than what is asked."""

import jax
import jax.numpy as jnp
import numpy as np

from benchmarks.programs.program import MIB, Program, normal

SIZE = 4000
CLASSES = 4000
FACTOR = 64
"""Two square matrices of this size have a Kronecker product with 4096 rows."""


def chain(a: jax.Array, b: jax.Array, v: jax.Array) -> jax.Array:
    """Two matrices and a vector, bracketed as Python does it: the matrices first."""
    return a @ b @ v


def trace(a: jax.Array, b: jax.Array) -> jax.Array:
    """The trace of a product, of which only the diagonal counts."""
    return jnp.trace(a @ b)


def diagonal(a: jax.Array, b: jax.Array, c: jax.Array) -> jax.Array:
    """The diagonal of a product of three."""
    return jnp.diag(a @ b @ c)


def kron(a: jax.Array, b: jax.Array, v: jax.Array) -> jax.Array:
    """A Kronecker product times a vector."""
    return jnp.kron(a, b) @ v


def embedding(tokens: jax.Array, table: jax.Array) -> jax.Array:
    """Rows of a table, picked by a product with one-hot rows."""
    return jax.nn.one_hot(tokens, table.shape[0], dtype=table.dtype) @ table


def chain_args(seed: int, size: int) -> tuple:
    """Two matrices and a vector, scaled so that results are near 1."""
    rng = np.random.default_rng(seed)
    scale = size**-0.5
    return normal(rng, size, size, scale=scale), normal(rng, size, size, scale=scale), normal(rng, size)


def matrices(seed: int, size: int, count: int) -> tuple:
    """Some square matrices."""
    rng = np.random.default_rng(seed)
    return tuple(normal(rng, size, size, scale=size**-0.5) for _ in range(count))


def kron_args(seed: int, size: int) -> tuple:
    """Two square matrices, and a vector that their Kronecker product takes."""
    rng = np.random.default_rng(seed)
    return normal(rng, size, size), normal(rng, size, size), normal(rng, size * size)


def embedding_args(seed: int, tokens: int, classes: int, width: int) -> tuple:
    """Numbers of rows, and a table."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, classes, tokens, dtype=np.int32), normal(rng, classes, width)


MATRIX_CHAIN = Program(
    name="matrix-chain",
    title="A @ B @ v, n = 8 000",
    fun=chain,
    make_args=lambda seed: chain_args(seed, 8000),
    warm_args=lambda: chain_args(0, 70),
    limit_bytes=8 * MIB,
    limit_over_arguments=True,
    target_ratio=1 / 50,
    most_temp_bytes=MIB,
)

TRACE = Program(
    name="trace",
    title="trace(A @ B), n = 4 000",
    fun=trace,
    make_args=lambda seed: matrices(seed, SIZE, 2),
    warm_args=lambda: matrices(0, 70, 2),
    limit_bytes=MIB // 2,
    limit_over_arguments=True,
    target_ratio=1.0,
    most_temp_share=0.01,
)

DIAGONAL = Program(
    name="diagonal",
    title="diag(A @ B @ C), n = 4 000",
    fun=diagonal,
    make_args=lambda seed: matrices(seed, SIZE, 3),
    warm_args=lambda: matrices(0, 70, 3),
    limit_bytes=13 * MIB // 4,  # 2 MiB of it for what a product takes besides its result
    limit_over_arguments=True,
    target_ratio=1.0,
    most_temp_share=0.01,
)

KRON = Program(
    name="kron",
    title="kron(A, B) @ v, n = 4 096",
    fun=kron,
    make_args=lambda seed: kron_args(seed, FACTOR),
    warm_args=lambda: kron_args(0, 9),
    limit_bytes=4 * MIB,
    limit_over_arguments=True,
    target_ratio=1.0,
    most_temp_share=0.01,
)

ONE_HOT = Program(
    name="one-hot",
    title="one_hot(tokens) @ table, 4 000 tokens, 4 000 x 64",
    fun=embedding,
    make_args=lambda seed: embedding_args(seed, SIZE, CLASSES, 64),
    warm_args=lambda: embedding_args(0, 50, 70, 4),
    limit_bytes=2 * MIB,
    limit_over_arguments=True,
    target_ratio=1.0,
    most_temp_share=0.01,
)
