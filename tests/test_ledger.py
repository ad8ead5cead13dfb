"""One stream's bytes: in order, once, and never a guessed one."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from blaxel_jupyter.ledger import HOLE, SMALLEST_SHARE, Ledger, Rows, last_difference
from blaxel_jupyter.process import TRUNCATED
from blaxel_jupyter.wire import Lines

MARK = TRUNCATED.decode()

OUTPUTS = {
    "nothing": (b"", []),
    "one": (b"a\n", ["a"]),
    "no end": (b"a\nb", ["a", "b"]),
    "empty lines": (b"\n\n", ["", ""]),
    "crlf and cr": (b"a\r\n1\r2\r3\n", ["a\r", "1\r2\r3"]),
    "not lf": ("a\x0b\u2028\x85b\n".encode(), ["a\x0b\u2028\x85b"]),
    "bytes": (b"\xff\xe2\x82\nok\n\xe2\x82", ["\ufffd\ufffd", "ok", "\ufffd"]),
    "nuls": (b"a\0\n\0\0", ["a\0", "\0\0"]),
}


def texts(rows: list[Rows]) -> list[str]:
    """Return the lines of some rows."""
    return [text for row in rows for text in row.lines.texts()]


def fed(data: bytes, places: list[int]) -> tuple[Ledger, list[str]]:
    """Commit the bytes in blocks cut at these places, then close."""
    ledger = Ledger("stdout")
    marks = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    rows: list[Rows] = []
    for begin, end in itertools.pairwise(marks):
        rows += ledger.commit(begin, data[begin:end])
    return ledger, texts(rows + ledger.close())


@pytest.mark.parametrize("case", OUTPUTS)
@settings(deadline=None)
@given(places=st.lists(st.integers(0, 100), max_size=5))
def test_lines_of_blocks(case: str, places: list[int]) -> None:
    """Bytes are exact and lines the same, whole, byte by byte and at random cuts."""
    data, lines = OUTPUTS[case]
    for cuts in ([], list(range(len(data))), places):
        ledger, found = fed(data, cuts)
        assert (ledger.data, ledger.offset, ledger.size, found) == (
            data,
            len(data),
            len(data),
            lines,
        )
        assert ledger.missing == 0


@settings(deadline=None)
@given(data=st.binary(max_size=200), places=st.lists(st.integers(0, 400), max_size=8))
def test_any_bytes_at_any_cuts(data: bytes, places: list[int]) -> None:
    """The rows, joined, are the text."""
    ledger, lines = fed(data, places)
    assert ledger.data == data
    assert lines == Lines(data.removesuffix(b"\n")).texts() if data else lines == []


@settings(deadline=None)
@given(
    data=st.binary(min_size=1, max_size=100),
    blocks=st.lists(st.tuples(st.integers(0, 100), st.integers(0, 100)), max_size=10),
)
def test_overlapping_blocks_count_once(data: bytes, blocks: list[tuple[int, int]]) -> None:
    """Bytes that come again are left out, whatever blocks a server sends."""
    ledger = Ledger("stderr")
    rows: list[Rows] = []
    for begin, length in blocks:
        begin = min(begin, ledger.offset, len(data))
        rows += ledger.commit(begin, data[begin : begin + length])
    rows += ledger.commit(ledger.offset, data[ledger.offset :])
    assert ledger.data == data
    assert all(row.stream == "stderr" for row in rows)
    assert "\n".join(texts(rows + ledger.close())) == data.removesuffix(b"\n").decode(
        "utf-8", "replace"
    )


def test_a_hole_is_never_bridged() -> None:
    """Bytes beyond the next one are refused."""
    ledger = Ledger("stdout")
    ledger.commit(0, b"ab")
    with pytest.raises(ValueError, match="2 to 3"):
        ledger.commit(3, b"d")
    assert ledger.data == b"ab"


@pytest.mark.parametrize(("missing", "says"), [(7, "7 bytes"), (None, "unknown number")])
def test_skip_is_a_gap(missing: int | None, says: str) -> None:
    """A gap closes the line before it and is a row with its number of bytes."""
    ledger = Ledger("stdout")
    ledger.commit(0, b"half")
    rows = ledger.skip(missing, 11)
    assert [row.kind for row in rows] == ["line", "gap"]
    assert rows[0].lines.texts() == ["half"]
    assert says in rows[1].lines.texts()[0]
    assert rows[1].missing_bytes == missing
    assert texts(ledger.commit(11, b"on\n")) == ["on"]
    assert ledger.data == b"halfon\n"
    assert (ledger.missing, ledger.unknown_gap) == (missing or 0, missing is None)
    assert (ledger.offset, ledger.size) == (14, 7)


def test_partial_is_the_line_under_way() -> None:
    """What a prompt shows before its end is known, and bounded."""
    ledger = Ledger("stdout")
    ledger.commit(0, b"done\nprom")
    ledger.commit(9, b"pt> ")
    assert ledger.partial == "prompt> "
    ledger.commit(13, b"x" * 10_000)
    assert len(ledger.partial) == 4000
    assert texts(ledger.close()) == ["prompt> " + "x" * 10_000]
    assert ledger.partial == ""


HOLES = {
    "none": (0, b"text\n" * 2000, None),
    "few": (0, b"a" + bytes(100) + b"b", None),
    "head": (0, bytes(2 * HOLE) + b"text", (0, 2 * HOLE)),
    "head with nuls of the text": (0, bytes(2 * HOLE + 50) + b"text", (0, 2 * HOLE)),
    "all": (0, bytes(3 * HOLE), (0, 3 * HOLE)),
    "in the middle": (0, b"ab" + bytes(HOLE * 2 - 2) + b"c", (2, 2 * HOLE)),
    "at an offset": (100, bytes(HOLE * 2) + b"c", (0, 2 * HOLE - 100)),
}


@pytest.mark.parametrize("case", HOLES)
def test_hole(case: str) -> None:
    """Long runs of NULs up to a block's end may be a freed head; shorter ones are output."""
    offset, block, expected = HOLES[case]
    ledger = Ledger("stdout")
    ledger.commit(0, b"x" * offset)
    assert ledger.hole(block) == expected


