"""The graph that every analysis and pass works on: its types, its text, its checker, in and out of JAX."""
