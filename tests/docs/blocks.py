"""The fenced blocks of the documentation: finding them, and running those of one page in order, in one namespace.

    ```python     is run
    ```output     is what the blocks since the last output have printed
    ```pycon      is run and compared as a doctest
    ```console    has commands of memline, whose names and options have to exist
    ```text       is not looked at, nor is any other language

A block that cannot be run says why in a comment in front of it: `<!-- not run: needs a GPU -->`.

Figures are what a machine made of them: what is printed is compared without sizes and times. Everything else has to be
as the page shows it.
"""

from __future__ import annotations

import contextlib
import doctest
import io
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_FENCE = re.compile(r"^```(\S*)[^\n]*\n(.*?)^```[ ]*$", re.MULTILINE | re.DOTALL)
_NOT_RUN = re.compile(r"<!-- not run: (\S[^>]*) -->\s*\Z")
_FIGURES = (
    (r"\S+\.(py|md):\d+", "FILE"),
    (r"\b\d+(\.\d+)?(e[+-]?\d+)? (B|KiB|MiB|GiB|TiB|ms|s|us)\b", "FIGURE"),
    (r"\b\d+%", "SHARE"),
    (r"\b\d+(\.\d+)+(e[+-]?\d+)?\b", "NUMBER"),
    (r"\b\d+e[+-]?\d+\b", "NUMBER"),
    (r"[ \t]+", " "),
)


@dataclass(frozen=True)
class Block:
    """One fenced block of a page."""

    language: str
    text: str
    line: int
    """The line of the page on which its text begins, from 1."""
    not_run: str = ""
    """Why it is not run, where it is not."""


def blocks_of(page: Path) -> list[Block]:
    """All fenced blocks of a page, in order."""
    source = page.read_text()
    return [_block(source, found) for found in _FENCE.finditer(source)]


def _block(source: str, found: re.Match[str]) -> Block:
    told = _NOT_RUN.search(source, 0, found.start())
    line = source.count("\n", 0, found.start(2)) + 1
    return Block(found[1], found[2], line, told[1] if told else "")


def without_figures(text: str) -> str:
    """A text with sizes, times, shares and places in files replaced by words, and its spaces by single ones."""
    for pattern, word in _FIGURES:
        text = re.sub(pattern, word, text)
    return "\n".join(line.strip() for line in text.strip().splitlines())


def run_page(page: Path) -> int:
    """Runs a page's blocks from the first to the last, and returns how many were run.

    Raises:
      AssertionError: a block prints something else than the page shows.
      Exception: whatever a block raises.
    """
    namespace: dict[str, Any] = {"__name__": "__main__"}
    printed = io.StringIO()
    count = 0
    for block in blocks_of(page):
        if block.not_run:
            continue
        if block.language == "python":
            # Empty lines in front give what is raised, and memline's own source lines, the page's numbers.
            code = compile("\n" * (block.line - 1) + block.text, str(page), "exec")
            with contextlib.redirect_stdout(printed):
                exec(code, namespace)
            count += 1
        elif block.language == "output":
            shown, found = without_figures(block.text), without_figures(printed.getvalue())
            assert found == shown, f"{page}:{block.line}: this was printed:\n{printed.getvalue()}"
            printed = io.StringIO()
            count += 1
        elif block.language == "pycon":
            _run_session(page, block, namespace)
            count += 1
    return count


def _run_session(page: Path, block: Block, namespace: dict[str, Any]) -> None:
    flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
    test = doctest.DocTestParser().get_doctest(block.text, namespace, page.name, str(page), block.line - 1)
    test.globs = namespace  # the page's own, and not a copy
    report: list[str] = []
    results = doctest.DocTestRunner(optionflags=flags).run(test, out=report.append, clear_globs=False)
    assert not results.failed, "".join(report)