def test_witness() -> None:
    """A known byte before the NULs tells later whether they were freed; it is never a NUL."""
    ledger = Ledger("stdout")
    assert ledger.witness(bytes(HOLE), 0) is None
    assert ledger.witness(b"\0\0ab" + bytes(HOLE), 4) == (2, ord("a"))
    ledger.commit(0, b"\0first")
    assert ledger.witness(bytes(HOLE), 0) == (1, ord("f"))
    ledger.skip(10, 16)
    assert ledger.witness(bytes(HOLE), 0) is None
    assert SMALLEST_SHARE > 2 * HOLE


LONG = b"b" * 600 + b"\n"
"""An overlap that is no coincidence."""

CHECKS: dict[str, tuple[bytes, str, bytes, bool, list[str]]] = {
    # delivered, the server's log, the bytes after, repaired, kinds of the rows
    "same": (b"a\nb\n", "a\nb\n", b"a\nb\n", False, []),
    "nothing": (b"", "", b"", False, []),
    "more": (b"a\n", "a\nb\n", b"a\nb\n", True, ["line"]),
    "more in mid-line": (b"a\nb", "a\nbc\n", b"a\nbc\n", True, ["line"]),
    "a marker was taken out": (b"xb\n", "xstdout:b\n", b"xstdout:b\n", True, ["notice", "line"]),
    "a late difference": (b"a\nb\nX\n", "a\nb\nY\nc\n", b"a\nb\nY\nc\n", True, ["notice", "line"]),
    "less": (b"a\nb\n", "a\n", b"a\n", True, ["notice"]),
    "bad bytes are known as such": (b"\xff\n", "\ufffd\n", b"\xff\n", False, []),
    "cut log that overlaps": (
        b"a\n" + LONG + b"c\n",
        MARK + LONG.decode() + "c\nd\n",
        b"a\n" + LONG + b"c\nd\n",
        True,
        ["line"],
    ),
    "cut log, nothing new": (b"a\nb\n", MARK + "b\n", b"a\nb\n", True, []),
    "cut log beyond": (b"a\n", MARK + "y\nz\n", b"a\ny\nz\n", True, ["gap", "line"]),
    "cut log of a freed head": (b"a\n", MARK + "\0\0y\n", b"a\ny\n", True, ["gap", "line"]),
}


