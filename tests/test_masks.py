"""Secrets are masked in every spelling, whole or cut, and nothing else is."""

from __future__ import annotations

import base64
import copy
import html
import json
import pickle
import re
import urllib.parse

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blaxel_jupyter.masks import LEAST, NONE, Masks, Screen
from blaxel_jupyter.wire import Lines

KEY = 'sk-CANARY/5up3r+s3cr3t=~%x"<ü'
MASKS = Masks([("KEY", KEY)])
MARK = "[KEY masked]"
PEM = (
    "-----BEGIN KEY-----\n"
    + "\n".join("MIIE" + c * 60 for c in "abc")
    + "\nshort\n-----END KEY-----\n"
)


def spellings() -> list[str]:
    """Return the key as programs write it."""
    return [
        KEY,
        json.dumps(KEY)[1:-1],
        json.dumps(KEY, ensure_ascii=False)[1:-1],
        urllib.parse.quote(KEY),
        urllib.parse.quote(KEY, safe=""),
        urllib.parse.quote_plus(KEY),
        re.sub("%..", lambda escape: escape[0].lower(), urllib.parse.quote(KEY)),
        html.escape(KEY),
        html.escape(KEY, quote=False),
        KEY.encode().hex(),
        KEY.encode().hex().upper(),
    ]


@pytest.mark.parametrize("text", spellings())
def test_a_value_is_masked_as_programs_write_it(text: str) -> None:
    """Plain, in JSON, in an address, in HTML, in hexadecimal."""
    assert MASKS.apply(f"a {text} b {text}") == (f"a {MARK} b {MARK}", 2)


@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
@pytest.mark.parametrize("before", ["", "x", "xy", "KEY="])
@pytest.mark.parametrize("after", ["", "\n", "xy"])
def test_base64_is_masked_wherever_it_begins(encode: object, before: str, after: str) -> None:
    """Of the value not even three characters of base64 are left."""
    text = encode((before + KEY + after).encode()).decode()  # type: ignore[operator]
    shown, count = MASKS.apply(f"x{text}x")
    assert count == 1
    left = shown.replace(MARK, "")
    assert len(left) <= len(base64.b64encode((before + after).encode())) + 6


@pytest.mark.parametrize("width", [64, 76])
def test_base64_over_several_lines_is_masked(width: int) -> None:
    """As ``base64`` and ``openssl`` wrap it."""
    value = KEY * 8
    text = base64.b64encode(value.encode()).decode()
    wrapped = "\n".join(text[at : at + width] for at in range(0, len(text), width))
    shown, _ = Masks([("KEY", value)]).apply(wrapped)
    assert set(shown.split("\n")) <= {MARK, f"{MARK}="} | {f"{MARK}{c}=" for c in text[-8:]}


def test_a_value_of_several_lines_is_masked_line_by_line() -> None:
    """Each line of eight characters or more, also alone; what is shorter stays."""
    masks = Masks([("PEM", PEM)])
    shown, count = masks.apply(PEM)
    assert shown.split("\n") == ["[PEM masked]"] * 4 + ["short", "[PEM masked]", ""]
    assert count == 5
    assert masks.text(json.dumps(PEM.strip())) == '"[PEM masked]"'


def test_short_values_are_not_masked() -> None:
    """A value of seven characters is in any text."""
    assert Masks([("A", "1234567"), ("B", ""), ("C", "\n\n")]).apply("1234567") == ("1234567", 0)
    assert Masks([("A", "12345678")]).apply("12345678") == ("[A masked]", 1)
    assert LEAST == 8


def test_values_that_overlap_leave_nothing() -> None:
    """One mark stands for values that overlap; what of them stood beyond is masked, too."""
    masks = Masks([("A", "abcdefgh1234"), ("B", "1234ijklmnop")])
    assert masks.apply("<abcdefgh1234ijklmnop>") == ("<[A masked]>", 1)
    assert masks.apply("abcdefgh1234abcdefgh1234") == ("[A masked][A masked]", 2)


def test_the_longer_of_two_values_is_masked_whole() -> None:
    """A value that another one begins with does not uncover its rest."""
    masks = Masks([("A", "abcdefgh"), ("B", "abcdefgh-and-more")])
    assert masks.text("abcdefgh-and-more abcdefgh") == "[B masked] [A masked]"


