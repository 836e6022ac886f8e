"""The page's colours: texts can be read (WCAG 2.2, level AA), light and dark, and all tell neighbours apart."""

import itertools
import math
import re
from collections.abc import Sequence
from importlib.resources import files

import pytest

STYLE = files("memline.report.page").joinpath("assets", "style.css").read_text(encoding="utf-8")
TINTS = dict(re.findall(r"\.(tint\d) \{ --fill: (#[0-9a-f]{6})", STYLE))
Rgb = tuple[float, float, float]


def blocks() -> list[dict[str, str]]:
    """The colours by name: of light pages, and of dark ones, which stand twice: by the system's choice and by hand."""
    told = re.findall(r"\{[^{}]*--page:[^{}]*\}", STYLE)
    found = [dict(re.findall(r"--([a-z]+): (#[0-9a-f]{6})", block)) for block in told]
    assert len(found) == 3
    return found


def linear(colour: str) -> Rgb:
    r, g, b = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
    return _linear(r), _linear(g), _linear(b)


def _linear(channel: float) -> float:
    return channel / 12.92 if channel <= 0.04045 else ((channel + 0.055) / 1.055) ** 2.4


def mapped(rows: Sequence[Rgb], colour: Rgb) -> Rgb:
    x, y, z = (sum(w * c for w, c in zip(row, colour, strict=True)) for row in rows)
    return x, y, z


def light(colour: str) -> float:
    return sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear(colour), strict=True))


def contrast(one: str, other: str) -> float:
    low, high = sorted((light(one), light(other)))
    return (high + 0.05) / (low + 0.05)


# What those see who lack one kind of cone: Viénot, Brettel and Mollon 1999, on linear light.
BLIND = {
    "protan": ((0.11238, 0.88762, 0.0), (0.11238, 0.88762, 0.0), (0.00401, -0.00401, 1.0)),
    "deutan": ((0.29275, 0.70725, 0.0), (0.29275, 0.70725, 0.0), (-0.02234, 0.02234, 1.0)),
    "all": ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)),
}


# From linear light to CIE XYZ, as shares of the white of D65.
XYZ = ((0.4339, 0.3762, 0.1899), (0.2126, 0.7152, 0.0722), (0.0177, 0.1095, 0.8728))


def lab(colour: Rgb) -> Rgb:
    shares = (max(c, 0.0) for c in mapped(XYZ, colour))
    x, y, z = (c ** (1 / 3) if c > 0.008856 else 7.787 * c + 16 / 116 for c in shares)
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


def apart(one: str, other: str, kind: str) -> float:
    """How far two colours are apart in CIELAB to those who see so; 2.3 can just be told apart."""
    seen = (lab(mapped(BLIND[kind], linear(colour))) for colour in (one, other))
    return math.dist(*seen)


@pytest.mark.parametrize("colours", blocks(), ids=["light", "dark", "dark by hand"])
class TestContrast:
    @pytest.mark.parametrize("text", ["text", "quiet", "link", "limit", "good"])
    def test_text(self, colours: dict[str, str], text: str):
        assert contrast(colours[text], colours["page"]) >= 4.5
        assert contrast(colours[text], colours["raised"]) >= 4.5

    def test_names_on_rectangles(self, colours: dict[str, str]):
        assert all(contrast(colours["ink"], fill) >= 4.5 for fill in TINTS.values())

    @pytest.mark.parametrize("line", ["control", "limit", "picked", "text"])
    def test_lines_and_controls(self, colours: dict[str, str], line: str):
        assert contrast(colours[line], colours["page"]) >= 3

    def test_dark_by_choice_and_by_hand_are_the_same(self, colours: dict[str, str]):
        assert colours in (blocks()[0], blocks()[1])


@pytest.mark.parametrize("kind", sorted(BLIND))
def test_neighbours_are_told_apart(kind: str):
    fills = [TINTS[f"tint{i}"] for i in range(7)]
    assert min(apart(one, other, kind) for one, other in itertools.pairwise([*fills, fills[0]])) > 15
