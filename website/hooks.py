"""mkdocs calls these: they put generated tables into pages and refuse a site that loads anything from elsewhere."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.page import page_of as benchmark_page
from website.assets import remote_assets
from website.coverage import coverage_table

ROOT = Path(__file__).parents[1]
_MARK = re.compile(r"^<!-- generated: (\S+) -->$", re.MULTILINE)


def _file(name: str) -> Callable[[], str]:
    """A file of the source without its first line, for the page has a title of its own."""
    return lambda: (ROOT / name).read_text().partition("\n")[2]


GENERATED: dict[str, Callable[[], str]] = {
    "rule-coverage": coverage_table,
    "benchmark": lambda: benchmark_page(ROOT / "docs" / "figures" / "benchmark.json"),
    "CHANGELOG.md": _file("CHANGELOG.md"),
    "CONTRIBUTING.md": _file("CONTRIBUTING.md"),
}
"""What a page may ask for by a line `<!-- generated: name -->`."""


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Puts what is generated in place of the line that asks for it; a name that is not known ends the build."""
    return _MARK.sub(lambda mark: GENERATED[mark[1]](), markdown)


def on_post_build(config: Any, **_: Any) -> None:
    """Ends the build with an error where a page would load something from another host."""
    found = remote_assets(Path(config["site_dir"]))
    if found:
        raise ValueError("the site loads from elsewhere: " + "; ".join(found[:5]))
