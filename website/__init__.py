"""What builds the documentation beside mkdocs: generated tables, and a look at what was built."""
