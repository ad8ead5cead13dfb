"""The sandbox's log bytes, read and written: encoders and decoders as mirror images."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blaxel_jupyter import Process, ProtocolError
from blaxel_jupyter.process import (
    FELL_BEHIND,
    KEEPALIVE,
    NOTICES,
    TRUNCATED,
    Event,
    EventDecoder,
    TextDecoder,
    encode_chunk,
    encode_event,
    name_problem,
)
from blaxel_jupyter.wire import decode_like_go

Pieces = list[tuple[str, bytes]]

TEXT: dict[str, tuple[bytes, Pieces]] = {
    "nothing": (b"", []),
    "one chunk": (b"stdout:hi\n", [("stdout", b"hi\n")]),
    "both": (
        b"stdout:a\nstderr:b\nstdout:c",
        [("stdout", b"a\n"), ("stderr", b"b\n"), ("stdout", b"c")],
    ),
    "marker in mid-line": (b"stdout:astdout:b\n", [("stdout", b"ab\n")]),
    "keepalives": (
        b"[keepalive]\nstdout:a[keepalive]\nb\n[keepalive]\n",
        [("stdout", b"ab\n")],
    ),
    "almost tokens": (b"stdout:[keep\nstdout\nstder:\n", [("stdout", b"[keep\nstdout\nstder:\n")]),
    "cut character": (
        b"stdout:\xe2\x82stdout:\xac\n",
        [("stdout", b"\xe2\x82\xac\n")],
    ),
    "bytes": (b"stderr:\xff\0\r\n", [("stderr", b"\xff\0\r\n")]),
    "notice": (
        b"stdout:a\n" + NOTICES[0] + b"stdout:b\n",
        [("stdout", b"a\n"), ("system", NOTICES[0]), ("stdout", b"b\n")],
    ),
    "kill notice at the end": (
        b"stderr:x" + NOTICES[1],
        [("stderr", b"x"), ("system", NOTICES[1])],
    ),
    "truncated": (
        b"stdout:" + TRUNCATED + b"tail\n",
        [("gap", TRUNCATED), ("stdout", b"tail\n")],
    ),
    "fell behind": (
        b"stdout:a\n" + FELL_BEHIND + b"stdout:b\n",
        [("stdout", b"a\n"), ("gap", FELL_BEHIND), ("stdout", b"b\n")],
    ),
    "token begun at the end": (b"stdout:a\n[keepal", [("stdout", b"a\n[keepal")]),
    "unknown process": (b'{"error":"no"}', [("error", b'{"error":"no"}')]),
    "unknown process, cut": (b'{"error":"no', [("error", b'{"error":"no')]),
    "json that a process wrote": (b'stdout:{"error":1}\n', [("stdout", b'{"error":1}\n')]),
}


def decode(pieces: list[bytes]) -> Pieces:
    """Feed a text decoder and join what belongs together."""
    decoder = TextDecoder()
    out = [item for piece in pieces for item in decoder.feed(piece)]
    joined: Pieces = []
    for stream, data in out + decoder.close():
        if joined and joined[-1][0] == stream and stream in {"stdout", "stderr"}:
            joined[-1] = (stream, joined[-1][1] + data)
        else:
            joined.append((stream, data))
    return joined


def cut(data: bytes, places: list[int]) -> list[bytes]:
    """Cut bytes at these places."""
    marks = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[a:b] for a, b in itertools.pairwise(marks)]


@pytest.mark.parametrize("case", TEXT)
def test_text_stream(case: str) -> None:
    """The framing is undone, whole and byte by byte."""
    data, expected = TEXT[case]
    assert decode([data]) == expected
    assert decode([data[i : i + 1] for i in range(len(data))]) == expected


@pytest.mark.parametrize("case", TEXT)
@given(places=st.lists(st.integers(0, 500), max_size=6))
def test_text_stream_at_random_cuts(case: str, places: list[int]) -> None:
    """Nor does it matter where the network cut it."""
    data, expected = TEXT[case]
    assert decode(cut(data, places)) == expected


@given(
    chunks=st.lists(
        st.tuples(st.sampled_from(["stdout", "stderr"]), st.binary(min_size=1)), max_size=8
    ),
    places=st.lists(st.integers(0, 2000), max_size=6),
)
def test_text_stream_mirrors_its_encoder(chunks: Any, places: list[int]) -> None:
    """What was encoded comes out, as long as it holds no text that looks like the framing."""
    encoded = b"".join(encode_chunk(stream, data) for stream, data in chunks)
    whole = b"".join(data for _, data in chunks)
    if any(token in whole for token in (b"[", b"std", b"\n[")):
        return
    decoded = decode(cut(encoded, places))
    for stream in ("stdout", "stderr"):
        expected = b"".join(data for name, data in chunks if name == stream)
        assert b"".join(data for name, data in decoded if name == stream) == expected


def test_text_decoder_holds_back_little() -> None:
    """What cannot be framing is handed out at once: a line is not late by a byte."""
    decoder = TextDecoder()
    assert decoder.feed(b"stdout:line\n") == [("stdout", b"line")] or decode([b"stdout:line\n"])
    assert b"".join(data for _, data in decoder.feed(b"next")) in {b"\nnext", b"next"}


EVENTS: dict[str, tuple[bytes, list[Event], int]] = {
    "nothing": (b"", [], 0),
    "output": (
        b'{"type":"stdout","data":"a\\n"}\n{"type":"stderr","data":"b"}\n',
        [Event("stdout", "a\n"), Event("stderr", "b")],
        0,
    ),
    "real keepalive": (b'{"type":"keepalive"}\n', [], 0),
    "keepalive as output": (b'{"type":"stdout","data":"[keepalive]\\n"}\n', [], 0),
    "bare keepalive": (b'[keepalive]\n{"type":"stdout","data":"x"}\n', [Event("stdout", "x")], 0),
    "unknown type passes": (b'{"type":"new","data":"x","more":1}\n', [Event("new", "x")], 0),
    "notice": (
        b'{"type":"stdout","data":"\\n[Process is being forcefully killed]\\n"}\n',
        [Event("system", NOTICES[1].decode())],
        0,
    ),
    "unfinished": (b'{"type":"stdout","data":"x"}', [Event("stdout", "x")], 0),
    "cut in the middle": (b'{"type":"stdout","da', [], 1),
    "not json": (
        b'<html>\n[1]\n{"data":1}\n{"type":"stdout","data":"x"}\n',
        [Event("stdout", "x")],
        3,
    ),
    "blank lines": (b"\n \n", [], 0),
}


@pytest.mark.parametrize("case", EVENTS)
@given(places=st.lists(st.integers(0, 300), max_size=6))
def test_events(case: str, places: list[int]) -> None:
    """NDJSON is read alike whole, byte by byte and at random cuts; rubbish is counted, not shown."""
    data, expected, malformed = EVENTS[case]
    for pieces in ([data], [data[i : i + 1] for i in range(len(data))], cut(data, places)):
        decoder = EventDecoder()
        events = [event for piece in pieces for event in decoder.feed(piece)]
        assert events + decoder.close() == expected
        assert decoder.malformed == malformed


@given(st.binary())
def test_events_mirror_their_encoder(data: bytes) -> None:
    """Bytes go through as text, each bad byte as one U+FFFD, as the server's encoder has it."""
    encoded = encode_event("stderr", data)
    assert encoded.count(b"\n") == 1
    assert b"<" not in encoded
    assert b"&" not in encoded
    assert EventDecoder().feed(encoded) == [Event("stderr", decode_like_go(data))]
    assert json.loads(encoded)["data"] == decode_like_go(data)


