"""Bytes as text a person reads: `format_bytes`. The way back, from text to bytes, is `memline.budget`."""

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")


def format_bytes(n_bytes: int, *, up: bool = False) -> str:
    """Write a number of bytes with two decimals and the largest binary unit that keeps it at least 1.

    Args:
        n_bytes: the number of bytes; negative for a difference.
        up: round towards positive infinity instead of to the nearest, so that the text, read back as a
            limit, is never smaller than `n_bytes`. Use it wherever a user is told what to ask for.

    Returns:
        Text such as ``"1.50 GiB"``; under 1 KiB, whole bytes such as ``"512 B"``.

    Example:
        >>> format_bytes(1_610_612_736)
        '1.50 GiB'
        >>> format_bytes(512)
        '512 B'
        >>> format_bytes(2**20 + 1), format_bytes(2**20 + 1, up=True)
        ('1.00 MiB', '1.01 MiB')
    """
    magnitude = abs(n_bytes)
    if magnitude < 1024:
        return f"{n_bytes} B"
    away_from_zero = up and n_bytes > 0
    power = 0
    hundredths = magnitude * 100
    # The test is on the rounded figure: 1 048 575 B is "1.00 MiB", never "1024.00 KiB".
    while hundredths >= 1024 * 100 and power < len(_UNITS) - 1:
        power += 1
        hundredths = _divide(magnitude * 100, 1024**power, up=away_from_zero, down=up and n_bytes < 0)
    sign = "-" if n_bytes < 0 else ""
    return f"{sign}{hundredths // 100}.{hundredths % 100:02d} {_UNITS[power]}"


def _divide(numerator: int, denominator: int, *, up: bool, down: bool) -> int:
    """Integer division, exact at any size: rounded up, down, or to the nearest."""
    if up:
        return -(-numerator // denominator)
    if down:
        return numerator // denominator
    return (2 * numerator + denominator) // (2 * denominator)