@pytest.mark.parametrize("case", CHECKS)
def test_check_against_the_servers_log(case: str) -> None:
    """A stream's errors are put right and told; what cannot be checked is never called complete."""
    delivered, truth, after, repaired, kinds = CHECKS[case]
    ledger = Ledger("stdout")
    ledger.commit(0, delivered)
    rows = ledger.check(truth)
    assert ledger.data == after
    assert ledger.repaired is repaired
    assert [row.kind for row in rows] == kinds
    assert ledger.unknown_gap is ("gap" in kinds)


@settings(deadline=None)
@given(st.text("ab\n", max_size=30), st.text("ab\n", max_size=30))
def test_check_ends_at_the_truth(delivered: str, truth: str) -> None:
    """Whatever a stream delivered, the whole log is the result, and a second check finds nothing."""
    ledger = Ledger("stdout")
    ledger.commit(0, delivered.encode())
    ledger.check(truth)
    assert ledger.data.decode() == truth
    assert ledger.repaired is (delivered != truth)
    assert ledger.check(truth) == []


@settings(deadline=None)
@given(st.text("ab\n", max_size=30), st.text("ab\n", max_size=20))
def test_check_of_a_tail_keeps_what_was_delivered(delivered: str, tail: str) -> None:
    """A cut log never takes anything away, and its own end is the end."""
    ledger = Ledger("stdout")
    ledger.commit(0, delivered.encode())
    ledger.check(MARK + tail)
    assert ledger.data.decode().startswith(delivered)
    assert ledger.data.decode().endswith(tail)
    assert ledger.repaired


@pytest.mark.parametrize(
    ("data", "n", "kept", "again", "said"),
    [
        (b"a\nb\n", 0, b"a\nb\n", [], ""),
        (b"a\nb\n", 2, b"a\n", [], "last 1 lines"),
        (b"a\nbc\n", 2, b"a\nb", ["b"], "last 1 lines"),
        (b"a\nbc", 1, b"a\nb", ["b"], "last 1 bytes"),
        (b"a\n", 2, b"", [], "last 1 lines"),
    ],
)
def test_bytes_that_may_be_another_process_s_are_taken_back(
    data: bytes, n: int, kept: bytes, again: list[str], said: str
) -> None:
    """What is sure stays, an unfinished line of it is told again, and a notice says how much was taken."""
    ledger = Ledger("stdout")
    ledger.commit(0, data)
    notices = ledger.take_back(n)
    assert said in "".join(texts(notices))
    assert [row.kind for row in notices] == (["notice"] if n else [])
    assert (ledger.data, ledger.size, ledger.offset) == (kept, len(kept), len(kept))
    assert texts(ledger.close()) == again


@given(st.binary(max_size=30), st.binary(max_size=30), st.binary(max_size=30))
def test_last_difference(one: bytes, other: bytes, same: bytes) -> None:
    """Behind it, and not before, all is the same."""
    size = min(len(one), len(other))
    one, other = one[:size] + same, other[:size] + same
    at = last_difference(one, other)
    assert one[at:] == other[at:]
    assert at == 0 or one[at - 1] != other[at - 1]


@pytest.mark.parametrize(
    ("had", "truth", "after"),
    [
        (b"a\nb\n", b"a\nb\nc\n", b"a\nb\nc\n"),
        (b"a\nb\na\nb\n", b"a\nb\nc\n", b"a\nb\nc\n"),
        (b"a\nb\na\nb\n", b"a\nb\n", b"a\nb\n"),
        (b"x", b"a\n", b"a\n"),
    ],
)
def test_a_whole_file_that_is_believed_more(had: bytes, truth: bytes, after: bytes) -> None:
    """What it does not have is taken back, what it has more is committed; nothing is said if it only grew."""
    ledger = Ledger("stdout")
    ledger.commit(0, had)
    assert ledger.agrees(truth) == truth.startswith(had)
    notices = ledger.put_right(truth)
    ledger.commit(0, truth)
    assert ledger.data == after
    assert ledger.repaired == bool(notices) == (not truth.startswith(had))