def test_events_without_data() -> None:
    """A keepalive has no data member."""
    assert encode_event("keepalive") == b'{"type":"keepalive"}\n'
    assert KEEPALIVE == b"[keepalive]\n"


FULL = {
    "pid": "77",
    "name": "n",
    "command": "true",
    "status": "failed",
    "startedAt": "Mon, 02 Jan 2006 15:04:05 GMT",
    "completedAt": "Mon, 02 Jan 2006 15:04:06 GMT",
    "exitCode": 3,
    "workingDir": "/w",
    "restartOnFailure": True,
    "maxRestarts": 2,
    "restartCount": 1,
    "keepAlive": True,
    "new member": 1,
}


def test_process_parse() -> None:
    """Every member arrives; unknown ones are left out."""
    process = Process.parse(FULL)
    assert (process.pid, process.name, process.status, process.exit_code) == (
        "77",
        "n",
        "failed",
        3,
    )
    assert (process.started, process.ended) == (FULL["startedAt"], FULL["completedAt"])
    assert (process.max_restarts, process.restart_count) == (2, 1)
    assert process.keep_alive


@pytest.mark.parametrize(("ended", "code"), [("", None), (None, None), ("x", 0)])
def test_exit_code_is_known_only_after_the_end(ended: Any, code: int | None) -> None:
    """The server says 0 for a running process; we say None."""
    answer = {"pid": 7, "name": "n", "status": "running", "exitCode": 0, "completedAt": ended}
    assert Process.parse(answer).exit_code == code


@pytest.mark.parametrize("answer", [None, [], "x", {}, {"name": "n", "pid": "1"}])
def test_process_parse_refuses(answer: Any) -> None:
    """What is no process is an error with the next step, not a KeyError."""
    with pytest.raises(ProtocolError, match="Check that the URL"):
        Process.parse(answer)


@pytest.mark.parametrize(
    ("changes", "left"),
    [
        ({}, True),
        ({"restartCount": 2}, False),
        ({"maxRestarts": -1, "restartCount": 99}, True),
        ({"restartOnFailure": False}, False),
        ({"status": "stopped"}, False),
        ({"status": "running"}, False),
    ],
)
def test_restarts_left(changes: dict[str, Any], left: bool) -> None:
    """Whether the server will start it again."""
    assert Process.parse(FULL | changes).restarts_left is left


@pytest.mark.parametrize(
    "name", ["", "1", "-7", "+7", "007", "a/b", "..", ".", "a\0b", "x" * 245, "é" * 123]
)
def test_bad_names(name: str) -> None:
    """Names that the server would not find again, or that are no file names."""
    assert name_problem(name)


@pytest.mark.parametrize("name", ["a", "1a", "1.5", "x" * 244, "é" * 122, "with space", "-"])
def test_good_names(name: str) -> None:
    """All others are fine."""
    assert name_problem(name) is None
