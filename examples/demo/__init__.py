"""The demo, `python -m examples.demo`: three programs on real data, inside a memory limit.

A sparse Gaussian process learns a photograph from its pixels, a second photograph is laid as a mosaic
of patches of the first, and a small transformer takes training steps on the source of Python's standard
library. Each is an ordinary JAX program; the limit is the one argument that `memline.jit` adds.
"""
