"""One tolerant reader for three carriers: whatever comes is read or told, and nothing raises."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime
from itertools import accumulate
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from blaxel_jupyter import ProtocolError
from blaxel_jupyter.json_values import time_of, words_of
from blaxel_jupyter.recording import read_recording
from blaxel_jupyter.task import ENDED, Task, TaskStatus, status_of
from blaxel_jupyter.task_events import Event, read_event
from blaxel_jupyter.task_log import read_data, read_log, read_raw
from blaxel_jupyter.wire import SseDecoder, SseEvent, encode_sse
from tests import blackbox_examples as examples
from tests.task_values import EVENTS, JSON, cut

STREAMS: dict[str, tuple[bytes, list[tuple[bytes, str]]]] = {
    "nothing": (b"", []),
    "one": (b"data: a\n\n", [(b"a", "message")]),
    "no space, two spaces": (b"data:a\n\ndata:  b\n\n", [(b"a", "message"), (b" b", "message")]),
    "CRLF": (b"data: a\r\n\r\ndata: b\r\n\r\n", [(b"a", "message"), (b"b", "message")]),
    "CR alone": (b"data: a\r\rdata: b\r\r", [(b"a", "message"), (b"b", "message")]),
    "mixed line ends": (
        b"data: a\r\n\ndata: b\n\r\ndata: c\r\r\n",
        [(b"a", "message"), (b"b", "message"), (b"c", "message")],
    ),
    "two lines": (b"data: a\ndata: b\n\n", [(b"a\nb", "message")]),
    "empty lines of data": (b"data\ndata:\n\n", [(b"\n", "message")]),
    "comments": (b": hello\n\n:\n\ndata: a\n: within\n\n", [(b"a", "message")]),
    "named, only once": (
        b"event: log\ndata: a\n\ndata: b\n\n",
        [(b"a", "log"), (b"b", "message")],
    ),
    "a name without data is no event": (b"event: log\n\ndata: b\n\n", [(b"b", "message")]),
    "id and retry": (b"retry: 3000\n\nid: 7\ndata: a\n\n", [(b"a", "message")]),
    "unknown fields": (b"what: ever\nwhatever\ndata: a\n\n", [(b"a", "message")]),
    "byte order mark": (b"\xef\xbb\xbfdata: a\n\n", [(b"a", "message")]),
    "bytes that end lines elsewhere": (
        "data: a\x0b\x0c\x1c\x85\u2028b\n\n".encode(),
        [("a\x0b\x0c\x1c\x85\u2028b".encode(), "message")],
    ),
    "not UTF-8": (b"data: \xff\xe2\x82\n\n", [(b"\xff\xe2\x82", "message")]),
    "unfinished": (b"data: a\n\ndata: b\n", [(b"a", "message")]),
}


def decoded(pieces: Iterator[bytes] | list[bytes]) -> list[tuple[bytes, str]]:
    """Feed a decoder piece by piece."""
    decoder = SseDecoder()
    return [tuple(event) for piece in pieces for event in decoder.feed(piece)]


@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_is_the_same_events_whole_and_byte_by_byte(name: str) -> None:
    data, events = STREAMS[name]
    assert decoded([data]) == events
    assert decoded([bytes([byte]) for byte in data]) == events


@given(st.sampled_from(sorted(STREAMS)), st.lists(st.integers(0, 200), max_size=6))
def test_a_stream_is_the_same_events_however_it_is_cut(name: str, places: list[int]) -> None:
    data, events = STREAMS[name]
    assert decoded(cut(data, places)) == events


@given(st.lists(st.text()), st.lists(st.integers(0, 10_000), max_size=8))
def test_written_events_are_read_back_at_any_cut(texts: list[str], places: list[int]) -> None:
    datas = [text.replace("\r\n", "\n").replace("\r", "\n").encode() for text in texts]
    stream = b"".join(encode_sse(data) for data in datas)
    assert decoded(cut(stream, places)) == [(data, "message") for data in datas]


@given(st.binary(), st.lists(st.integers(0, 10_000), max_size=8))
def test_any_bytes_give_the_same_events_at_any_cut(data: bytes, places: list[int]) -> None:
    assert decoded(cut(data, places)) == decoded([data])


def test_an_event_whose_empty_line_never_came_is_there_when_asked_for() -> None:
    decoder = SseDecoder()
    assert decoder.feed(b": hi\ndata: a\ndata: b") == []
    assert decoder.close() == [SseEvent(b"a\nb")]
    assert (decoder.close(), decoder.comments) == ([], 1)


def test_a_long_event_in_many_pieces_costs_time_in_proportion() -> None:
    """No piece makes the decoder look at the earlier ones again (minutes, where it does)."""
    decoder = SseDecoder()
    decoder.feed(b"data: ")
    for _ in range(40_000):
        assert decoder.feed(b"0123456789" * 10) == []
    assert len(decoder.feed(b"\n\n")[0].data) == 4_000_000


def facts(event: Event) -> dict[str, Any]:
    """Return what an event says, without what it does not say."""
    names = ("type", "block_id", "tool_call_id", "tool_name", "delta", "text", "failure")
    said = {name: getattr(event, name) for name in names}
    said |= {name: bytes(getattr(event, name)) or None for name in ("input", "output")}
    return {name: value for name, value in said.items() if value is not None}


ONE: dict[str, tuple[str, dict[str, Any]]] = {
    "delta": (
        '{"type":"text-delta","id":"m","delta":"ä\\n"}',
        {"type": "text-delta", "block_id": "m", "delta": "ä\n"},
    ),
    "alias of a type": (
        '{"type":"tool-input-start","toolCallId":"t","toolName":"Bash"}',
        {"type": "tool-call-start", "tool_call_id": "t", "tool_name": "Bash"},
    ),
    "input and output as sent": (
        '{"type":"x","input": {"b":1,"a":[ ]},"output":null}',
        {"type": "x", "input": b'{"b":1,"a":[ ]}', "output": b"null"},
    ),
    "errorText": ('{"type":"error","errorText":"no"}', {"type": "error", "failure": "no"}),
    "errorMessage": ('{"type":"error","errorMessage":"no"}', {"type": "error", "failure": "no"}),
    "error as text": ('{"type":"error","error":"no"}', {"type": "error", "failure": "no"}),
    "error as object": (
        '{"type":"error","error":{"code":500,"message":"no"}}',
        {"type": "error", "failure": "no"},
    ),
    "errorText goes first": (
        '{"error":"b","errorMessage":"c","type":"error","errorText":"a"}',
        {"type": "error", "failure": "a"},
    ),
    "wrong types count as absent, the others stay": (
        '{"type":"text-delta","id":7,"delta":["x"],"toolName":null,"toolCallId":"t","input":3}',
        {"type": "text-delta", "tool_call_id": "t", "input": b"3"},
    ),
    "no type": ('{"id":"m"}', {"block_id": "m"}),
    "a type that is no text": ('{"type":{"a":1},"id":"m"}', {"block_id": "m"}),
    "no object": ('["type","text-delta"]', {}),
    "null": ("null", {}),
}


@pytest.mark.parametrize("name", ONE)
def test_one_event(name: str) -> None:
    text, expected = ONE[name]
    event = read_event(text.encode())
    assert facts(event) == expected
    assert event.json == text


def test_a_missing_type_is_the_name_of_the_event() -> None:
    warnings: Counter[str] = Counter()
    (event,) = read_data(b'{"index":0}', warnings, "log")
    assert (event.type, event.json) == ("log", '{"index":0}')
    (event,) = read_data(b'{"type":"a"}', warnings, "log")
    assert event.type == "a"
    assert not warnings


@pytest.mark.parametrize("data", [b"[DONE]", b" [DONE] "])
def test_the_end_mark_is_no_event(data: bytes) -> None:
    warnings: Counter[str] = Counter()
    assert read_data(data, warnings) == []
    assert not warnings


@pytest.mark.parametrize(
    "data", [b"", b"{", b'{"type":"text-delta","delta":"cut', b"<html>", b"\xff"]
)
def test_what_is_not_json_is_counted(data: bytes) -> None:
    warnings: Counter[str] = Counter()
    assert read_data(data, warnings) == []
    assert warnings.total() == 1


@given(JSON | EVENTS)
def test_any_json_is_an_event_and_keeps_its_payload(value: Any) -> None:
    text = json.dumps(value)
    warnings: Counter[str] = Counter()
    (event,) = read_data(text.encode(), warnings)
    assert event.json == text
    assert not warnings


@given(st.binary())
def test_any_bytes_are_an_event_or_a_warning(data: bytes) -> None:
    warnings: Counter[str] = Counter()
    events = read_data(data, warnings)
    ended = data.strip() == b"[DONE]"
    assert len(events) + warnings.total() + ended == 1


@pytest.mark.parametrize(
    "data",
    [
        b'{"type":"text-delta","delta":"\xff\xfe"}',
        b'{"type":"text-delta","delta":"\\ud800"}',
        b'{"type":"text-delta","delta":"a\x01b"}',
        b'{"type":"x","n":NaN,"m":-Infinity}',
        b'{"type":"x","n":' + b"9" * 6000 + b"}",
        b'{"type":"x","n":1e999}',
        b'{"type":"x","deep":' + b"[" * 900 + b"]" * 900 + b"}",
        b'{"type":"x","deeper":' + b"[" * 200_000 + b"]" * 200_000 + b"}",
        b'{"type":"a","type":"b"}',
    ],
    ids=["bytes", "surrogate", "control", "nan", "digits", "exponent", "deep", "deeper", "twice"],
)
def test_json_that_few_readers_read_is_kept_or_told(data: bytes) -> None:
    warnings: Counter[str] = Counter()
    events = read_data(data, warnings)
    ended = data.strip() == b"[DONE]"
    assert len(events) + warnings.total() + ended == 1
    for event in events:
        assert event.json == data.decode("utf-8", "replace")
        assert event.type in ("text-delta", "x", "b")


# The three carriers


def envelope(**members: Any) -> bytes:
    return json.dumps({"runId": "r", "status": "completed", "source": "buffer", **members}).encode()


@pytest.mark.parametrize("name", examples.LOGS)
def test_a_log_is_its_envelope_and_its_events(name: str) -> None:
    document = examples.document(name)
    log = read_log(examples.content(name))
    assert (log.run_id, log.chat_id) == (document["runId"], document["chatId"])
    assert (log.status, log.source, log.error) == tuple(
        document[key] for key in ("status", "source", "error")
    )
    assert [event.data for event in log.events] == document["events"]
    assert log.whole
    assert not log.warnings


def test_raw_events_are_the_same_events() -> None:
    log = read_log(examples.content("01-success.logs.buffer.json"))
    warnings: Counter[str] = Counter()
    raw = read_raw(log.raw_events or [], warnings)
    assert [event.data for event in raw] == [event.data for event in log.events]
    assert not warnings


def test_raw_lines_may_be_comments_ends_and_rubbish() -> None:
    warnings: Counter[str] = Counter()
    lines = [
        'data: {"type":"a"}\n\n',
        'data:{"type":"b"}',
        '{"type":"c"}',
        "",
        ": hi",
        "data: [DONE]",
        "data: {",
    ]
    assert [event.type for event in read_raw(lines, warnings)] == ["a", "b", "c"]
    assert warnings.total() == 1


@pytest.mark.parametrize("cuts", ["whole", "bytewise"])
def test_streams_files_and_logs_give_the_same_events(cuts: str) -> None:
    for stem in ("01-success", "02-failed", "03-cancelled", "04-tolerance"):
        data = examples.content(f"{stem}.sse")
        decoder, warnings = SseDecoder(), Counter[str]()
        pieces = [data] if cuts == "whole" else [bytes([byte]) for byte in data]
        read = [
            event
            for piece in pieces
            for sse in decoder.feed(piece)
            for event in read_data(sse.data, warnings, sse.name)
        ]
        known = examples.events(f"{stem}.ndjson")
        assert [event.data for event in read][-len(known) :] == known
        assert len(read) == examples.expected()[f"{stem}.sse"]["events"]
        assert warnings.total() == examples.expected()[f"{stem}.sse"]["badJson"]


@pytest.mark.parametrize("name", [*examples.LINES, *examples.STREAMS])
def test_a_recording_has_its_events_and_times(name: str) -> None:
    warnings: Counter[str] = Counter()
    recorded = read_recording(examples.content(name), warnings)
    if name in examples.LINES:
        assert [event.data for event, _ in recorded] == examples.events(name)
        times = examples.received(name)
        assert [at for _, at in recorded] == (
            [ms * 1000 for ms in times] if times else [None] * len(recorded)
        )
    else:
        assert len(recorded) == examples.expected()[name]["events"]


def test_strange_members_of_an_envelope_do_no_harm() -> None:
    body = envelope(
        runId=5, status=None, source=["x"], error={"message": "no"}, events=[{"type": "a"}]
    )
    log = read_log(body)
    assert (log.run_id, log.status, log.source, log.error) == (None, None, None, "no")
    assert [event.type for event in log.events] == ["a"]


@pytest.mark.parametrize("events", [None, {"a": 1}, "text", 5])
def test_a_log_without_a_list_of_events_says_so_and_uses_the_raw_lines(events: Any) -> None:
    log = read_log(envelope(events=events, rawEvents=['data: {"type":"a"}', {"type": "b"}, 5]))
    assert [event.type for event in log.events][:2] == ["a", "b"]
    assert log.warnings


@given(
    st.lists(JSON | EVENTS, max_size=5),
    st.dictionaries(st.sampled_from(["status", "error", "rawEvents", "source"]), JSON),
)
def test_any_json_in_a_log_is_kept(events: list[Any], members: dict[str, Any]) -> None:
    body = json.dumps({**members, "events": events}).encode()
    log = read_log(body)
    found = [json.dumps(json.loads(event.json)) for event in log.events]
    assert found == [json.dumps(event) for event in events]
    assert log.whole


@given(st.sampled_from(examples.LOGS), st.integers(0, 10_000))
def test_a_truncated_log_keeps_every_whole_event(name: str, at: int) -> None:
    document = examples.document(name)
    events = document.pop("events")
    head = json.dumps(document, ensure_ascii=False)[:-1] + ', "events": ['
    texts = [json.dumps(event, ensure_ascii=False) for event in events]
    body = (head + ", ".join(texts)).encode()
    at = len(head.encode()) + at % (len(body) - len(head.encode()))
    log = read_log(body[:at], cut=True)
    ends = accumulate([len(head.encode()), *(len(text.encode()) + 2 for text in texts)])
    whole = sum(end - 2 <= at for end in ends) - 1
    assert [event.json for event in log.events] == texts[:whole]
    assert (log.whole, log.status) == (False, document["status"])


@given(st.sampled_from(examples.LOGS), st.floats(0, 1, exclude_max=True))
def test_a_log_truncated_anywhere_never_raises(name: str, part: float) -> None:
    body = examples.content(name)
    log = read_log(body[: int(len(body.rstrip()) * part)], cut=True)
    arrived = [event.data for event in log.events]
    assert arrived == examples.document(name)["events"][: len(arrived)]
    assert not log.whole


@pytest.mark.parametrize(
    "body", [b"<!doctype html><p>hi", b"  <html>", b"", b"null", b"[1]", b"oops", b"\xff\xfe"]
)
def test_what_is_no_log_is_a_clear_error(body: bytes) -> None:
    with pytest.raises(ProtocolError) as caught:
        read_log(body)
    message = str(caught.value)
    assert len(message) < 200
    assert ("HTML" in message) == (b"<" in body)


@given(st.binary(max_size=40), st.booleans())
def test_any_bytes_are_a_log_or_a_protocol_error(body: bytes, is_cut: bool) -> None:
    with suppress(ProtocolError):
        assert read_log(body, cut=is_cut).events == []


# Statuses, times, errors

SPELLINGS = {
    "queued": ["queued", "pending"],
    "running": ["running", "in_progress", "processing", "saving"],
    "completed": ["completed", "done", "success"],
    "failed": ["failed", "error", "timeout"],
    "cancelled": ["cancelled", "canceled", "stopped"],
    "interrupted": ["interrupted"],
}


def test_every_spelling_of_a_status_is_known_and_others_stay() -> None:
    for word, spellings in SPELLINGS.items():
        assert {status_of(spelling) for spelling in spellings} == {word}
    assert status_of("preparing") == "preparing"
    assert "preparing" not in ENDED
    assert {"completed", "failed", "cancelled", "interrupted"} == ENDED


def test_a_status_keeps_both_words_and_its_times() -> None:
    status = TaskStatus.parse(
        {"runId": "r", "status": "in_progress", "progress": 42, "error": None,
         "startedAt": "2026-11-03T09:15:02.118Z", "completedAt": None}
    )  # fmt: skip
    assert (status.status, status.status_raw, status.progress, status.ended) == (
        "running", "in_progress", 42, False,
    )  # fmt: skip
    assert status.started == datetime(2026, 11, 3, 9, 15, 2, 118000, UTC)
    assert status.completed is None


@pytest.mark.parametrize("answer", [None, [], "running", {}, {"status": None}, {"status": 5}])
def test_an_answer_without_a_status_is_a_protocol_error(answer: object) -> None:
    with pytest.raises(ProtocolError):
        TaskStatus.parse(answer)


@given(
    st.dictionaries(
        st.sampled_from(["runId", "progress", "error", "startedAt", "completedAt"]), JSON
    )
)
def test_a_status_never_raises_for_its_other_members(members: dict[str, Any]) -> None:
    assert TaskStatus.parse({"status": "failed", **members}).ended


@given(
    st.dictionaries(
        st.sampled_from(["runId", "taskId", "status", "createdAt", "model", "chatId"]), JSON
    )
)
def test_a_listed_run_never_raises_for_its_members(members: dict[str, Any]) -> None:
    assert isinstance(Task.parse(members).status, str)


def test_times_are_read_with_their_zone_or_not_at_all() -> None:
    noon = datetime(2026, 1, 2, 12, tzinfo=UTC)
    assert time_of("2026-01-02T12:00:00Z") == time_of("2026-01-02T12:00:00") == noon
    assert time_of("2026-01-02T13:00:00+01:00") == noon
    assert [time_of(value) for value in (None, "", "soon", 5, "2026-13-01T00:00:00Z")] == [None] * 5


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("Unauthorized", "Unauthorized"),
        ({"code": 401, "message": "no key", "metadata": {}}, "no key"),
        ({"code": 401}, '{"code": 401}'),
        (None, None),
        ("", None),
    ],
)
def test_both_shapes_of_an_error_are_read(value: object, words: str | None) -> None:
    assert words_of(value) == words
