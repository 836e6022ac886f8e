"""What is written on the command line for sizes and times."""

from __future__ import annotations

import argparse
import math
from fractions import Fraction

from memline.units import UNIT_BYTES, number_and_unit

_SECONDS = {"": Fraction(1), "s": Fraction(1), "ms": Fraction(1, 1000), "m": Fraction(60), "h": Fraction(3600)}


def size(text: str) -> int:
    """Reads a size; for argparse.

    >>> size("1.5MiB")
    1572864
    """
    read = number_and_unit(text)
    number = read[0] * UNIT_BYTES[read[1]] if read is not None and read[1] in UNIT_BYTES else Fraction(0)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no size; write a number from 1, such as 1048576 or 1MiB")
    return math.floor(number)


def seconds(text: str) -> float:
    """Reads a time; for argparse.

    >>> seconds("500ms")
    0.5
    """
    read = number_and_unit(text)
    number = read[0] * _SECONDS[read[1]] if read is not None and read[1] in _SECONDS else Fraction(0)
    if number <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no time; write a number above 0, such as 10s, 500ms or 2m")
    return float(number)


def count(text: str) -> int:
    """Reads a whole number from 1; for argparse.

    >>> count("2")
    2
    """
    if not text.isascii() or not text.isdigit() or not int(text[:9]) > 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 1")
    return int(text)
