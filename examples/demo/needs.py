"""What a program needs, with its arguments, so that it can stand beside the limit."""

from benchmarks.row import Row


def plain_need(row: Row) -> int | None:
    """Plain `jit`'s measured peak, or where it was not run what XLA accounts for."""
    return _measured(row, row.plain) if row.plain else row.honest_peak_bytes


def memline_need(row: Row) -> int | None:
    """memline's measured peak."""
    return _measured(row, row.memline)


def _measured(row: Row, measurement: dict | None) -> int | None:
    if measurement is None or row.argument_bytes is None:
        return None
    return row.argument_bytes + measurement["growth_bytes"]
