"""Programs that need not build what they are written to build: `python -m benchmarks rewriting`."""

_WHERE = {
    "neighbours": {"knn-wide": "WIDE", "knn-narrow": "NARROW", "knn-cosine": "COSINE", "knn-l1": "L1"},
    "sparse_gp": {"sgpr-rewritten": "REWRITTEN", "sgpr-gpflow": "BESIDE_GPFLOW"},
    "algebra": {
        "matrix-chain": "MATRIX_CHAIN",
        "trace": "TRACE",
        "diagonal": "DIAGONAL",
        "kron": "KRON",
        "one-hot": "ONE_HOT",
    },
}

REWRITING: dict[str, str] = {
    name: f"benchmarks.rewriting.{module}:{attribute}"
    for module, programs in _WHERE.items()
    for name, attribute in programs.items()
}
"""Where each program is found, by name, in the order of the table."""
