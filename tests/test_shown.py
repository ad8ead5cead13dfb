"""Many lines searched at once: what is found is what is found in each."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from blaxel_jupyter.levels import LEVELS, level, levels
from blaxel_jupyter.panel.escapes import last_state, visible_text
from blaxel_jupyter.patterns import PatternError, compiled, literal_of
from blaxel_jupyter.shown import Shown

CASES = json.loads(Path(__file__).with_name("filter_cases.json").read_text("utf-8"))
TEXTS = [line for line, _ in CASES["levels"]]

PIECES = st.sampled_from(
    [
        *"ab19 .^$|()",
        *(r"\s", r"\S", r"\w", r"\W", r"\d", r"\D", r"\b", r"\B", r"\n", r"\x0a", r"\."),
        *("[ab]", "[^a]", r"[^\s]", r"[\S]", r"[\sa]", r"[^\d ]", r"[\n]", r"[\x00-\x7f]"),
        *("*", "+", "?", "{2}", "*?", "(?:", "(?=", "(?!"),
    ]
)
SOURCES = st.lists(PIECES, min_size=1, max_size=8).map("".join)
LINES = st.lists(st.text("ab1 9.", max_size=6), min_size=1, max_size=6)


@settings(max_examples=500, deadline=None)
@given(source=SOURCES, lines=LINES, ignore_case=st.booleans())
@example("a(?!\\s+b)", ["a", "b"], False)
@example("[^x]*b", ["aa", "bb", ""], False)
@example("$", ["", "a", ""], False)
def test_a_pattern_is_found_in_the_same_lines(
    source: str, lines: list[str], ignore_case: bool
) -> None:
    """No match reaches over a line's end, and none is missed for what the next line holds."""
    try:
        pattern = compiled(source, ignore_case=ignore_case)
    except PatternError:
        return
    plain = source.replace(r"\B", r"(?!\b)")  # Python's own finds no \B in an empty line
    alone = re.compile(plain, re.ASCII | (re.IGNORECASE if ignore_case else re.NOFLAG))
    wanted = [i for i, line in enumerate(lines) if alone.search(line)]
    assert list(Shown(lines).with_pattern(pattern)) == wanted
    assert list(Shown(lines).with_pattern(pattern, literal_of(source))) == wanted
    many = [*lines, *[""] * 50]  # where the literal is rare
    found = Shown(many).with_pattern(pattern, literal_of(source))
    assert [i for i in found if i < len(lines)] == wanted


@pytest.mark.parametrize(
    ("source", "literal"),
    [
        ("timed out", "timed out"),
        (r"loss=0{3}\d", "loss="),
        ("ab+cd*efg", "efg"),
        (r"\[worker\] .* done", "[worker] "),
        ("a|b", ""),
        ("(abc|def) x", " x"),
        ("(a(b)c)?xy", "xy"),
        (r"[abc]+\d", ""),
        ("abc?", "ab"),
        (r"x\{1\}y", "x{1}y"),
        ("colou?r", "colo"),
        ("(?!abc)de", "de"),
    ],
)
def test_what_every_match_has(source: str, literal: str) -> None:
    """The longest text that no match can do without, or nothing."""
    compiled(source, ignore_case=False)
    assert literal_of(source) == literal


WORDS = st.lists(st.text("aAbBäÄßİſΣσς \u0307K", max_size=5), min_size=1, max_size=6)


@settings(deadline=None)
@given(lines=WORDS, words=st.lists(st.text("aAbBäÄßİſΣσς\nK", max_size=3), max_size=3))
def test_a_word_is_found_in_the_same_lines(lines: list[str], words: list[str]) -> None:
    """Lower case of all lines at once is that of each, also where it has another length."""
    lowered = [word.lower() for word in words]
    wanted = {i for i, line in enumerate(lines) if any(word in line.lower() for word in lowered)}
    assert Shown(lines).with_words(lowered) == wanted


@settings(max_examples=500, deadline=None)
@given(st.lists(st.text("ab[]0;1m38?:\\\x1b\x07\x9b\r\n\x18\u202e\u200d😀", max_size=12)))
@example(["\x1b[31mred\x1b[0m", "plain", "\x1b]8;;\x1b[1mx\x07y"])
@example(["\x1b[3\x1b[1m1mx", "\x1b[1m\n", "a\rb\x1b[0m", "a\x1b[2m\u200d\x1b[m"])
def test_lines_are_as_they_are_shown(lines: list[str]) -> None:
    """Colours taken out of many lines at once leave what each line is shown as."""
    assert Shown(lines).texts == [visible_text(last_state(line)) for line in lines]


def test_lines_that_are_not_there() -> None:
    """A null is an empty line."""
    assert Shown([None, "a"]).texts == ["", "a"]
    assert Shown([]).with_words(["a"]) == set()


@settings(max_examples=200, deadline=None)
@given(
    lines=st.lists(st.sampled_from(TEXTS) | st.text(max_size=20), max_size=30),
    wanted=st.frozensets(st.integers(0, len(LEVELS) - 1), min_size=1),
)
def test_levels_of_many_lines_are_those_of_each(lines: list[str], wanted: frozenset[int]) -> None:
    """A wanted level is never overlooked, and nothing else is taken for it."""
    shown = Shown(lines)
    found = levels(shown, wanted)
    for text, number in zip(shown.texts, found, strict=True):
        assert number in {0, level(text)}
        assert number == level(text) or level(text) not in wanted
