"""The moves' work: each pass takes a legal graph and returns a legal graph; one file a move."""
