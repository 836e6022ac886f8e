"""The table of rule coverage, as Markdown, from memline's own account of the JAX that is installed."""

from __future__ import annotations

import jax

from memline.rules.coverage import coverage


def coverage_table() -> str:
    """A table of every primitive, under a line that says of which JAX and how many there are of each kind."""
    entries = coverage()
    fates = list(dict.fromkeys(entry.fate for entry in entries))
    counts = ", ".join(f"{sum(entry.fate == fate for entry in entries)} {fate}" for fate in sorted(fates))
    rows = [f"| `{entry.primitive}` | {entry.fate} | {entry.why} |" for entry in entries]
    head = ["| primitive | what becomes of it | why |", "| --- | --- | --- |"]
    return "\n".join([f"JAX {jax.__version__}, {len(entries)} primitives: {counts}.", "", *head, *rows])
