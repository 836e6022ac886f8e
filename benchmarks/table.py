"""The benchmark's table, as text."""

import statistics
from collections.abc import Sequence

from benchmarks.programs.program import MIB
from benchmarks.row import Row

HEADER = (
    "program",
    "limit",
    "of plain",
    "args",
    "plain MiB",
    "plain s",
    "memline MiB",
    "allowed MiB",
    "memline s",
    "ratio",
    "target",
    "rel. diff.",
    "plan s",
    "compile s",
    "verdict",
)


def table(rows: Sequence[Row]) -> str:
    """All rows under a header, then what has to be said about them in words."""
    lines = [HEADER, *(cells(row) for row in rows)]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEADER))]
    text = ["  ".join(_pad(line, widths)).rstrip() for line in lines]
    text.insert(1, "  ".join("-" * width for width in widths))
    text.append("")
    text.append("MiB: growth of peak resident memory during the call; args: MiB of arguments, not in it.")
    text.append("of plain: the limit over the measured peak of plain jit, arguments included in both.")
    ratios = [row.ratio for row in rows if row.ratio is not None]
    if len(ratios) > 1:
        text.append(f"Geometric mean of {len(ratios)} time ratios: {statistics.geometric_mean(ratios):.2f}.")
    for row in rows:
        if row.temp_limit_bytes is not None and row.memline is not None:
            most = mebibytes(row.temp_limit_bytes)
            text.append(
                f"{row.name}: {mebibytes(row.memline['temp_bytes'])} MiB of temporaries, at most {most} allowed"
            )
        for name, (ratio, target) in row.rival_ratios.items():
            timing = row.timing or {}
            took = f"{number(timing['median_seconds'][name], '.3f')} s"
            if name in timing.get("rival_bytes", {}):
                took += f" and {mebibytes(timing['rival_bytes'][name])} MiB"
            text.append(f"{row.name}: {name} took {took}; memline takes {ratio:.2f} of the time (<= {target:.2f})")
        text += [f"{row.name}: {remark}" for remark in (*row.notes, *row.errors)]
    return "\n".join(text)


def cells(row: Row) -> tuple[str, ...]:
    """The cells of one row; a dash stands for what was not measured."""
    medians = row.timing["median_seconds"] if row.timing else {}
    plain, ours = row.plain or {}, row.memline or {}
    return (
        row.name,
        row.limit_text,
        number(row.limit_share, ".0%"),
        mebibytes(row.argument_bytes),
        mebibytes(plain.get("growth_bytes")),
        number(medians.get("plain"), ".3f"),
        mebibytes(ours.get("growth_bytes")),
        mebibytes(row.allowed_growth_bytes),
        number(medians.get("memline"), ".3f"),
        number(row.ratio, ".2f"),
        f"<= {row.target_ratio:g}",
        difference_text(row),
        number(ours.get("planning_seconds"), ".2f"),
        number(ours.get("compile_seconds"), ".2f"),
        verdict(row),
    )


def verdict(row: Row) -> str:
    """`pass`, or what failed, or that something was not measured."""
    checks = {"limit": row.limit_held, "time": row.target_met, "result": row.agrees}
    failed = [name for name, held in {**checks, "temp": row.temp_held}.items() if held is False]
    if failed:
        return "FAIL: " + ", ".join(failed)
    if row.errors:
        return "ERROR"
    return "pass" if all(checks.values()) else "-"


def difference_text(row: Row) -> str:
    """The largest relative difference, and integers that differ if there are any."""
    if not row.timing or "agrees" not in row.timing:
        return "-"
    text = f"{row.timing['largest_relative_difference']:.0e}"
    differing = row.timing["integers_differing"]
    return f"{text}, {differing} ints" if differing else text


def mebibytes(size: int | None) -> str:
    """Bytes as MiB with one decimal."""
    return number(None if size is None else size / MIB, ".1f")


def number(value: float | None, form: str) -> str:
    """A number, or a dash for none."""
    return "-" if value is None else format(value, form)


def _pad(line: Sequence[str], widths: Sequence[int]) -> list[str]:
    """Names to the left, numbers to the right."""
    left = {0, 1, len(widths) - 1}
    return [
        cell.ljust(width) if column in left else cell.rjust(width)
        for column, (cell, width) in enumerate(zip(line, widths, strict=True))
    ]
