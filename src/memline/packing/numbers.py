"""The numbers that a packing problem is made of: 64-bit, with room for every sum that a solver makes of them."""

INT64_MAX = 2**63 - 1
INT64_MIN = -(2**63)
MOST_IN_ALL = 2**61 - 1
"""The most that sizes, alignments and the highest fixed top are together: two exbibytes, so that no sum overflows."""
MOST_POOLS = 64
"""A buffer's pools are the bits of one word in the solver."""
