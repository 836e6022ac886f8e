"""Every code block of the documentation runs and prints what the page says it prints."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from memline.cli.main import main
from tests.docs.blocks import Block, blocks_of, run_page, without_figures

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
RUN = ("python", "pycon", "output")
LANGUAGES = {*RUN, "console", "text", "json", "toml", "csv", "cmake"}


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def commands(block: Block) -> list[list[str]]:
    """The calls of memline in a block of shell commands, as words, with lines that end in a backslash joined."""
    text = block.text.replace("\\\n", " ")
    lines = [line.removeprefix("$ ").split("#")[0].split() for line in text.splitlines()]
    return [line[1:] for line in lines if line[:1] == ["memline"]]


@pytest.mark.parametrize("page", [page for page in PAGES if any(b.language in RUN for b in blocks_of(page))], ids=name)
def test_a_pages_blocks_run_and_print_what_it_shows(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # what blocks write is theirs
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT / "src"), os.environ.get("PYTHONPATH", "")]))
    assert run_page(page)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_blocks_are_of_known_languages_and_fences_are_closed(page):
    assert {block.language for block in blocks_of(page)} <= LANGUAGES
    assert page.read_text().count("\n```") + page.read_text().startswith("```") == 2 * len(blocks_of(page))


@pytest.mark.parametrize(
    ("page", "block"),
    [
        pytest.param(page, block, id=f"{name(page)}:{block.line}")
        for page in PAGES
        for block in blocks_of(page)
        if block.language == "console" and not block.not_run and commands(block)
    ],
)
def test_commands_and_their_options_exist(page, block, capsys):
    for command, *words in commands(block):
        with pytest.raises(SystemExit) as ended:
            main([command, "--help"])
        assert ended.value.code == 0, f"{page}:{block.line}: no command {command}"
        if command == "run":  # what stands after the script's name may be the script's own
            words = words[: next((at for at, word in enumerate(words) if word.endswith(".py")), None)]
        known = set(re.findall(r"(?<![\w-])--?[a-z][\w-]*", capsys.readouterr().out))
        options = {word.split("=")[0] for word in words if re.match(r"--?[a-z]", word)}
        assert options <= known, f"{page}:{block.line}: memline {command} has no {options - known}"


def test_what_is_not_run_is_little():
    assert sum(bool(block.not_run) for page in PAGES for block in blocks_of(page)) <= 5


def test_blocks_can_fail(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("```python\nx = 2\nprint(x, 'apples, 2.50 MiB')\n```\n\n```output\n2 apples, 7.00 GiB\n```\n")
    assert run_page(page) == 2
    page.write_text(page.read_text().replace("2 apples", "3 apples"))
    with pytest.raises(AssertionError, match="2 apples"):
        run_page(page)
    page.write_text("```python\nx = 2\n```\n\n```pycon\n>>> x + 1\n4\n```\n")
    with pytest.raises(AssertionError, match="Expected"):
        run_page(page)
    page.write_text("Text.\n\n<!-- not run: it fails -->\n```python\nraise ValueError\n```\n")
    assert [block.not_run for block in blocks_of(page)] == ["it fails"]
    assert run_page(page) == 0


def test_figures_are_left_out_of_comparisons_and_nothing_else():
    assert without_figures("1. SplitAxis(chunk=8), 12.5 MiB, about 3 ms  at a.py:12 (f)") == (
        "1. SplitAxis(chunk=8), FIGURE, about FIGURE at FILE (f)"
    )
