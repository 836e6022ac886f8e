"""A page of a report in headless Chromium, and what tests read off its pictures."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from memline.units import UNIT_BYTES, number_and_unit

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
# Chromium keeps root from its sandbox; the pages here are our own.
ARGUMENTS = ["--disable-dev-shm-usage", *(["--no-sandbox"] if os.geteuid() == 0 else [])]


@dataclass
class Opened:
    """A page that was opened from a file, and what it complained of and asked for."""

    page: Page
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)


@contextmanager
def opened(browser: Browser, file: Path, *, width: int = 1280, theme: str = "light") -> Iterator[Opened]:
    """Opens a file without a network. No test may end with a complaint of the page on the console."""
    context = browser.new_context(
        offline=True,
        viewport={"width": width, "height": 900},
        color_scheme="dark" if theme == "dark" else "light",
        reduced_motion="reduce",
    )
    made = Opened(context.new_page())
    made.page.set_default_timeout(5000)
    made.page.on("console", lambda message: made.complaints.append(f"{message.type}: {message.text}"))
    made.page.on("pageerror", lambda error: made.complaints.append(str(error)))
    made.page.on("dialog", lambda dialog: made.complaints.append(f"dialog: {dialog.message}"))
    made.page.on("request", lambda request: made.requests.append(request.url))
    made.page.goto(file.as_uri())
    yield made
    context.close()
    assert not made.complaints
    assert made.requests == [file.as_uri()]


@dataclass(frozen=True)
class Axes:
    """The scales of a picture, read off its marks as a reader does it: pixels of bytes and of numbers."""

    bytes_at: tuple[tuple[int, float], ...]
    numbers_at: tuple[tuple[int, float], ...]

    def y(self, n_bytes: int) -> float:
        return _between(self.bytes_at, n_bytes)

    def x(self, number: int) -> float:
        """The middle of a step or moment, told from 1."""
        return _between(self.numbers_at, number)


def axes_of(picture: Locator) -> Axes:
    # In one call: between two the picture may have been drawn anew.
    lines, texts = picture.evaluate(
        "picture => { const all = s => [...picture.querySelectorAll(s)]; const box = e => e.getBoundingClientRect();"
        " return [all('.axes line').map(e => box(e).y), all('.axes text:not(.unit)').map(e => ("
        "{ text: e.textContent, x: box(e).x, width: box(e).width }))]; }"
    )
    sizes, numbers = [], []
    for box in texts:
        read = number_and_unit(box["text"])
        assert read is not None
        if read[1]:
            sizes.append(int(read[0] * UNIT_BYTES[read[1]]))
        else:
            numbers.append((int(read[0]), box["x"] + box["width"] / 2))
    # The last number may have been moved into the picture.
    return Axes(tuple(zip(sizes, lines, strict=True)), tuple(numbers if len(numbers) < 3 else numbers[:-1]))


def boxes(found: Locator) -> list[dict[str, float]]:
    """The boxes of all elements that were found, in pixels of the window, in one call."""
    return found.evaluate_all(
        "all => all.map(e => { const b = e.getBoundingClientRect();"
        " return { x: b.x, y: b.y, width: b.width, height: b.height }; })"
    )


def _between(marks: tuple[tuple[int, float], ...], wanted: int) -> float:
    (low, at_low), (high, at_high) = marks[0], marks[-1]
    return at_low + (wanted - low) / (high - low) * (at_high - at_low)
