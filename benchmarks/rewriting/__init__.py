"""Programs that need not build what they are written to build: `python -m benchmarks rewriting`."""

REWRITING: dict[str, str] = {
    name: f"benchmarks.rewriting.algebra:{attribute}"
    for name, attribute in (
        ("matrix-chain", "MATRIX_CHAIN"),
        ("trace", "TRACE"),
        ("diagonal", "DIAGONAL"),
        ("kron", "KRON"),
        ("one-hot", "ONE_HOT"),
    )
}
"""Where each program is found, by name, in the order of the table."""
