"""memline's own kernels for the CPU: native code in the place of operations that XLA computes slowly there.

Graphs, passes and checks see JAX's ordinary operations; only when a planned program is handed to JAX do those that a
kernel serves become calls of it.
"""
