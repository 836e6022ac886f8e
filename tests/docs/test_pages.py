"""Every error and every move has its page, every page its place, and what is generated is not stale."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

import memline
from memline.errors import MemlineError
from memline.plan.moves import Move
from memline.rules.coverage import coverage
from website.assets import remote_assets
from website.hooks import GENERATED, on_page_markdown, on_post_build

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
ERRORS = [
    error for error in vars(memline.errors).values() if isinstance(error, type) and issubclass(error, MemlineError)
]
MOVES = list(get_args(Move))


def places(nav: Any) -> list[str]:
    """The files that a navigation names, at any depth."""
    if isinstance(nav, str):
        return [nav]
    return [place for entry in (nav.values() if isinstance(nav, dict) else nav) for place in places(entry)]


@pytest.mark.parametrize("kind", [*ERRORS, *MOVES], ids=lambda kind: kind.__name__)
def test_each_error_and_each_move_has_a_page_that_is_about_it(kind):
    page = ROOT / kind.page
    assert page.is_file()
    assert kind is MemlineError or page.read_text().startswith(f"# {kind.__name__}\n")
    index = page.parent / "index.md"
    assert kind is MemlineError or f"({page.name})" in index.read_text()


def test_all_that_is_public_was_asked():
    public = {name for name in memline.__all__ if name.endswith("Error")}
    assert public == {error.__name__ for error in ERRORS}
    assert {move.__name__ for move in MOVES} <= set(memline.__all__)


def test_every_page_is_in_the_navigation_once():
    named = places(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"])
    assert sorted(named) == sorted(str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md"))


@pytest.mark.parametrize("page", [ROOT / "README.md", ROOT / "CONTRIBUTING.md"], ids=lambda page: page.name)
def test_links_between_files_hold(page):
    links = re.findall(r"\]\((?!https?:)([^)#]+)[^)]*\)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_every_public_name_is_in_the_reference():
    text = (DOCS / "reference.md").read_text()
    shown = {line.rpartition(".")[2] for line in text.splitlines() if line.startswith("::: ")}
    assert set(memline.__all__) <= shown


def test_the_coverage_is_that_of_the_installed_jax():
    page = on_page_markdown((DOCS / "rule-coverage.md").read_text())
    rows = re.findall(r"^\| `(\w[\w-]*)` \| (\w+) \|", page, re.MULTILINE)
    assert rows == [(entry.primitive, entry.fate) for entry in coverage()]


def test_the_benchmark_says_where_it_ran():
    page = on_page_markdown((DOCS / "benchmark.md").read_text())
    assert "<!-- generated" not in page
    assert re.search(r"^\| jaxlib \| [\d.]+ \|$", page, re.MULTILINE)
    assert re.search(r"^\| processor \| .+ \|$", page, re.MULTILINE)


@pytest.mark.parametrize("name", GENERATED)
def test_what_is_generated_is_asked_for_by_some_page(name):
    assert any(f"<!-- generated: {name} -->" in page.read_text() for page in DOCS.rglob("*.md"))


def test_an_unknown_name_ends_the_build():
    with pytest.raises(KeyError, match="nonsense"):
        on_page_markdown("<!-- generated: nonsense -->\n")


@pytest.mark.parametrize(
    "loading",
    [
        '<script src="https://cdn.example/a.js"></script>',
        '<link rel="stylesheet" href="//fonts.example/b.css">',
        "<img src='http://pictures.example/c.png'>",
        "<style>@import url(https://fonts.example/d.css);</style>",
    ],
)
def test_a_site_that_loads_from_elsewhere_is_refused(tmp_path, loading):
    (tmp_path / "index.html").write_text(f'<a href="https://example.org">a link</a><img src="here.png">{loading}')
    assert len(remote_assets(tmp_path)) == 1
    with pytest.raises(ValueError, match="loads from elsewhere"):
        on_post_build({"site_dir": str(tmp_path)})
    (tmp_path / "index.html").write_text('<a href="https://example.org">a link</a>')
    on_post_build({"site_dir": str(tmp_path)})
