"""Ways to call the functions of `jax.nn`, `jax.scipy`, `jax.random` and `jax.image` beside those that are drawn."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from tests.sweep.ways import Table, by, way

_SQUARE = (way("q n n"),)
_WINDOW = (way("x 24", nperseg=8),)
_POSITIVE2 = (way("+ n d", "+ n d"),)
_POSITIVE = (way("+ n d"),)
_UNIT = (way("u n d"),)
_GIVEN_KEY = (by(lambda f, k: f(k, (4, 5)), "k"), by(lambda f, k: f(k, (4, 5), jnp.bfloat16), "k"))
_SHAPED = (by(lambda f, k, a: f(k, a, (3, *a.shape)), "k", "+ d"),)
_MADE = (by(lambda f, k: f()(k, (6, 5)), "k"),)


NN: Table = {
    "nn.dot_product_attention": (
        way("x 2 n 2 d", "x 2 m 2 d", "x 2 m 2 d"),
        way("x 2 n 4 d", "x 2 n 2 d", "x 2 n 2 d", is_causal=True),
        by(lambda f, q, k, v, b: f(q, k, v, mask=b), "x 2 n 2 d", "x 2 m 2 d", "x 2 m 2 d", "b 2 1 n m"),
    ),
    "nn.glu": (way("x n 4"),),
    "nn.get_scaled_dot_general_config": (by(lambda f, x: f("mxfp8") and x, "x n d"),),
    "nn.log1mexp": _POSITIVE,
    "nn.logsumexp": (way("x n d"), way("x n d", axis=0), by(lambda f, a, b: f(a, axis=1, b=b), "x n d", "+ n d")),
    "nn.logmeanexp": (way("x n d"), way("x n d", axis=0)),
    "nn.log_softmax": (way("x n d"), way("x n d", axis=0)),
    "nn.softmax": (way("x n d"), way("x n d", axis=0), by(lambda f, x, m: f(x, where=m), "x n d", "b n d")),
    "nn.one_hot": (way("i n", num_classes=4), way("j n", num_classes=4, axis=0)),
    "nn.scaled_matmul": (
        by(
            lambda f, a, b: f(
                a.astype(jnp.float8_e4m3fn),
                b.astype(jnp.float8_e4m3fn),
                jnp.ones((2, a.shape[1], 1), jnp.float8_e8m0fnu),
                jnp.ones((2, b.shape[1], 1), jnp.float8_e8m0fnu),
            ),
            "x 2 n 32",
            "x 2 m 32",
        ),
    ),
    "nn.scaled_dot_general": (
        by(
            lambda f, a, b: f(
                a, b, (((2,), (2,)), ((0,), (0,))), configs=[jax.nn.get_scaled_dot_general_config("mxfp8")] * 3
            ),
            "x 2 n 64",
            "x 2 m 64",
        ),
    ),
    "nn.standardize": (way("x n d"), way("x n d", axis=0)),
    "nn.initializers.constant": (by(lambda f, k: f(2.0)(k, (6, 5)), "k"),),
    "nn.initializers.delta_orthogonal": (by(lambda f, k: f()(k, (3, 4, 5)), "k"),),
    "nn.initializers.glorot_normal": _MADE,
    "nn.initializers.glorot_uniform": _MADE,
    "nn.initializers.he_normal": _MADE,
    "nn.initializers.he_uniform": _MADE,
    "nn.initializers.lecun_normal": _MADE,
    "nn.initializers.lecun_uniform": _MADE,
    "nn.initializers.normal": _MADE,
    "nn.initializers.truncated_normal": _MADE,
    "nn.initializers.uniform": _MADE,
    "nn.initializers.orthogonal": _MADE,
    "nn.initializers.ones": (by(lambda f, k: f(k, (6, 5)), "k"),),
    "nn.initializers.zeros": (by(lambda f, k: f(k, (6, 5)), "k"),),
    "nn.initializers.variance_scaling": (by(lambda f, k: f(2.0, "fan_avg", "normal")(k, (6, 5)), "k"),),
}

RANDOM: Table = {
    "random.PRNGKey": (way("j"),),
    "random.key": (way("j"),),
    "random.ball": (by(lambda f, k: f(k, 3, shape=(4,)), "k"),),
    "random.bernoulli": (way("k", "u n d"), by(lambda f, k: f(k, 0.3, (4, 5), mode="high"), "k")),
    "random.beta": (way("k", "+ n d", "+ n d"),),
    "random.binomial": (by(lambda f, k, n, p: f(k, n * 5, p), "k", "+ n d", "u n d"),),
    "random.bits": (by(lambda f, k: f(k, (4, 5)), "k"), by(lambda f, k: f(k, (4, 5), jnp.uint8), "k")),
    "random.categorical": (
        way("k", "x n d"),
        way("k", "x n d", axis=0),
        by(lambda f, k, x: f(k, x, shape=(6, x.shape[0])), "k", "x n d"),
    ),
    "random.cauchy": _GIVEN_KEY,
    "random.chisquare": (way("k", "+ n d"),),
    "random.choice": (
        by(lambda f, k, a: f(k, a, (4, 5)), "k", "x n d"),
        by(lambda f, k, a: f(k, a, (2,), replace=False), "k", "x n"),
        by(lambda f, k, a, p: f(k, a, (7,), p=p), "k", "x n", "D n"),
    ),
    "random.clone": (way("k"), way("k n")),
    "random.dirichlet": (way("k", "+ d"), by(lambda f, k, a: f(k, a, (4,)), "k", "+ d")),
    "random.double_sided_maxwell": (by(lambda f, k, a, b: f(k, a, b, (5,)), "k", "x", "+"),),
    "random.exponential": _GIVEN_KEY,
    "random.f": (way("k", "+ n d", "+ n d"),),
    "random.fold_in": (way("k", "i"), by(lambda f, k, i: jax.vmap(lambda j: f(k, j))(i), "k", "j n")),
    "random.gamma": (way("k", "+ n d"), *_SHAPED),
    "random.loggamma": (way("k", "+ n d"),),
    "random.generalized_normal": (by(lambda f, k: f(k, 1.5, (4, 5)), "k"),),
    "random.geometric": (way("k", "u n d"),),
    "random.gumbel": _GIVEN_KEY,
    "random.key_data": (way("k n"),),
    "random.key_dtype": (by(lambda f: f() and 0),),
    "random.key_impl": (by(lambda f, k: f(k) and jax.random.key_data(k), "k"),),
    "random.laplace": _GIVEN_KEY,
    "random.logistic": _GIVEN_KEY,
    "random.lognormal": (by(lambda f, k, s: f(k, s, (4, 5)), "k", "+"),),
    "random.maxwell": _GIVEN_KEY,
    "random.multinomial": (by(lambda f, k, p: f(k, 9, p), "k", "D d"),),
    "random.multivariate_normal": (
        way("k", "x n", "s n n"),
        by(lambda f, k, m, c: f(k, m, c, (4,), method="svd"), "k", "x d", "s d d"),
    ),
    "random.normal": (*_GIVEN_KEY, by(lambda f, k: f(k, (4, 5), jnp.complex64), "k")),
    "random.orthogonal": (by(lambda f, k: f(k, 4), "k"),),
    "random.pareto": (way("k", "+ n d"),),
    "random.permutation": (
        way("k", "x n d"),
        way("k", "x n d", axis=1, independent=True),
        by(lambda f, k: f(k, 9), "k"),
    ),
    "random.poisson": (way("k", "+ n d"), by(lambda f, k, x: f(k, 20 * x), "k", "+ n d")),
    "random.rademacher": (by(lambda f, k: f(k, (4, 5)), "k"),),
    "random.randint": (
        by(lambda f, k: f(k, (4, 5), -3, 12), "k"),
        by(lambda f, k, a: f(k, (4, 5), a, 12, jnp.uint8), "k", "B 5"),
    ),
    "random.rayleigh": (way("k", "+ n d"),),
    "random.split": (by(lambda f, k: f(k, 5), "k"), by(lambda f, k: f(k, (2, 3)), "k")),
    "random.t": (way("k", "+ n d"),),
    "random.triangular": (by(lambda f, k, a: f(k, a, a + 0.5, a + 2, (4, *a.shape)), "k", "x d"),),
    "random.truncated_normal": (by(lambda f, k: f(k, -1.0, 2.0, (4, 5)), "k"),),
    "random.uniform": (*_GIVEN_KEY, by(lambda f, k: f(k, (4, 5), minval=-1, maxval=3), "k")),
    "random.wald": (way("k", "+ n d"),),
    "random.weibull_min": (by(lambda f, k, a, b: f(k, a, b, (4, 5)), "k", "+", "+"),),
    "random.wrap_key_data": (by(lambda f, x: jax.random.bits(f(x.astype(jnp.uint32))), "B 2"),),
}

IMAGE: Table = {
    "image.resize": tuple(
        way("x n m 3", shape=(7, 5, 3), method=method) for method in ("nearest", "linear", "cubic", "lanczos3")
    ),
    "image.scale_and_translate": (
        by(lambda f, x, s, t: f(x, (7, 5, 3), (0, 1), s, t, "linear"), "x n m 3", "+ 2", "x 2"),
    ),
}

_K = (way("i n d", "+ d"),)
_KP = (way("i n d", "u d"),)

SCIPY: Table = {
    "scipy.cluster.vq.vq": (way("x n d", "x m d"),),
    "scipy.integrate.trapezoid": (way("x n d"),),
    "scipy.linalg.block_diag": (way("x n d", "x m e"),),
    "scipy.linalg.cho_factor": (by(lambda f, a: f(a)[0], "s n n"),),
    "scipy.linalg.cho_solve": (by(lambda f, c, b: f((c, True), b), "l n n", "x n d"),),
    "scipy.linalg.cholesky": (way("s n n"), way("s n n", lower=True)),
    "scipy.linalg.companion": (way("w n"),),
    "scipy.linalg.fiedler_companion": (way("w n"),),
    "scipy.linalg.convolution_matrix": (way("x n", n=3),),
    "scipy.linalg.det": _SQUARE,
    "scipy.linalg.dft": (by(lambda f: f(6)),),
    "scipy.linalg.eigh": (way("s n n"), way("s n n", eigvals_only=True)),
    "scipy.linalg.eigh_tridiagonal": (by(lambda f, d, e: f(d, e[1:], eigvals_only=True), "x n", "x n"),),
    "scipy.linalg.expm": (way("x n n"),),
    "scipy.linalg.expm_frechet": (way("x n n", "x n n"),),
    "scipy.linalg.funm": (by(lambda f, a: f(a, jnp.exp, disp=False)[0], "q d d"),),
    "scipy.linalg.hadamard": (by(lambda f: f(8)),),
    "scipy.linalg.helmert": (by(lambda f: f(6)),),
    "scipy.linalg.hessenberg": (way("q n n", calc_q=True),),
    "scipy.linalg.hilbert": (by(lambda f: f(6)),),
    "scipy.linalg.invhilbert": (by(lambda f: f(6)),),
    "scipy.linalg.invpascal": (by(lambda f: f(6)),),
    "scipy.linalg.pascal": (by(lambda f: f(6)),),
    "scipy.linalg.inv": _SQUARE,
    "scipy.linalg.leslie": (by(lambda f, a, b: f(a, b[1:]), "x n", "x n"),),
    "scipy.linalg.lu": (way("q n n"), way("q n n", permute_l=True)),
    "scipy.linalg.lu_factor": _SQUARE,
    "scipy.linalg.lu_solve": (by(lambda f, a, b: f((a, jnp.arange(a.shape[0], dtype=np.int32)), b), "q n n", "x n d"),),
    "scipy.linalg.polar": _SQUARE,
    "scipy.linalg.qr": (way("x n d"), way("x n d", mode="economic")),
    "scipy.linalg.qr_multiply": (by(lambda f, a, c: f(a, c), "q n n", "x m n"),),
    "scipy.linalg.rsf2csf": (by(lambda f, t, z: f(jnp.triu(t), z), "U n n", "q n n"),),
    "scipy.linalg.schur": (way("q n n"),),
    "scipy.linalg.solve": (way("q n n", "x n d"), way("s n n", "x n", assume_a="pos")),
    "scipy.linalg.solve_sylvester": (way("q n n", "q d d", "x n d"),),
    "scipy.linalg.solve_triangular": (way("l n n", "x n d", lower=True), way("U n n", "x n", trans=1)),
    "scipy.linalg.sqrtm": (way("s d d"),),
    "scipy.linalg.svd": (way("x n d", full_matrices=False),),
    "scipy.ndimage.map_coordinates": (
        by(lambda f, x, i: f(x, [i * 3, i * 2], 1), "x n m", "u d e"),
        by(lambda f, x, i: f(x, [i * 9 - 2, i * 2], 0, mode="nearest"), "x n m", "u d e"),
    ),
    "scipy.optimize.minimize": (
        by(lambda f, a: f(lambda x: ((x - a) ** 2).sum(), jnp.zeros_like(a), method="BFGS").x, "x d"),
    ),
    "scipy.signal.convolve": (way("x n", "x d"), way("x n m", "x d e", mode="same", method="direct")),
    "scipy.signal.convolve2d": (way("x n m", "x d e"),),
    "scipy.signal.correlate": (way("x n", "x d"), way("x n m", "x d e")),
    "scipy.signal.correlate2d": (way("x n m", "x d e"),),
    "scipy.signal.fftconvolve": (way("x n m", "x d e"),),
    "scipy.signal.csd": (way("x 24", "x 24", nperseg=8),),
    "scipy.signal.istft": (way("c 5 7"),),
    "scipy.signal.stft": _WINDOW,
    "scipy.signal.welch": _WINDOW,
    "scipy.sparse.linalg.cg": (way("s n n", "x n", maxiter=4),),
    "scipy.sparse.linalg.bicgstab": (way("s n n", "x n", maxiter=4),),
    "scipy.sparse.linalg.gmres": (by(lambda f, a, b: f(lambda v: a @ v, b, restart=3, maxiter=2), "s n n", "x n"),),
    "scipy.special.bernoulli": (by(lambda f: f(6)),),
    "scipy.special.bessel_jn": (way("x d", v=3, n_iter=10),),
    "scipy.special.beta": _POSITIVE2,
    "scipy.special.betaln": _POSITIVE2,
    "scipy.special.betainc": (way("+ n d", "+ n d", "u n d"),),
    "scipy.special.boxcox": _POSITIVE2,
    "scipy.special.boxcox1p": _POSITIVE2,
    "scipy.special.comb": (way("j n d", "i d"),),
    "scipy.special.digamma": _POSITIVE,
    "scipy.special.entr": _POSITIVE,
    "scipy.special.erfinv": (way("v n d"),),
    "scipy.special.exp1": _POSITIVE,
    "scipy.special.expn": (way("i n d", "+ n d"),),
    "scipy.special.factorial": (way("i n d"),),
    "scipy.special.gammainc": _POSITIVE2,
    "scipy.special.gammaincc": _POSITIVE2,
    "scipy.special.gammaln": _POSITIVE,
    "scipy.special.hyp1f1": (way("+ n", "+ n", "u n"),),
    "scipy.special.hyp2f1": (way("+ n", "+ n", "w n", "u n"),),
    "scipy.special.kl_div": _POSITIVE2,
    "scipy.special.rel_entr": _POSITIVE2,
    "scipy.special.log_softmax": (way("x n d", axis=1), way("x n d", axis=0)),
    "scipy.special.softmax": (way("x n d", axis=1), way("x n d", axis=0)),
    "scipy.special.logit": _UNIT,
    "scipy.special.multigammaln": (by(lambda f, a: f(a + 1, 2), "w n d"),),
    "scipy.special.ndtri": _UNIT,
    "scipy.special.poch": _POSITIVE2,
    "scipy.special.polygamma": (way("i n d", "+ n d"),),
    "scipy.special.sph_harm_y": (by(lambda f, n, a, b: f(n + 1, n, a, b, n_max=4), "i n", "u n", "u n"),),
    "scipy.special.wofz": (way("c n d"),),
    "scipy.special.xlog1py": _POSITIVE2,
    "scipy.special.xlogy": _POSITIVE2,
    "scipy.special.zeta": (way("w n d", "+ n d"),),
    "scipy.stats.mode": (way("r n d"),),
    "scipy.stats.rankdata": (way("r n d"), way("r n d", method="ordinal", axis=0)),
    "scipy.stats.beta.ppf": (way("u d", "w d", "w d"),),
    "scipy.stats.betabinom.pmf": (way("i n d", "w d", "+ d", "+ d"),),
    "scipy.stats.betabinom.logpmf": (way("i n d", "w d", "+ d", "+ d"),),
    "scipy.stats.dirichlet.logpdf": (way("D d", "+ d"), by(lambda f, x, a: f(x.T, a), "D n d", "+ d")),
    "scipy.stats.dirichlet.pdf": (way("D d", "+ d"),),
    "scipy.stats.geom.pmf": _KP,
    "scipy.stats.geom.logpmf": _KP,
    "scipy.stats.bernoulli.ppf": (way("u n d", "u d"),),
    "scipy.stats.multinomial.logpmf": (way("i d", "i", "D d"),),
    "scipy.stats.multinomial.pmf": (way("i d", "i", "D d"),),
    "scipy.stats.multivariate_normal.logpdf": (way("x n d", "x d", "s d d"),),
    "scipy.stats.multivariate_normal.pdf": (way("x n d", "x d", "s d d"),),
    "scipy.stats.poisson.cdf": _K,
    "scipy.stats.poisson.pmf": _K,
    "scipy.stats.poisson.logpmf": _K,
    "scipy.stats.poisson.entropy": _POSITIVE,
}
