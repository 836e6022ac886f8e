"""What is wrong with a problem, and with which of its buffers, so that a reader of files can name the line."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Fault:
    """A reason, and the number of the buffer at fault where it is one buffer's."""

    message: str
    index: int | None = None
