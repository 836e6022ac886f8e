"""What memline knows of each primitive: how axes hang together, how it is resized, what it costs.

One table for each question, keyed by primitive; one small named function a rule, registered by
decorator in the file of its family. A primitive without a rule is left whole. Importing this package
fills the tables.
"""

from memline.rules import (
    contract,
    convolve,
    elementwise,
    folds,
    index,
    linalg,
    random,
    reduce,
    shape,
    sort,
)

__all__ = [
    "contract",
    "convolve",
    "elementwise",
    "folds",
    "index",
    "linalg",
    "random",
    "reduce",
    "shape",
    "sort",
]
