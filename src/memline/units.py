"""Bytes as text a person reads, `format_bytes`, and back, `number_and_unit`; limits are read in `memline.budget`."""

import re
from fractions import Fraction

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")

# A unit's letter case is ignored: nobody limits memory in milli-bytes or in bits.
UNIT_BYTES = {"": 1, "b": 1, "byte": 1, "bytes": 1}
for _power, _letter in enumerate("kmgtpe", start=1):
    UNIT_BYTES |= {_letter: 1000**_power, f"{_letter}b": 1000**_power}
    UNIT_BYTES |= {f"{_letter}i": 1024**_power, f"{_letter}ib": 1024**_power}

_TEXT = re.compile(
    r"\s*(?P<sign>[+-]?)"
    # Two digits of exponent reach far past any memory, and keep "1e999999999" from becoming a huge integer.
    r"(?P<number>(?:[0-9]+(?:_[0-9]+)*)?(?:\.[0-9]*)?(?:[eE][+-]?[0-9]{1,2})?)"
    r"\s*(?P<unit>%|[A-Za-z]*)\s*"
)


def number_and_unit(text: str) -> tuple[Fraction, str] | None:
    """Reads a number with a unit, exactly; whether there is such a unit is for the caller to say.

    Args:
        text: such as ``"1.5 MiB"``, ``"1_000"`` or ``"50%"``.

    Returns:
        The number, and the unit in small letters (one of `UNIT_BYTES`, if it is one of bytes); None for other text.

    Example:
        >>> number_and_unit("1.5 MiB")
        (Fraction(3, 2), 'mib')
    """
    match = _TEXT.fullmatch(text)
    if match is None or not any(character.isdigit() for character in match["number"].lower().split("e")[0]):
        return None
    number = Fraction(match["number"].replace("_", ""))
    return (-number if match["sign"] == "-" else number), match["unit"].lower()


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


def format_seconds(seconds: float) -> str:
    """Write a time with three digits, under a second in milliseconds.

    Example:
        >>> format_seconds(0.01234), format_seconds(12.3)
        ('12.3 ms', '12.3 s')
    """
    return f"{seconds * 1e3:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"


def _divide(numerator: int, denominator: int, *, up: bool, down: bool) -> int:
    """Integer division, exact at any size: rounded up, down, or to the nearest."""
    if up:
        return -(-numerator // denominator)
    if down:
        return numerator // denominator
    return (2 * numerator + denominator) // (2 * denominator)
