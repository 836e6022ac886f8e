"""Writes convolutions over images smaller than their kernels as products of patches.

XLA swaps the operands of a convolution whose kernel has more places than the image, as in the last layers of a deep
network of small images: the image is then the kernel, turned around, and XLA:CPU has no library for such a kernel. A
kernel of 3 x 3 x 256 x 256 over 8 images of 2 x 2 takes 10 ms as it stands, and 0.3 ms as a product of the images'
patches and the kernel. A patch holds what one element of the result is made of, so that all of them take as many times
the memory of the result as the kernel has places; of images so small that is little, and it is split with the images.

Results differ from the convolution's by the order of its sums.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
from jax import lax

from memline.ir.build import with_replaced
from memline.ir.graph import Graph, Op
from memline.ir.scopes import map_scopes


def patched_convolutions(graph: Graph) -> Graph:
    """Returns the graph, and all that loops and branches in it run, with such convolutions as products.

    Args:
      graph: a graph whose convolutions are in canonical order: batch, space, feature; see `passes.canonical`.

    >>> from memline.compat import shaped
    >>> from memline.ir.trace import trace
    >>> def convolve(x, k):
    ...     return lax.conv_general_dilated(x, k, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))
    >>> def kinds(size):
    ...     graph = trace(convolve, shaped((8, size, size, 16), jnp.float32), shaped((3, 3, 16, 4), jnp.float32))
    ...     return [node.kind for node in patched_convolutions(graph).nodes][-2:]
    >>> kinds(2), kinds(4)
    (['reshape', 'dot_general'], ['conv_general_dilated'])
    """
    memo: dict[Any, Any] = {}

    def patched(scope: Graph, _: bool) -> Graph:
        return with_replaced(scope, lambda op: _product(op) if _is_swapped(op) else None, "p", memo)

    return map_scopes(graph, patched)


def _is_swapped(op: Op) -> bool:
    """Whether XLA swaps the operands of a convolution: its kernel has more places than the image, dilated or not."""
    if op.kind != "conv_general_dilated" or not jnp.issubdtype(op.outputs[0].dtype, jnp.floating):
        return False
    params = op.params
    if (
        params["feature_group_count"] != 1
        or params["batch_group_count"] != 1
        or op.inputs[0].dtype != op.inputs[1].dtype
    ):
        return False
    image, kernel = op.inputs[0].shape[1:-1], op.inputs[1].shape[:-2]
    return 1 < math.prod(image) < math.prod(kernel) and all(v.size_bytes for v in (*op.inputs, *op.outputs))


def _product(op: Op) -> tuple[Any, Callable[..., Any]]:
    """Returns the function that multiplies the patches of a convolution's images and its kernel, and a key for it."""
    kernel, result = op.inputs[1].shape, op.outputs[0].shape
    names = ("window_strides", "padding", "lhs_dilation", "rhs_dilation", "precision", "preferred_element_type")
    strides, padding, spread, apart, precision, wanted = (op.params[name] for name in names)

    def product(x: Any, k: Any) -> Any:
        edges = [(low, high, step - 1) for (low, high), step in zip(padding, spread, strict=True)]
        padded = lax.pad(x, jnp.zeros((), x.dtype), [(0, 0, 0), *edges, (0, 0, 0)])
        patches = []
        for place in itertools.product(*map(range, kernel[:-2])):
            first = [p * step for p, step in zip(place, apart, strict=True)]
            last = [f + (n - 1) * s + 1 for f, n, s in zip(first, result[1:-1], strides, strict=True)]
            ends = (x.shape[0], *last, x.shape[-1])
            patches.append(lax.slice(padded, (0, *first, 0), ends, (1, *strides, 1)))
        joined = lax.concatenate(patches, x.ndim - 1)
        flat = lax.reshape(k, (math.prod(kernel[:-1]), kernel[-1]))
        numbers = (((x.ndim - 1,), (0,)), ((), ()))
        return lax.dot_general(joined, flat, numbers, precision=precision, preferred_element_type=wanted)

    key = (patched_convolutions, strides, padding, spread, apart, str(precision), str(wanted), result)
    return key, product
