"""Targets of the sandbox's bytes: log text in its forms, NDJSON, event streams, JSON answers."""

from __future__ import annotations

import json
from itertools import groupby

from blaxel_jupyter import api, folder, target
from blaxel_jupyter.errors import BlaxelError, ProtocolError, StatusError, TransportError
from blaxel_jupyter.ledger import Ledger
from blaxel_jupyter.process import (
    FELL_BEHIND,
    KEEPALIVE,
    MARKERS,
    NOTICES,
    TRUNCATED,
    Event,
    EventDecoder,
    Process,
    TextDecoder,
    encode_chunk,
    encode_event,
)
from blaxel_jupyter.transport import Answer
from blaxel_jupyter.wire import (
    Lines,
    LineSplitter,
    SseDecoder,
    SseEvent,
    decode_like_go,
    encode_sse,
)
from blaxel_jupyter.wording import read_json, status_error
from tests.fuzz.target import alike, text_of, ways
from tests.fuzz.target import target as fuzzed

JSON = (
    b'{"',
    b'":',
    b'","',
    b"[[",
    b"]]",
    b"null",
    b"true",
    b"1e999",
    b"NaN",
    b"\\ud800",
    b"9" * 20,
)
PROCESS = (
    b'"name":',
    b'"pid":',
    b'"status":',
    b'"exitCode":',
    b'"completedAt":',
    b'"maxRestarts":',
)
TOKENS = (*MARKERS.values(), KEEPALIVE, TRUNCATED, FELL_BEHIND, *NOTICES)


@fuzzed(b"\n", b"\r\n", b"\xe2\x80\xa8", b"\x85")
def lines(data: bytes) -> None:
    """Lines are the same however the bytes are cut, and joined again they are the bytes."""
    found = []
    for pieces in ways(data):
        splitter = LineSplitter()
        whole = [line for piece in pieces for line in splitter.feed(piece)]
        found.append([*whole, splitter.close()])
    alike(found)
    assert b"\n".join(found[0]) == data
    assert Lines(data).texts() == [line.decode("utf-8", "replace") for line in found[0]]


@fuzzed(b"data:", b"data: ", b"event: ", b"id:", b"retry:", b":", b"\n\n", b"\r", b"\xef\xbb\xbf")
def sse(data: bytes) -> None:
    """Events are the same however the bytes are cut; what is encoded is decoded again."""
    found: list[list[SseEvent]] = []
    comments = []
    for pieces in ways(data):
        decoder = SseDecoder()
        found.append([one for piece in pieces for one in decoder.feed(piece)] + decoder.close())
        comments.append(decoder.comments)
    alike(found)
    alike(comments)
    assert sum(len(one.data) for one in found[0]) <= len(data)
    one_end = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    assert SseDecoder().feed(encode_sse(data)) == [SseEvent(one_end)]


@fuzzed(*TOKENS, b'{"error":', b"}", b"\n")
def text_stream(data: bytes) -> None:
    """The text log stream says the same however it is cut, and gives out no byte that it did not get."""
    found = []
    for pieces in ways(data):
        decoder = TextDecoder()
        parts = [one for piece in pieces for one in decoder.feed(piece)] + decoder.close()
        found.append(
            [(s, b"".join(p[1] for p in run)) for s, run in groupby(parts, lambda p: p[0])]
        )
    alike(found)
    left = iter(data)
    assert all(byte in left for _, part in found[0] for byte in part), "bytes in another order"


@fuzzed(b"stdout:", b"[keepalive]", b"\n[Process", b"[... trunc", b"stder", b"{")
def text_chunks(data: bytes) -> None:
    """Of output that holds no token of the stream every byte comes back, on its stream."""
    half = len(data) // 2
    parts = {"stdout": data[:half], "stderr": data[half:]}
    sent = b"".join(encode_chunk(stream, part) for stream, part in parts.items() if part)  # type: ignore[arg-type]
    if any(sent.count(token) > (token in MARKERS.values()) for token in TOKENS):
        return
    for pieces in ways(sent):
        decoder = TextDecoder()
        found = [one for piece in pieces for one in decoder.feed(piece)] + decoder.close()
        for stream, part in parts.items():
            assert b"".join(piece for name, piece in found if name == stream) == part


