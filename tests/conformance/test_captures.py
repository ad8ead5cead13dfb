"""The recordings of the real server through our decoders and ledgers: whole, byte by byte, at random cuts."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator

import pytest

from blaxel_jupyter.ledger import Ledger
from blaxel_jupyter.process import EventDecoder, Stream, TextDecoder, encode_event
from blaxel_jupyter.wire import decode_like_go
from tests.recordings import Exchange, Recording, Truth, copied, load

Cut = Callable[[bytes], Iterator[bytes]]
FILES: tuple[Stream, ...] = ("stdout", "stderr")


def whole(body: bytes) -> Iterator[bytes]:
    yield body


def byte_by_byte(body: bytes) -> Iterator[bytes]:
    for at in range(min(len(body), 40_000)):
        yield body[at : at + 1]
    yield body[40_000:]


def at_random(body: bytes) -> Iterator[bytes]:
    dice = random.Random(len(body))
    while body:
        size = dice.choice([1, 2, 3, 7, 100, 4096, 65536])
        yield body[:size]
        body = body[size:]


CUTS = {"whole": whole, "byte_by_byte": byte_by_byte, "at_random": at_random}
ALL = [name for name in copied() if load(name).truth]

ALONE = {
    "crlf",
    "empty_lines",
    "exit_42",
    "interleave_fast",
    "interleave_slow",
    "no_output",
    "progress_cr",
    "silent_exit3",
    "line_100k",
    "burst_20k",
}
"""Recordings whose live text stream alone gives the true output: no look-alikes, nothing doubled."""

NDJSON_REPEATS = {"lookalike_slow", "partial_lines", "restart_max2", "unterminated"}
"""Recordings whose NDJSON alone is not the output: a replayed beginning has markers inside lines or
comes a second time, or the program printed exactly what a keepalive looks like (protocol 4.3, 4.4)."""


def streamed(exchange: Exchange, cut: Cut) -> dict[Stream, Ledger]:
    """Feed a text stream as the fallback of a follow does."""
    ledgers = {stream: Ledger(stream) for stream in FILES}
    decoder = TextDecoder()
    pieces = [piece for chunk in cut(exchange.body) for piece in decoder.feed(chunk)]
    for stream, data in pieces + decoder.close():
        if stream == "stdout" or stream == "stderr":
            ledgers[stream].commit(ledgers[stream].offset, data)
    return ledgers


def has(recording: Recording, *roles: str) -> bool:
    return {exchange.role for exchange in recording.exchanges} >= set(roles)


def with_roles(*roles: str) -> list[str]:
    """Name the recordings that have these exchanges."""
    return [name for name in ALL if has(load(name), *roles)]


TEXT = [
    (name, role)
    for role in ("a_text_live", "a_text_late", "a_text_replay")
    for name in with_roles(role, "a_logs")
]


def truth_of(truth: Truth, stream: Stream) -> bytes | None:
    return truth.stdout if stream == "stdout" else truth.stderr


@pytest.mark.parametrize("cut", CUTS.values(), ids=CUTS)
@pytest.mark.parametrize(("name", "role"), TEXT)
def test_text_stream_after_reconciling_is_right(name: str, role: str, cut: Cut) -> None:
    """Whatever the stream did to the text, checking it by the server's log gives the true output."""
    recording = load(name)
    logs = json.loads(recording.one("a_logs").body)
    for stream, ledger in streamed(recording.one(role), cut).items():
        expected = truth_of(recording.truth["a"], stream)
        if expected is None or decode_like_go(expected) != logs[stream]:
            continue  # the log was cut, or the run went on after it
        seen = decode_like_go(ledger.data)
        ledger.check(logs[stream])
        ledger.close()
        assert decode_like_go(ledger.data) == decode_like_go(expected)
        assert ledger.repaired == (seen != decode_like_go(expected))


@pytest.mark.parametrize("name", sorted(ALONE & set(ALL)))
def test_text_stream_alone_is_exact_where_it_can_be(name: str) -> None:
    """Markers in the middle of lines are undone: these streams need no repair."""
    recording = load(name)
    for stream, ledger in streamed(recording.one("a_text_live"), whole).items():
        assert ledger.data == truth_of(recording.truth["a"], stream)


@pytest.mark.parametrize("cut", CUTS.values(), ids=CUTS)
@pytest.mark.parametrize("name", [n for n in with_roles("b_ndjson") if "b" in load(n).truth])
def test_ndjson_gives_the_true_text(name: str, cut: Cut) -> None:
    """NDJSON events joined by stream are the output, where no character was cut and nothing doubled."""
    recording = load(name)
    decoder = EventDecoder()
    events = [e for chunk in cut(recording.one("b_ndjson").body) for e in decoder.feed(chunk)]
    events += decoder.close()
    assert decoder.malformed == 0
    for stream in FILES:
        expected = decode_like_go(truth_of(recording.truth["b"], stream) or b"")
        joined = "".join(event.data for event in events if event.type == stream)
        doubled = joined == expected * 2
        if "\ufffd" not in joined and not doubled and name not in NDJSON_REPEATS:
            assert joined == expected
        ledger = Ledger(stream)
        ledger.commit(0, joined.encode())
        ledger.check(expected)
        assert ledger.data.decode() == expected
        assert ledger.repaired == (joined != expected)


@pytest.mark.parametrize("name", with_roles("b_ndjson"))
def test_ndjson_encoder_writes_the_servers_bytes(name: str) -> None:
    """Encoding what was decoded gives the recorded lines again, byte for byte."""
    recording = load(name)
    for exchange in recording.all("b_ndjson"):
        for line in exchange.body.splitlines(keepends=True):
            if b"\\ufffd" in line or line == b"[keepalive]\n":
                continue  # which bytes U+FFFD stood for is lost
            value = json.loads(line)
            assert encode_event(value["type"], value.get("data")) == line


@pytest.mark.parametrize("name", with_roles("a_follow_stdout", "a_follow_stderr"))
@pytest.mark.parametrize("stream", FILES)
def test_raw_file_follow_gives_the_true_bytes(name: str, stream: Stream) -> None:
    """The blocks of the recorded Range follow, committed by offset, are the file."""
    recording = load(name)
    ledger = Ledger(stream)
    rows = []
    for exchange in recording.all(f"a_follow_{stream}"):
        if exchange.status == 206:
            start = int((exchange.header("Content-Range") or "").split()[1].split("-")[0])
            rows += ledger.commit(start, exchange.body)
            rows += ledger.commit(max(0, start - 3), exchange.body[:0])
    rows += ledger.close()
    expected = truth_of(recording.truth["a"], stream)
    if expected is not None and len(expected) == ledger.size:
        assert ledger.data == expected
        lines = [text for row in rows for text in row.lines.texts()]
        assert "\n".join(lines) == ledger.data.decode("utf-8", "replace").removesuffix("\n")
