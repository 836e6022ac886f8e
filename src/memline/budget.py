"""What a user may write as a memory limit, and the bytes it stands for: `parse_limit`.

Text is read exactly (as a decimal, not as a float) and rounded down, because a limit is an upper bound.
"""

import math
import operator
from typing import Any

import numpy as np

from memline.devices import Device, device_bytes
from memline.errors import LimitError
from memline.units import UNIT_BYTES, format_bytes, number_and_unit

__all__ = ["format_bytes", "parse_limit"]

ACCEPTED = (
    "Write a positive number of bytes (1_000_000) or text such as '512MiB', '2 GB', '1e9' or '50%'; "
    "None means no limit."
)


def parse_limit(limit: Any, device: Device | None = None) -> int | None:
    """Turn what a user wrote as a memory limit into bytes.

    Args:
        limit: one of
            None, for no limit;
            a whole number of bytes: an int, a numpy integer, or a float without a fractional part (``1e9``);
            text: a number and a unit, with or without a space: ``"512MiB"``, ``"2 GB"``, ``"300 kB"``,
            ``"1_000_000 B"``, ``"1e9"``. kB, MB, GB are powers of 1000, KiB, MiB, GiB powers of 1024; their case does
            not matter;
            text with a percent sign, ``"50%"``: that share of the device's memory (see `memline.devices.device_bytes`).
        device: the device a percentage is of; by default the first local one. Not used otherwise.

    Returns:
        The limit in bytes, at least 1, or None for no limit.

    Raises:
        LimitError: zero, negative, NaN, infinite or malformed limits; percentages over 100; a percentage of
            a device that does not say how much memory it has.

    Example:
        >>> parse_limit("1.5GiB"), parse_limit("2 GB"), parse_limit(4096), parse_limit(None)
        (1610612736, 2000000000, 4096, None)
    """
    if limit is None:
        return None
    if isinstance(limit, str):
        return _parse_text(limit, device)
    if isinstance(limit, (bool, np.bool_)):
        raise LimitError(f"{limit!r} is not a memory limit. {ACCEPTED}")
    return _positive(_whole_number(limit), limit)


def _parse_text(text: str, device: Device | None) -> int:
    read = number_and_unit(text)
    if read is None:
        raise LimitError(f"{text!r} is not a memory limit. {ACCEPTED}")
    number, unit = read
    if unit == "%":
        if number > 100:
            raise LimitError(f"{text!r} is more than the whole device. Write at most '100%'.")
        if number > 0:  # zero and less are refused below, without asking the device
            number = number / 100 * device_bytes(device)
    elif unit in UNIT_BYTES:
        number *= UNIT_BYTES[unit]
    else:
        raise LimitError(f"{text!r} has a unit memline does not know, {unit!r}. {ACCEPTED}")
    return _positive(math.floor(number), text)


def _whole_number(limit: Any) -> int:
    """The integer behind an int, a numpy integer or a float without a fractional part."""
    try:
        return operator.index(limit)
    except TypeError:
        pass
    try:
        value = float(limit)
    except (TypeError, ValueError):
        raise LimitError(f"{limit!r} of type {type(limit).__name__} is not a memory limit. {ACCEPTED}") from None
    if value.is_integer():
        return int(value)
    hint = f" For a share of the device write '{value * 100:g}%'." if 0 < value < 1 else ""
    raise LimitError(f"{limit!r} is not a whole number of bytes.{hint} {ACCEPTED}")


def _positive(limit_bytes: int, written: Any) -> int:
    if limit_bytes < 1:
        what = "negative" if limit_bytes < 0 else "less than one byte"
        raise LimitError(f"the memory limit {written!r} is {what}. {ACCEPTED}")
    return limit_bytes
