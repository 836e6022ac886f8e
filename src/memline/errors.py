"""The errors memline raises on purpose. Each says what, where, how much, and what to do next.

Every one derives from `MemlineError`, and also from the built-in error it refines, so that code which does
not know memline still catches it: a bad limit is a `ValueError`, a non-array argument a `TypeError`.

Every one has a page of the documentation. A traceback names it in its last line, as a path in memline's source.
"""

from collections.abc import Sequence
from typing import Any

from memline.units import format_bytes


class MemlineError(Exception):
    """Base of every error memline raises on purpose.

    `page` is where its documentation lies in memline's source. It is a note of the error and not part of its message,
    so that the message stays one line wherever it is quoted, and a traceback still shows both.

    Example:
        >>> issubclass(MemoryLimitError, MemlineError)
        True
        >>> MemoryLimitError.page
        'docs/errors/memory-limit.md'
    """

    page: str = "docs/errors/index.md"

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.add_note(f"more: {self.page}")


class LimitError(MemlineError, ValueError):
    """A memory limit that is not one: malformed, negative, zero, NaN or infinite.

    Example:
        >>> from memline.budget import parse_limit
        >>> parse_limit("a lot")
        Traceback (most recent call last):
            ...
        memline.errors.LimitError: 'a lot' is not a memory limit. Write a positive number of bytes (1_000_000) or \
text such as '512MiB', '2 GB', '1e9' or '50%'; None means no limit.
        more: docs/errors/limit.md
    """

    page = "docs/errors/limit.md"


class PlanError(MemlineError, ValueError):
    """A plan that cannot be used: malformed JSON, or a move that does not apply to this program.

    Args:
        *args: the message.
        page: the page of the move at fault, if it is one's.
    """

    page = "docs/errors/plan.md"

    def __init__(self, *args: Any, page: str | None = None) -> None:
        if page is not None:
            self.page = page
        super().__init__(*args)


class ReportError(MemlineError, ValueError):
    """A report that cannot be read, or written to the file that was named; the message says where in it what is off."""

    page = "docs/errors/report.md"


class PackingError(MemlineError, ValueError):
    """A packing problem, or a file of one, that is none; the message names the file and the line where there is one."""

    page = "docs/errors/packing.md"


class ArgumentError(MemlineError, TypeError):
    """An argument memline cannot take: a leaf that is not an array, or an object that is not what was asked."""

    page = "docs/errors/argument.md"


class MeasureError(MemlineError, RuntimeError):
    """A measurement that did not finish: the fresh process crashed, was killed, or took too long."""

    page = "docs/errors/measure.md"


class MissingPackageError(MemlineError, ImportError):
    """An optional package that is needed for what was asked is not installed; the message says which."""

    page = "docs/errors/missing-package.md"


class MemoryLimitError(MemlineError):
    """No plan that was tried keeps the program inside its limit. Raised before anything runs.

    Args:
        needed_bytes: what the program needs as it stands.
        limit_bytes: the limit that was asked for.
        floor_bytes: the smallest peak any plan that was tried reached, or None if none was tried.
        largest: the largest value, with its size and the user's source line, as text.
        options: what the user can do, each a phrase such as ``"return less"``; the way out that always
            exists, raising the limit to the floor, is put in front when it is missing.
        floor_bound_by: what keeps the floor from being lower, such as ``"the outputs"``; may be empty.

    All of them are kept as attributes under the same names.

    Example:
        >>> MiB = 2**20
        >>> error = MemoryLimitError(
        ...     needed_bytes=300 * MiB,
        ...     limit_bytes=200 * MiB,
        ...     floor_bytes=218 * MiB,
        ...     largest="f32[65536,512] (128.00 MiB) from train.py:42 (loss)",
        ...     options=("donate argument 0 (25.00 MiB)", "return less"),
        ... )
        >>> print(error)  # doctest: +NORMALIZE_WHITESPACE
        needs 300.00 MiB, the limit is 200.00 MiB (short by 100.00 MiB). Largest value: f32[65536,512]
        (128.00 MiB) from train.py:42 (loss). Smallest plan found: 218.00 MiB. Options: raise the limit to
        218.00 MiB, donate argument 0 (25.00 MiB), or return less.
    """

    page = "docs/errors/memory-limit.md"

    def __init__(
        self,
        needed_bytes: int,
        limit_bytes: int,
        floor_bytes: int | None = None,
        largest: str = "",
        options: Sequence[str] = (),
        *,
        floor_bound_by: str = "",
    ) -> None:
        self.needed_bytes = needed_bytes
        self.limit_bytes = limit_bytes
        self.floor_bytes = floor_bytes
        self.largest = largest
        self.floor_bound_by = floor_bound_by
        self.options = _with_raise(tuple(options), needed_bytes if floor_bytes is None else floor_bytes)
        super().__init__(self._message())

    def __reduce__(self) -> tuple[object, ...]:
        # Exceptions pickle by calling the class with `args`, which holds the finished message only.
        arguments = (self.needed_bytes, self.limit_bytes, self.floor_bytes, self.largest, self.options)
        state = {"floor_bound_by": self.floor_bound_by, "args": (self._message(),), "__notes__": self.__notes__}
        return (type(self), arguments, state)

    def _message(self) -> str:
        needed, limit = format_bytes(self.needed_bytes), format_bytes(self.limit_bytes)
        short_bytes = self.needed_bytes - self.limit_bytes
        shortfall = f" (short by {format_bytes(short_bytes)})" if short_bytes > 0 else ""
        sentences = [f"needs {needed}, the limit is {limit}{shortfall}."]
        if self.largest:
            sentences.append(f"Largest value: {self.largest}.")
        if self.floor_bytes is not None:
            bound = f"; it is bound by {self.floor_bound_by}" if self.floor_bound_by else ""
            sentences.append(f"Smallest plan found: {format_bytes(self.floor_bytes)}{bound}.")
        sentences.append(f"Options: {_join_or(self.options)}.")
        return " ".join(sentences)


def _with_raise(options: tuple[str, ...], enough_bytes: int) -> tuple[str, ...]:
    if any(option.startswith("raise the limit") for option in options):
        return options
    # Rounded up: a user who types the figure back in must not fail by the part that rounding hid.
    return (f"raise the limit to {format_bytes(enough_bytes, up=True)}", *options)


def _join_or(phrases: Sequence[str]) -> str:
    if len(phrases) < 3:
        return " or ".join(phrases)
    return ", ".join(phrases[:-1]) + f", or {phrases[-1]}"
