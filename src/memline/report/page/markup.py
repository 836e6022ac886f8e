"""Pieces of HTML: `element` escapes what it is given, so that no name in a user's program can become markup.

Text that is markup already is of the type `Markup`, which nothing but this module makes of text.
"""

from __future__ import annotations

import html
import json
from collections.abc import Iterable


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


Content = str | Iterable[str]

_EMPTY = frozenset({"input", "br"})


def element(tag: str, content: Content = "", **attributes: str | int | bool | None) -> Markup:
    """One element.

    Args:
      tag: its name, one of ours.
      content: what is inside it: a text, which is escaped unless it is `Markup`, or several.
      attributes: their names with "_" for "-" and without a last one; True for one without a value; None and False for
        none.

    Example:
        >>> element("p", "a < b", class_="note")
        '<p class="note">a &lt; b</p>'
    """
    written = "".join(
        _attribute(name, value) for name, value in attributes.items() if value is not None and value is not False
    )
    if tag in _EMPTY:
        return Markup(f"<{tag}{written}>")
    return Markup(f"<{tag}{written}>{joined(content)}</{tag}>")


def joined(content: Content) -> Markup:
    """Texts and markup, one after the other."""
    parts = (content,) if isinstance(content, str) else content
    return Markup("".join(part if isinstance(part, Markup) else html.escape(part) for part in parts))


def data_block(identifier: str, value: object) -> Markup:
    """A JSON value for the page's script. No text in it can end the block or begin a comment, as HTML reads it."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    text = text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
    return Markup(f'<script type="application/json" id="{html.escape(identifier)}">{text}</script>')


def own(text: str) -> Markup:
    """Text of the package's own files, which is markup, style or script as it stands."""
    return Markup(text)


def _attribute(name: str, value: str | int | bool | None) -> str:
    written = name.removesuffix("_").replace("_", "-")
    return f" {written}" if value is True else f' {written}="{html.escape(str(value))}"'
