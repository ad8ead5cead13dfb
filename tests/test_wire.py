"""Framing, both ways: every case whole, byte by byte and at random cuts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blaxel_jupyter import wire
from blaxel_jupyter.wire import Lines, LineSplitter, decode_like_go

LINES = {
    "nothing": (b"", [], b""),
    "one": (b"a\n", [b"a"], b""),
    "no end": (b"a\nb", [b"a"], b"b"),
    "empty lines": (b"\n\n \n", [b"", b"", b" "], b""),
    "crlf": (b"a\r\nb\r\n", [b"a\r", b"b\r"], b""),
    "lone cr": (b"1%\r2%\r3%\n", [b"1%\r2%\r3%"], b""),
    "other line ends": (
        "a\x0bb\x0cc\x1cd\x1ee\x85f\u2028g\u2029h\n".encode(),
        ["a\x0bb\x0cc\x1cd\x1ee\x85f\u2028g\u2029h".encode()],
        b"",
    ),
    "nul and bad utf-8": (b"\0\n\xff\xfe\n\xe2\x82", [b"\0", b"\xff\xfe"], b"\xe2\x82"),
}


def split(pieces: list[bytes]) -> tuple[list[bytes], bytes]:
    """Feed the pieces to a splitter and close it."""
    splitter = LineSplitter()
    lines = [line for piece in pieces for line in splitter.feed(piece)]
    return lines, splitter.close()


@pytest.mark.parametrize("case", LINES)
def test_lines(case: str) -> None:
    """Only LF ends a line, and nothing is lost, whole or byte by byte."""
    data, lines, rest = LINES[case]
    assert split([data]) == (lines, rest)
    assert split([data[i : i + 1] for i in range(len(data))]) == (lines, rest)


@given(pieces=st.lists(st.binary(max_size=20) | st.just(b"\n")))
def test_lines_do_not_depend_on_cuts(pieces: list[bytes]) -> None:
    """Joining what comes out gives what went in, wherever it was cut."""
    lines, rest = split(pieces)
    assert b"\n".join([*lines, rest]) == b"".join(pieces)
    assert all(b"\n" not in line for line in [*lines, rest])


def test_close_forgets() -> None:
    """After ``close`` a splitter begins anew."""
    splitter = LineSplitter()
    splitter.feed(b"half")
    assert splitter.close() == b"half"
    assert splitter.feed(b"new\n") == [b"new"]
    assert splitter.close() == b""


def test_partial_line_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """A line without end is handed out in pieces, and none of it is lost."""
    monkeypatch.setattr(wire, "MAX_PARTIAL", 10)
    splitter = LineSplitter()
    out = [piece for _ in range(5) for piece in splitter.feed(b"x" * 4)]
    out += splitter.feed(b"y\n")
    assert max(len(piece) for piece in out) <= 14
    assert b"".join(out) == b"x" * 20 + b"y"


def test_a_long_line_in_many_chunks_is_linear() -> None:
    """No chunk makes the splitter look at the earlier ones again (seconds, where it does)."""
    splitter = LineSplitter()
    for _ in range(40_000):
        splitter.feed(b"0123456789" * 10)
    assert len(splitter.feed(b"\n")[0]) == 4_000_000


GO = {
    b"plain": "plain",
    "é€😀".encode(): "é€😀",
    b"\xff\xfe": "\ufffd\ufffd",
    b"\xe2\x82": "\ufffd\ufffd",
    b"\xe2\x82x": "\ufffd\ufffdx",
    b"\xed\xa0\x80": "\ufffd\ufffd\ufffd",
    b"\xc3(": "\ufffd(",
    b"\xf0\x9f\x98": "\ufffd\ufffd\ufffd",
    b"nul\0": "nul\0",
}


@pytest.mark.parametrize("data", GO)
def test_decode_like_go(data: bytes) -> None:
    """Each offending byte is one U+FFFD (protocol 0.5)."""
    assert decode_like_go(data) == GO[data]


@given(st.text())
def test_decode_like_go_is_utf8(text: str) -> None:
    """Valid text is what it is."""
    assert decode_like_go(text.encode()) == text


@given(st.binary(max_size=60) | st.text("a\u2028\n\r\x85", max_size=20).map(str.encode))
def test_lines_are_counted_before_they_are_decoded(data: bytes) -> None:
    """The number of lines is what splitting gives, and each is decoded for itself."""
    lines = Lines(data)
    count = len(lines)
    expected = [line.decode("utf-8", "replace") for line in data.split(b"\n")]
    assert lines.texts() == expected
    assert count == len(expected) == len(lines)
    assert lines.texts() is lines.texts()
