"""The calls that the test suite runs, out of all that `python -m tests.sweep` does.

They are some eight in a hundred of all calls, chosen so that each module is hit and so is each primitive that has
a rule and that calls reach at all; of the primitives that work element by element, some. A call in which
something was ever wrong is added to `ONCE_WRONG` and stays there.
"""

CHOSEN = """
image.resize#0
lax.approx_min_k#0
lax.bitcast_convert_type#1
lax.composite#0
lax.conv_with_general_padding#0
lax.cumlogsumexp#0
lax.cummax#0
lax.cummin#0
lax.cumprod#1
lax.dce_sink#0
lax.linalg.hessenberg#0
lax.linalg.householder_product#0
lax.linalg.lu_pivots_to_permutation#0
lax.linalg.ormqr#1
lax.linalg.symmetric_product#0
lax.linalg.tridiagonal#0
lax.linalg.tridiagonal_solve#0
lax.optimization_barrier#0
lax.pmax#0
lax.pmin#0
lax.psum#0
lax.ragged_dot_general#0
lax.reduce#1
lax.reduce_window#0
lax.reduce_window#1
lax.reduce_window#2
lax.reduce_window#3
lax.reduce_xor#1
lax.rng_bit_generator#0
lax.rng_uniform#0
lax.scaled_dot#8
lax.scan#1
lax.scatter_apply#0
lax.scatter_max#0
lax.scatter_min#0
lax.scatter_mul#0
lax.scatter_sub#0
lax.sort#2
lax.top_k#2
lax.while_loop#1
lax.with_sharding_constraint#0
nn.initializers.orthogonal#0
nn.one_hot#1
nn.softmax#2
numpy.all#1
numpy.argmax#2
numpy.argmin#2
numpy.cumsum#2
numpy.fft.irfft#1
numpy.isin#0
numpy.linalg.eig#0
numpy.linalg.norm#2
numpy.linalg.svd#0
numpy.prod#0
numpy.ptp#0
numpy.searchsorted#0
numpy.tile#0
numpy.unstack#0
random.PRNGKey#0
random.clone#1
random.fold_in#1
random.gamma#1
random.permutation#2
random.wrap_key_data#0
scipy.cluster.vq.vq#0
scipy.fft.dct#0
scipy.integrate.trapezoid#0
scipy.linalg.cholesky#1
scipy.linalg.eigh#1
scipy.linalg.qr#0
scipy.linalg.qr_multiply#0
scipy.linalg.schur#0
scipy.ndimage.map_coordinates#1
scipy.optimize.minimize#0
scipy.signal.fftconvolve#0
scipy.sparse.linalg.cg#0
scipy.special.betainc#0
scipy.stats.rankdata#0
""".split()

ONCE_WRONG: tuple[str, ...] = ()

UNREACHED = {"eq_to", "geqp3", "le_to", "name", "select_and_gather_add", "select_and_scatter", "threefry2x32"}
"""Primitives with a rule that no call reaches on the CPU."""