@fuzzed(*JSON, b'{"type":"stdout","data":"', b'"}\n', b'"keepalive"', KEEPALIVE)
def ndjson(data: bytes) -> None:
    """Events are the same however the bytes are cut; a line is an event, a keepalive or counted."""
    found = []
    for pieces in ways(data):
        decoder = EventDecoder()
        events = [one for piece in pieces for one in decoder.feed(piece)] + decoder.close()
        found.append((events, decoder.malformed))
    alike(found)
    assert len(found[0][0]) + found[0][1] <= data.count(b"\n") + 1
    sent = encode_event("stderr", data)
    assert EventDecoder().feed(sent) == [Event("stderr", decode_like_go(data))]


@fuzzed(TRUNCATED, b"\n", b"\0" * 16, b"\xff", b"same\n" * 20, largest=4096)
def ledger(data: bytes) -> None:
    """Bytes are kept exactly, lines are theirs; afterwards the server's own log counts."""
    seen, _, rest = data.partition(b"\xfe\xfe")
    for pieces in ways(seen):
        kept = Ledger("stdout")
        rows = []
        for piece in pieces:
            rows += kept.commit(max(0, kept.offset - 3), kept.tail(3) + piece)
        rows += kept.close()
        assert kept.data == seen
        assert kept.offset == kept.size == len(seen)
        texts = [text for row in rows for text in row.lines.texts()]
        assert texts == text_of(seen).removesuffix("\n").split("\n") * bool(seen)
    said = decode_like_go(rest)
    if said.startswith(TRUNCATED.decode()):
        said = TRUNCATED.decode() + said[len(TRUNCATED) :]
        kept.check(said)
        assert kept.repaired
    else:
        kept.check(said)
        assert decode_like_go(kept.data) == said


@fuzzed(*JSON, *PROCESS, largest=8192)
def process_answer(data: bytes) -> None:
    """A process's facts are read, or the answer breaks the protocol: nothing else happens."""
    try:
        process = Process.parse(read_json(data))
    except ProtocolError as error:
        assert len(error.data) <= 200
        return
    assert isinstance(process.name, str)
    assert process.exit_code is None or isinstance(process.exit_code, int)
    assert all(isinstance(at, str | None) for at in (process.started, process.ended))


@fuzzed(*JSON, b'"metadata":', b'"spec":', b'"runtime":', b'"url":', b'"memory":', b'"createdAt":')
def sandbox_answer(data: bytes) -> None:
    """A sandbox's record is read, or the answer breaks the protocol."""
    try:
        found = target.Sandbox.parse(read_json(data))
    except ProtocolError:
        return
    for name in ("name", "status", "url", "image", "region", "created"):
        assert isinstance(getattr(found, name), str | None)
    assert isinstance(found.memory, int | None)


@fuzzed(
    *JSON, b'"error":', b'"message":', b'"code":', b'"retryable":true', b"<!doctype html>", b"<html"
)
def error_body(data: bytes) -> None:
    """Whatever body an error has, it is one short line and at most 2,000 characters of the body."""
    status = 400 + len(data) % 200
    headers = {"retry-after": text_of(data[:8])}
    error = status_error("GET", "https://user:pass@host/path?key=1", status, headers, data)
    assert isinstance(error, StatusError)
    assert str(error).isprintable()
    assert len(str(error)) < 600
    assert len(error.body) <= 2000
    assert 0 <= error.retry_after <= 60


@fuzzed(*JSON, b'{"name":"', b'","op":"', b".stdout.log")
def watch_event(data: bytes) -> None:
    """An event of the folder's watch names a file, or none."""
    name = folder._file_name(data)
    assert isinstance(name, str)
    assert name == "" or json.loads(data)["name"] == name


@fuzzed(b"bytes ", b"0-", b"/", b"*", b"\n", b"9" * 30, "٣".encode(), b"\xb2")
def raw_block(data: bytes) -> None:
    """A block of a raw file is what was asked for, or it is refused."""
    where, _, body = data.partition(b"\n")
    headers = {"content-range": where.decode("latin-1")}
    for status in (206, 416, 200):
        try:
            block = api._block(Answer(status, headers, body), 0)
        except TransportError:
            continue
        assert block is not None
        assert block.start == 0
        assert status == 416 or block.data == body


@fuzzed(*JSON, b'{"stdout":"', b'","stderr":"', b'"logs":')
def logs_answer(data: bytes) -> None:
    """The server's own log is text for both streams, or the answer breaks the protocol."""
    try:
        said = api._texts(read_json(data))
    except BlaxelError as error:
        assert isinstance(error, ProtocolError)
        return
    assert set(said) == {"stdout", "stderr"}
    assert all(isinstance(text, str) for text in said.values())
