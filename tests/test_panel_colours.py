"""The colours of several sources can be told apart, by readers of any kind of sight, in both themes."""

from __future__ import annotations

import re
from itertools import combinations
from pathlib import Path

import pytest

CSS = Path(__file__).parents[1] / "blaxel_jupyter/panel/src/sources.css"
LIGHT, DARK = (
    re.findall(r"--bxl-s\d: #([0-9a-f]{6})", part)
    for part in CSS.read_text().split("[data-jp-theme")
)
SIGHT = {
    "full": ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)),
    "protanopia": ((0.152, 1.053, -0.205), (0.115, 0.786, 0.099), (-0.004, -0.048, 1.052)),
    "deuteranopia": ((0.367, 0.861, -0.228), (0.280, 0.673, 0.047), (-0.012, 0.043, 0.969)),
    "tritanopia": ((1.256, -0.077, -0.179), (-0.078, 0.931, 0.148), (0.005, 0.691, 0.304)),
}
"""What is left of linear red, green and blue (Machado, Oliveira and Fernandes 2009)."""


def linear(colour: str) -> list[float]:
    values = [int(colour[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    return [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in values]


def contrast(one: str, other: str) -> float:
    """Return the contrast of WCAG 2."""
    weights = (0.2126, 0.7152, 0.0722)
    dark, bright = sorted(
        sum(w * v for w, v in zip(weights, linear(c), strict=True)) for c in (one, other)
    )
    return (bright + 0.05) / (dark + 0.05)


def lab(colour: str, sight: str) -> tuple[float, float, float]:
    """Return a colour as it is seen, in CIELAB."""
    rgb = linear(colour)
    r, g, b = (
        min(1.0, max(0.0, sum(w * v for w, v in zip(row, rgb, strict=True))))
        for row in SIGHT[sight]
    )
    xyz = (
        (0.4124 * r + 0.3576 * g + 0.1805 * b) / 0.9505,
        0.2126 * r + 0.7152 * g + 0.0722 * b,
        (0.0193 * r + 0.1192 * g + 0.9505 * b) / 1.089,
    )
    x, y, z = (v ** (1 / 3) if v > 0.008856 else 7.787 * v + 16 / 116 for v in xyz)
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


@pytest.mark.parametrize("sight", SIGHT)
@pytest.mark.parametrize("colours", [LIGHT, DARK], ids=["light", "dark"])
def test_each_two_are_told_apart(colours: list[str], sight: str) -> None:
    """Any two of the eight are far apart as they are seen: at least 25, where 2 can just be noticed."""
    assert len(colours) == 8
    for one, other in combinations(colours, 2):
        distance = (
            sum((a - b) ** 2 for a, b in zip(lab(one, sight), lab(other, sight), strict=True))
            ** 0.5
        )
        assert distance >= 25, (one, other)


@pytest.mark.parametrize(
    ("colours", "back"), [(LIGHT, "ffffff"), (DARK, "111111")], ids=["light", "dark"]
)
def test_each_stands_out(colours: list[str], back: str) -> None:
    """Each bar has the contrast to the background that graphics need."""
    assert min(contrast(colour, back) for colour in colours) >= 3