@pytest.mark.parametrize(
    "cut",
    [
        "\x1b[01;31m\x1b[K",
        "\x1b]0;title\x07",
        "\x1b]8;;http://x\x1b\\",
        "\x07",
        "\x9b1m",
        "\x1bP unterminated\x9c",
        "\x1b(B",
    ],
)
def test_escapes_that_cut_through_a_value_hide_nothing(cut: str) -> None:
    """``grep --color`` paints a part of it: what is shown, without escapes, has no value."""
    line = f"\x1b[32mok\x1b[0m {KEY[:6]}{cut}{KEY[6:]} {cut}end"
    assert MASKS.places(f"x\n{line}\ny".encode()) == [1]
    lines, count = MASKS.lines(["x", line, f"\x1b[32mok{cut}", "y"])
    assert count == 1
    assert lines[1].startswith(f"ok {MARK}")
    assert lines[2] == f"\x1b[32mok{cut}", "other lines keep their colours"


def test_each_state_of_a_progress_bar_is_masked() -> None:
    """The panel opens the history of a line."""
    lines, count = MASKS.lines([f"0% {KEY}\r50% {KEY[:4]}\x1b[m{KEY[4:]}\r100%"])
    assert lines == [f"0% {MARK}\r50% {MARK}\r100%"]
    assert count == 2


@given(st.lists(st.text(alphabet="ab\x1b[m0;\r\x07 ü", max_size=30), min_size=1, max_size=5))
def test_what_holds_no_value_stays_as_it_is(lines: list[str]) -> None:
    """Not one character changes, whatever else is in it."""
    assert MASKS.lines(lines) == (lines, 0)
    assert MASKS.places("\n".join(lines).encode()) == []


@given(
    st.lists(
        st.sampled_from([KEY, base64.b64encode(KEY.encode()).decode(), "x ", "\n"]), max_size=9
    )
)
def test_counts_agree(parts: list[str]) -> None:
    """What is counted in bytes is what is masked in the lines."""
    text = " ".join(parts)
    counts = [MASKS.apply(line)[1] for line in text.split("\n")]
    places = [row for row, count in enumerate(counts) for _ in range(count)]
    assert MASKS.places(text.encode()) == places
    assert MASKS.apply(text)[1] == len(places) == sum(len(part) > 2 for part in parts)


@pytest.mark.parametrize("n", range(4, len(KEY)))
def test_a_line_that_goes_on_does_not_show_the_beginning_of_a_value(n: int) -> None:
    """The rest of it arrives later."""
    assert MASKS.piece(f"key: {KEY[:n]}") == f"key: {MARK}"
    assert MASKS.piece(f"{KEY[-n:]} follows", begins=False) == f"{MARK} follows"
    assert MASKS.piece(f"{KEY[-n:]} follows").startswith(KEY[-n:])
    assert MASKS.held_back(f"key: {KEY[:n]}") == n


def test_a_piece_without_a_value_stays() -> None:
    """Also where it ends with three characters of one."""
    assert MASKS.piece("key: sk-") == "key: sk-"
    assert MASKS.piece(f"key: {KEY}") == f"key: {MARK}"
    assert MASKS.held_back("key: sk-") == 3
    assert MASKS.held_back("key") == 0
    assert NONE.piece(KEY) == KEY


def test_no_repr_and_no_pickle_holds_a_value() -> None:
    """Nobody gets at it by chance."""
    assert "CANARY" not in repr(MASKS)
    assert b"CANARY" not in pickle.dumps(MASKS)
    assert copy.deepcopy(MASKS) is MASKS
    assert MASKS
    assert not pickle.loads(pickle.dumps(MASKS))


def test_the_name_of_a_value_cannot_forge_anything() -> None:
    """A mark is one plain word in brackets, whatever the variable is called."""
    assert Masks([("A]\n<b>\x1b", "12345678")]).text("12345678") == "[A___b__ masked]"


def test_masks_together() -> None:
    """What either masks; nothing added to nothing is nothing."""
    other = Masks([("B", "another value")])
    assert (MASKS | other).text(f"{KEY} another value") == f"{MARK} [B masked]"
    assert (NONE | MASKS) is MASKS
    assert (MASKS | NONE) is MASKS
    assert not NONE | NONE


def test_a_screen_knows_which_rows_have_values() -> None:
    """Only those are looked at again when they are shown, wherever a part of them begins."""
    screen = Screen(MASKS)
    screen.look(0, 3, [["a", "b", None], "stdout"])
    screen.look(3, 5, [Lines(f"{KEY}\nd".encode())])
    screen.look(5, 6, [lambda: [KEY]])
    assert screen.count == 1
    assert screen.shown([KEY, "b"], 0) == [KEY, "b"], (
        "rows that were found clean are not read again"
    )
    assert screen.shown(["b", None, KEY, "d"], 1) == ["b", None, MARK, "d"]
    assert screen.shown(["b", None, KEY], 1) == ["b", None, MARK]
    assert screen.shown([KEY, "d"], 3) == [MARK, "d"]
    assert screen.shown([f"x\n{KEY}", 7], 5) == [f"x\n{MARK}", 7]
    assert screen.shown(["x"], 6) == ["x"]
