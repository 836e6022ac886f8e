"""Loop graphs made by hand, for the tests of the checker, the text and the evaluation."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np

from memline import compat
from memline.ir.build import Builder
from memline.ir.graph import Graph, Loop, Slice, Stack, Value


def _aval(*shape: int, dtype: type = np.float32):
    return compat.shaped(shape, np.dtype(dtype))


def scaled_sums(length: int, chunk: int) -> Graph:
    """A loop with everything: two slices (one in units of 2), a whole value, a carry and two stacks.

    Inputs are x [length, 3], y [2, 2 * length], w [3] and an initial sum [3]. Outputs are the sum plus
    the rows of x * w, those rows each plus its number, laid along axis 1, and y doubled along axis 0.
    """
    x, y = Value(_aval(length, 3), "%x"), Value(_aval(2, 2 * length), "%y")
    w, s = Value(_aval(3), "%w"), Value(_aval(3), "%s")
    outputs = (
        Value(_aval(3), "%sum"),
        Value(_aval(3, length), "%rows"),
        Value(_aval(2 * length, 2), "%twice"),
    )

    def body(steps: int, prefix: str) -> Graph:
        builder = Builder(prefix)
        i = builder.value(_aval(dtype=np.int32))
        xs, ys = builder.value(_aval(steps, 3)), builder.value(_aval(2, 2 * steps))
        ws, acc = builder.value(w.aval), builder.value(s.aval)
        [rows] = builder.call(lambda x, w: x * w, xs, ws)
        [total] = builder.call(lambda a, r: a + r.sum(0), acc, rows)
        [numbered] = builder.call(lambda i, r: (r + (i + jnp.arange(steps))[:, None]).T, i, rows)
        [twice] = builder.call(lambda y: 2 * y.T, ys)
        return Graph((i, xs, ys, ws, acc), tuple(builder.nodes), (total, numbered, twice))

    rest = length % chunk
    loop = Loop(
        length=length,
        chunk=chunk,
        sliced=(Slice(x, 0, 1), Slice(y, 1, 2)),
        whole=(w,),
        carried=(s,),
        stacked=(Stack(1, 1), Stack(0, 2)),
        outputs=outputs,
        body=body(chunk, "%b"),
        tail=body(rest, "%t") if rest else None,
    )
    return Graph((x, y, w, s), (loop,), outputs)
