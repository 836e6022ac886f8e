"""Programs to read and to run, each on real data."""
