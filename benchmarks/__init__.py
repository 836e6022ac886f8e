"""Benchmarks of memline against plain `jax.jit`: `python -m benchmarks`."""
