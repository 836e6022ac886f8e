"""Whether a built site loads anything from another host: it has to open without a network."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

_LOADING = {"script": "src", "img": "src", "iframe": "src", "source": "src", "video": "src", "audio": "src"}
_LOADED_LINKS = {"stylesheet", "icon", "preload", "preconnect", "dns-prefetch", "modulepreload", "manifest"}
_CSS = re.compile(r"""(?:@import\s+|url\(\s*)["']?((?:https?:)?//[^"')\s]+)""")


class _Assets(HTMLParser):
    """Collects what a page loads by itself; a link that a reader may click is not that."""

    def __init__(self) -> None:
        super().__init__()
        self.remote: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        address = given.get(_LOADING.get(tag, ""), "")
        if tag == "link" and _LOADED_LINKS & set(given.get("rel", "").split()):
            address = given.get("href", "")
        if re.match(r"(https?:)?//", address):
            self.remote.append(address)


def remote_assets(site: Path) -> list[str]:
    """Every address of another host that a page or a style sheet of the site would load, with the file it is in."""
    found = []
    for path in sorted(site.rglob("*.html")):
        reader = _Assets()
        text = path.read_text()
        reader.feed(text)
        styles = re.findall(r"<style[^>]*>(.*?)</style>", text, re.DOTALL)
        remote = [*reader.remote, *(url for style in styles for url in _CSS.findall(style))]
        found += [f"{address} in {path.relative_to(site)}" for address in remote]
    for path in sorted(site.rglob("*.css")):
        found += [f"{address} in {path.relative_to(site)}" for address in _CSS.findall(path.read_text())]
    return found
