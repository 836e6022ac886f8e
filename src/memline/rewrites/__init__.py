"""Rules that replace a part of a program by what computes the same with less memory or fewer operations.

One table, by name; one small function a rule, registered by decorator in the file of its family (see `rule`).
Importing this package fills the table.
"""

from memline.rewrites import contract, differences, distribute, logarithms, moves, one_hot, solve, unroll

__all__ = ["contract", "differences", "distribute", "logarithms", "moves", "one_hot", "solve", "unroll"]
