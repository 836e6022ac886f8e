"""Ways to call the functions of `jax.lax` that drawing from their signatures does not find."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

from tests.sweep.ways import Table, by, unpacked, way

_AXIS = "lanes"


def _mapped(call, *specs):
    """A call inside a `vmap` that names its axis."""
    return by(lambda f, *xs: jax.vmap(lambda *ys: call(f, *ys), axis_name=_AXIS)(*xs), *specs)


def _on_a_mesh(call, *specs):
    """A call inside a `shard_map`, over a mesh of one device."""

    def mapped(f, *xs):
        mesh = jax.make_mesh((1,), (_AXIS,), axis_types=(AxisType.Auto,), devices=jax.devices()[:1])
        return jax.shard_map(lambda *ys: call(f, *ys), mesh=mesh, in_specs=P(), out_specs=P(_AXIS))(*xs)

    return by(mapped, *specs)


_COMMUNICATED = (_mapped(lambda f, x: f(x, _AXIS), "x n d"),)
_CUMULATIVE = (way("x n d"), way("x n d", axis=1, reverse=True))
_FLAGS = (way("b n d", axes=(0,)), way("j n d", axes=(1,)))
_FOLDED = (way("x n d", axes=(0,)), way("r n m d", axes=(0, 2)))
_BITS = (way("j n d", "j n d"),)
_SHIFT = (way("B n d", "B n d"), way("j n d", "i n d"))
_POSITIVE = (way("+ n d", "+ n d"),)
_GATHER = lax.GatherDimensionNumbers(offset_dims=(1,), collapsed_slice_dims=(0,), start_index_map=(0,))
_SCATTER = lax.ScatterDimensionNumbers(
    update_window_dims=(1,), inserted_window_dims=(0,), scatter_dims_to_operand_dims=(0,)
)
_SCATTERED = (way("x n d", "i m 1", "x m d", dimension_numbers=_SCATTER),)
_NHWC = ("NHWC", "HWIO", "NHWC")
_RAGGED = lax.RaggedDotDimensionNumbers(
    dot_dimension_numbers=(((1,), (1,)), ((), ())), lhs_ragged_dimensions=[0], rhs_group_dimensions=[0]
)


def _matvec(a):
    return lambda v: a @ v


LAX: Table = {
    "lax.acosh": (way("w n d"),),
    "lax.asin": (way("v n d"),),
    "lax.acos": (way("v n d"),),
    "lax.atanh": (way("v n d"),),
    "lax.after_all": (by(lambda f, x: (f(lax.create_token(x)), x * 2)[1], "x n d"),),
    "lax.all_gather": (*_COMMUNICATED, _mapped(lambda f, x: f(x, _AXIS, tiled=True), "x n d")),
    "lax.all_to_all": (_mapped(lambda f, x: f(x, _AXIS, 0, 0), "x n n"),),
    "lax.approx_max_k": (way("x n d", k=2),),
    "lax.approx_min_k": (way("x n d", k=2),),
    "lax.argmax": (way("r n d", axis=0, index_dtype=np.int32), way("r n d", axis=1, index_dtype=np.uint8)),
    "lax.argmin": (way("r n d", axis=0, index_dtype=np.int32), way("r n d", axis=1, index_dtype=np.uint8)),
    "lax.associative_scan": (
        by(lambda f, x: f(jnp.add, x), "x n d"),
        by(lambda f, x: f(jnp.maximum, x, axis=1, reverse=True), "x n d"),
    ),
    "lax.axis_index": (_mapped(lambda f, x: x * f(_AXIS), "x n d"),),
    "lax.axis_size": (_mapped(lambda f, x: x * f(_AXIS), "x n d"),),
    "lax.batch_matmul": (way("x d n m", "x d m e"),),
    "lax.betainc": (way("+ n d", "+ n d", "u n d"),),
    "lax.bitcast_convert_type": (way("x n d", new_dtype=np.int32), way("x n d", new_dtype=np.uint8)),
    "lax.bitwise_and": _BITS,
    "lax.bitwise_or": _BITS,
    "lax.bitwise_xor": _BITS,
    "lax.broadcast": (way("x n d", sizes=(3,)),),
    "lax.broadcast_in_dim": (by(lambda f, x: f(x, (x.shape[0], 4, x.shape[1]), (0, 2)), "x n d"),),
    "lax.broadcast_like": (way("x n d", "x n d"),),
    "lax.broadcast_shapes": (by(lambda f: f((3, 1), (3, 4))),),
    "lax.broadcast_to_rank": (way("x n d", rank=4),),
    "lax.broadcasted_iota": (by(lambda f: f(jnp.float32, (3, 4), 1)),),
    "lax.clamp": (way("x", "x n d", "w"), way("v n d", "x n d", "w n d")),
    "lax.collapse": (way("x n m d", start_dimension=1, stop_dimension=3),),
    "lax.composite": (by(lambda f, x: f(lambda x: jnp.sin(x) * 2, "test.sine")(x), "x n d"),),
    "lax.concatenate": (unpacked("x n d", "x m d", dimension=0), unpacked("x n d", "x n e", dimension=1)),
    "lax.cond": (by(lambda f, p, x: f(p, jnp.sin, lambda v: v * 2, x), "b", "x n d"),),
    "lax.conv": (way("x 2 3 n d", "x 4 3 2 2", window_strides=(1, 1), padding="SAME"),),
    "lax.conv_dimension_numbers": (by(lambda f: f((1, 5, 5, 2), (3, 3, 2, 4), _NHWC) and 0),),
    "lax.conv_general_dilated": (
        way("x 2 3 n m", "x 4 3 2 2", window_strides=(1, 2), padding="SAME"),
        way(
            "x 2 n m 4",
            "x 2 2 2 6",
            window_strides=(1, 1),
            padding="VALID",
            dimension_numbers=_NHWC,
            feature_group_count=2,
        ),
        way(
            "x 4 n 3",
            "x 2 3 4",
            window_strides=(1,),
            padding=[(1, 2)],
            lhs_dilation=(2,),
            rhs_dilation=(2,),
            dimension_numbers=("NWC", "WIO", "NWC"),
            batch_group_count=2,
        ),
    ),
    "lax.conv_general_dilated_local": (
        way("x 2 3 7 6", "x 4 12 6 5", window_strides=(1, 1), padding="VALID", filter_shape=(2, 2)),
    ),
    "lax.conv_general_dilated_patches": (way("x 2 3 n m", filter_shape=(2, 2), window_strides=(1, 1), padding="SAME"),),
    "lax.conv_general_permutations": (by(lambda f: f(_NHWC)),),
    "lax.conv_general_shape_tuple": (
        by(lambda f: f((2, 3, 6, 6), (4, 3, 2, 2), (1, 1), "SAME", ("NCHW", "OIHW", "NCHW"))),
    ),
    "lax.conv_shape_tuple": (by(lambda f: f((2, 3, 6, 6), (4, 3, 2, 2), (1, 1), ((0, 0), (0, 0)))),),
    "lax.conv_transpose": (way("x 2 n m 3", "x 2 2 3 4", strides=(2, 2), padding="SAME"),),
    "lax.conv_transpose_shape_tuple": (
        by(lambda f: f((2, 6, 6, 3), (2, 2, 3, 4), (2, 2), "SAME", ("NHWC", "HWOI", "NHWC"))),
    ),
    "lax.conv_with_general_padding": (
        way(
            "x 2 3 n m",
            "x 4 3 2 2",
            window_strides=(1, 1),
            padding=((1, 1), (0, 1)),
            lhs_dilation=None,
            rhs_dilation=None,
        ),
    ),
    "lax.convert_element_type": (way("x n d", new_dtype=np.int32), way("j n d", new_dtype=jnp.float16)),
    "lax.create_token": (by(lambda f, x: (f(x), x * 2)[1], "x n d"),),
    "lax.cumlogsumexp": _CUMULATIVE,
    "lax.cummax": _CUMULATIVE,
    "lax.cummin": _CUMULATIVE,
    "lax.cumprod": _CUMULATIVE,
    "lax.cumsum": _CUMULATIVE,
    "lax.custom_linear_solve": (
        by(lambda f, a, b: f(_matvec(a), b, lambda mv, b: jnp.linalg.solve(a, b), symmetric=True), "s n n", "x n"),
    ),
    "lax.custom_root": (
        by(
            lambda f, a: f(
                lambda x: x**3 - a,
                jnp.ones_like(a),
                lambda g, x: lax.fori_loop(0, 12, lambda _, x: x - g(x) / (3 * x**2), x),
                lambda g, y: y / g(jnp.ones_like(y)),
            ),
            "+ n d",
        ),
    ),
    "lax.digamma": (way("+ n d"),),
    "lax.lgamma": (way("+ n d"),),
    "lax.dot": (way("x n d", "x d m"), way("x n d", "x d")),
    "lax.dot_general": (
        way("x n d", "x m d", dimension_numbers=(((1,), (1,)), ((), ()))),
        way("x d n m", "x m d e", dimension_numbers=(((2,), (0,)), ((0,), (1,)))),
        way("j n d", "j d m", dimension_numbers=(((1,), (0,)), ((), ())), preferred_element_type=np.int32),
    ),
    "lax.dynamic_index_in_dim": (way("x n d", "j", axis=0), way("x n d", "i", axis=1, keepdims=False)),
    "lax.dynamic_slice": (by(lambda f, x, i: f(x, (i, 0), (2, x.shape[1])), "x n d", "j"),),
    "lax.dynamic_slice_in_dim": (by(lambda f, x, i: f(x, i, 2), "x n d", "j"),),
    "lax.dynamic_update_index_in_dim": (by(lambda f, x, y, i: f(x, y, i, 0), "x n d", "x d", "j"),),
    "lax.dynamic_update_slice": (by(lambda f, x, y, i: f(x, y, (i, 0)), "x n d", "x 2 d", "j"),),
    "lax.dynamic_update_slice_in_dim": (by(lambda f, x, y, i: f(x, y, i, 0), "x n d", "x 2 d", "j"),),
    "lax.empty": (by(lambda f, x: f((3, 4), jnp.float32).shape[0] * x, "x n d"),),
    "lax.erf_inv": (way("v n d"),),
    "lax.expand_dims": (way("x n d", dimensions=(0, 2)),),
    "lax.fft": (
        by(lambda f, x: f(x, "FFT", x.shape[-1:]), "c n d"),
        by(lambda f, x: f(x, "RFFT", x.shape[-2:]), "x m n d"),
    ),
    "lax.fori_loop": (
        by(lambda f, x: f(0, 5, lambda i, v: jnp.sin(v) + i, x), "x n d"),
        by(lambda f, x: f(0, x.shape[0], lambda i, v: v.at[i].mul(2.0), x), "x n d"),
    ),
    "lax.full": (by(lambda f, v: f((3, 4), v), "x"),),
    "lax.full_like": (way("x n d", "x"),),
    "lax.gather": (
        by(lambda f, x, i: f(x, i, _GATHER, (1, x.shape[1])), "x n d", "i m 1"),
        by(lambda f, x, i: f(x, i, _GATHER, (1, 2), mode="fill", fill_value=3), "x n d", "j m 1"),
    ),
    "lax.igamma": _POSITIVE,
    "lax.igamma_grad_a": _POSITIVE,
    "lax.igammac": _POSITIVE,
    "lax.random_gamma_grad": _POSITIVE,
    "lax.index_in_dim": (way("x n d", index=1, axis=1),),
    "lax.index_take": (by(lambda f, x, i, j: f(x, (i, j), (0, 1)), "x n d", "i m", "i m"),),
    "lax.integer_pow": (way("x n d", y=3), way("+ n d", y=-2)),
    "lax.iota": (by(lambda f: f(jnp.int32, 7)),),
    "lax.log": (way("+ n d"),),
    "lax.log2": (way("+ n d"),),
    "lax.log1p": (way("u n d"),),
    "lax.map": (
        by(lambda f, x: f(lambda v: v * v.sum(), x), "x n d"),
        by(lambda f, x: f(lambda v: v * v.sum(), x, batch_size=2), "x n d"),
    ),
    "lax.mulhi": (way("j n d", "j n d"), way("B n d", "B n d")),
    "lax.pad": (
        by(lambda f, x, v: f(x, v, ((1, 2, 0), (0, 0, 1))), "x n d", "x"),
        by(lambda f, x, v: f(x, v, ((-1, 0, 0), (0, -1, 0))), "x n d", "x"),
    ),
    "lax.padtype_to_pads": (by(lambda f: f((6, 6), (2, 2), (1, 1), "SAME")),),
    "lax.pcast": (_on_a_mesh(lambda f, x: f(jnp.sin(x), _AXIS, to="varying"), "x n d"),),
    "lax.platform_dependent": (by(lambda f, x: f(x, default=jnp.cos, cpu=jnp.sin), "x n d"),),
    "lax.pmax": _COMMUNICATED,
    "lax.pmean": _COMMUNICATED,
    "lax.pmin": _COMMUNICATED,
    "lax.psum": _COMMUNICATED,
    "lax.ppermute": (_mapped(lambda f, x: f(x, _AXIS, [(0, 1), (1, 2), (2, 0), (3, 3)]), "x 4 d"),),
    "lax.pshuffle": (_mapped(lambda f, x: f(x, _AXIS, [1, 2, 0, 3]), "x 4 d"),),
    "lax.psum_scatter": (_mapped(lambda f, x: f(x, _AXIS), "x n n"),),
    "lax.pswapaxes": (_mapped(lambda f, x: f(x, _AXIS, 0), "x n n"),),
    "lax.polygamma": (by(lambda f, x: f(jnp.ones_like(x), x), "+ n d"),),
    "lax.pow": (way("+ n d", "x n d"), way("+ n d", "i n d")),
    "lax.ragged_dot": (by(lambda f, a, b: f(a, b, jnp.array([1, a.shape[0] - 1])), "x n d", "x 2 d m"),),
    "lax.ragged_dot_general": (
        by(lambda f, a, b: f(a, b, jnp.array([1, a.shape[0] - 1]), _RAGGED), "x n d", "x 2 d m"),
    ),
    "lax.reduce": (
        by(lambda f, x: f(x, np.float32(0), lax.add, (0,)), "x n d"),
        by(
            lambda f, x, y: f(
                (x, y), (np.float32(1), np.int32(0)), lambda a, b: (a[0] * b[0], lax.max(a[1], b[1])), (1,)
            ),
            "v n d",
            "j n d",
        ),
    ),
    "lax.reduce_and": _FLAGS,
    "lax.reduce_or": _FLAGS,
    "lax.reduce_xor": _FLAGS,
    "lax.reduce_max": _FOLDED,
    "lax.reduce_min": _FOLDED,
    "lax.reduce_prod": _FOLDED,
    "lax.reduce_sum": _FOLDED,
    "lax.reduce_precision": (way("x n d", exponent_bits=5, mantissa_bits=7),),
    "lax.reduce_window": (
        by(lambda f, x: f(x, -np.inf, lax.max, (2, 2), (1, 1), "SAME"), "x n m"),
        by(lambda f, x: f(x, 0.0, lax.add, (3, 2), (2, 1), "VALID"), "x n m"),
        by(lambda f, x: f(x, 1.0, lambda a, b: a * b * 0.5, (2, 2), (1, 1), "VALID"), "v n m"),
        by(lambda f, x: f(x, np.inf, lax.min, (2, 1), (1, 1), "SAME", (1, 1), (2, 1)), "x n m"),
    ),
    "lax.reduce_window_shape_tuple": (by(lambda f: f((6, 6), (2, 2), (1, 1), ((0, 0), (0, 0)))),),
    "lax.reshape": (
        by(lambda f, x: f(x, (x.shape[0] * x.shape[1], x.shape[2])), "x n m d"),
        by(lambda f, x: f(x, (x.size,), (1, 0)), "x n m"),
    ),
    "lax.rev": (way("x n d", dimensions=(0,)),),
    "lax.dce_sink": (by(lambda f, x: (f(x), x * 2)[1], "x n d"),),
    "lax.dtype": (by(lambda f, x: jnp.ones((3,), f(x)), "x n d"),),
    "lax.rng_uniform": (by(lambda f, a: f(a, a + 1, (4,)), "x"),),
    "lax.rng_bit_generator": (by(lambda f, k: f(k.astype(jnp.uint32), (5, 6)), "B 4"),),
    "lax.round": (
        way("x n d"),
        by(lambda f, x: f(x, lax.RoundingMethod.TO_NEAREST_EVEN), "x n d"),
    ),
    "lax.scan": (
        by(lambda f, x: f(lambda c, v: (c * 0.9 + v, c.sum()), jnp.zeros(x.shape[1:], x.dtype), x), "x n d"),
        by(lambda f, c, x: f(lambda c, v: (jnp.tanh(c @ v), c), c, x, reverse=True), "x m d", "x n d d"),
        by(lambda f, c: f(lambda c, _: (jnp.sin(c), c[0]), c, None, length=4, unroll=2), "x n d"),
    ),
    "lax.scatter": (*_SCATTERED, way("x n d", "j m 1", "x m d", dimension_numbers=_SCATTER, mode="drop")),
    "lax.scatter_add": (*_SCATTERED, way("j n d", "j m 1", "j m d", dimension_numbers=_SCATTER, mode="clip")),
    "lax.scatter_sub": _SCATTERED,
    "lax.scatter_mul": (way("x n d", "p n 1", "x n d", dimension_numbers=_SCATTER, unique_indices=True),),
    "lax.scatter_max": _SCATTERED,
    "lax.scatter_min": _SCATTERED,
    "lax.scatter_apply": (
        by(lambda f, x, i: f(x, i, lambda v: v * 2, _SCATTER, update_shape=(i.shape[0], x.shape[1])), "x n d", "i m 1"),
    ),
    "lax.select": (way("b n d", "x n d", "x n d"), way("b", "x n d", "x n d")),
    "lax.select_n": (way("i n d", "x n d", "x n d", "x n d"), way("b", "x n d", "x n d")),
    "lax.shape_as_value": (by(lambda f: f((3, 4))),),
    "lax.shift_left": _SHIFT,
    "lax.shift_right_arithmetic": _SHIFT,
    "lax.shift_right_logical": _SHIFT,
    "lax.slice": (way("x n d", start_indices=(1, 0), limit_indices=(4, 2), strides=(2, 1)),),
    "lax.slice_in_dim": (way("x n d", start_index=1, limit_index=4, axis=0),),
    "lax.sort": (
        way("r n d"),
        way("x n d", dimension=0, is_stable=False),
        by(lambda f, a, b, c: f((a, b, c), dimension=0, num_keys=2), "r n d", "r n d", "x n d"),
    ),
    "lax.sort_key_val": (way("r n d", "x n d", dimension=0),),
    "lax.split": (by(lambda f, x: f(x, (1, x.shape[0] - 1)), "x n d"),),
    "lax.squeeze": (way("x n 1 d", dimensions=(1,)),),
    "lax.stack": (unpacked("x n d", "x n d", axis=1),),
    "lax.switch": (by(lambda f, i, x: f(i, [jnp.sin, jnp.cos, jnp.tanh], x), "i", "x n d"),),
    "lax.tile": (way("x n d", reps=(2, 1)),),
    "lax.top_k": (way("r n d", k=2), way("x n d", k=2, axis=0), way("j n d", k=1)),
    "lax.transpose": (way("x n m d", permutation=(2, 0, 1)),),
    "lax.unstack": (way("x n 3", axis=1),),
    "lax.while_loop": (
        by(lambda f, x: f(lambda s: s[0] < 4, lambda s: (s[0] + 1, jnp.sin(s[1])), (0, x))[1], "x n d"),
        by(lambda f, x: f(lambda v: jnp.abs(v).max() > 0.3, lambda v: v * 0.5, x), "x n d"),
    ),
    "lax.with_sharding_constraint": (
        by(lambda f, x: f(x, jax.sharding.SingleDeviceSharding(jax.devices()[0])), "x n d"),
    ),
    "lax.zeta": (way("w n d", "+ n d"),),
    "lax.linalg.cholesky": (way("s n n"), way("h n n")),
    "lax.linalg.cholesky_update": (by(lambda f, r, w: f(jnp.triu(r), w), "U n n", "x n"),),
    "lax.linalg.eig": (way("q n n"),),
    "lax.linalg.eigh": (way("s n n"), way("h n n", lower=False)),
    "lax.linalg.hessenberg": (way("q n n"),),
    "lax.linalg.householder_product": (way("x n d", "u d"),),
    "lax.linalg.lu": (way("q n n"), way("x n d")),
    "lax.linalg.lu_pivots_to_permutation": (
        by(lambda f, p: f(jnp.maximum(p, jnp.arange(3, dtype=p.dtype)), 5), "i 3"),
    ),
    "lax.linalg.ormqr": (way("x n d", "u d", "x n m"), way("x n d", "u d", "x m n", left=False, transpose=True)),
    "lax.linalg.qdwh": (way("q n n"),),
    "lax.linalg.qr": (way("x n d", full_matrices=False), way("x n d", pivoting=True)),
    "lax.linalg.schur": (way("q n n"),),
    "lax.linalg.svd": (way("x n d", full_matrices=False), way("x n d", compute_uv=False)),
    "lax.linalg.symmetric_product": (way("x n d", "s n n", alpha=2.0, beta=0.5, symmetrize_output=True),),
    "lax.linalg.triangular_solve": (
        way("l n n", "x n d", left_side=True, lower=True),
        way("U n n", "x d n", transpose_a=True),
        way("l n n", "x n d", left_side=True, lower=True, unit_diagonal=True, transpose_a=True),
    ),
    "lax.linalg.tridiagonal": (way("s n n"),),
    "lax.linalg.tridiagonal_solve": (way("x n", "w n", "x n", "x n d"),),
}
