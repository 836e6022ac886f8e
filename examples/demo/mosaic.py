"""k nearest neighbours of image patches: one photograph laid as a mosaic of patches of another.

The distances of 4 240 patches to 66 570 others make a matrix of 1.1 GB; wanted are four numbers a row.
Pixels are bytes, so float32 holds every distance exactly, and results must be equal to the bit.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import inf

import jax
import numpy as np
from jax import lax

from benchmarks.programs.program import MIB, Program
from examples.demo.photograph import assemble, patches, photograph

SIZE = 8
NEIGHBOURS = 4
SOURCE, SUBJECT = "china.jpg", "flower.jpg"


def nearest(queries: jax.Array, candidates: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Squared distances and indices of the nearest candidates of each query, nearest first."""
    distances = (queries**2).sum(-1)[:, None] - 2 * queries @ candidates.T + (candidates**2).sum(-1)
    negated, indices = lax.top_k(-distances, NEIGHBOURS)
    return -negated, indices


def subject(shrink: int = 1) -> np.ndarray:
    """The photograph to be laid, cut to a whole number of patches."""
    image = photograph(SUBJECT, shrink)
    return image[: image.shape[0] // SIZE * SIZE, : image.shape[1] // SIZE * SIZE]


def make_args(shrink: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """The subject's patches side by side, and overlapping patches of the source."""
    return patches(subject(shrink), SIZE, SIZE), patches(photograph(SOURCE, shrink), SIZE, 2)


PROGRAM = Program(
    name="patch k-NN",
    title="4 nearest of 66 570 colour patches of 8 x 8 for each of 4 240",
    fun=nearest,
    make_args=lambda seed: make_args(),
    warm_args=lambda: make_args(shrink=16),
    limit_bytes=128 * MIB,
    target_ratio=inf,  # the demo shows the times and judges none
    tolerance=0.0,
    tied=((0, 1),),
)
QUICK = replace(PROGRAM, make_args=lambda seed: make_args(shrink=6))


@dataclass(frozen=True)
class Mosaic:
    """A photograph and its mosaic."""

    original: np.ndarray
    laid: np.ndarray


def lay(jit: Callable[[Callable], Callable], quick: bool, say: Callable[[str], None]) -> Mosaic:
    """Find the nearest patches and lay the nearest of each."""
    queries, candidates = (QUICK if quick else PROGRAM).make_args(0)
    _, indices = jit(nearest)(queries, candidates)
    image = subject(6 if quick else 1)
    say(f"patch k-NN: laid {len(queries)} patches")
    return Mosaic(image, assemble(candidates[np.asarray(indices)[:, 0]], SIZE, image.shape[1]).astype(np.uint8))
