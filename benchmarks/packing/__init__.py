"""The benchmark of packing: `python -m benchmarks packing`."""
