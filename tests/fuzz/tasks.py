"""Targets of an agent task's bytes: its log, its stream, recordings, and what is made of its events."""

from __future__ import annotations

import json
from collections import Counter
from datetime import datetime

import pyarrow

from blaxel_jupyter.differences import content_differences, form_differences
from blaxel_jupyter.errors import ProtocolError
from blaxel_jupyter.fold import Fold
from blaxel_jupyter.json_values import is_json, lenient
from blaxel_jupyter.panel import task_static
from blaxel_jupyter.panel.items import Items
from blaxel_jupyter.panel.task_lines import TaskLines
from blaxel_jupyter.panel.task_text import Printer
from blaxel_jupyter.parts import Parts, events_of
from blaxel_jupyter.recording import read_recording, write_recording
from blaxel_jupyter.replays import Held, Replay, is_told
from blaxel_jupyter.task import Task, TaskStatus
from blaxel_jupyter.task_events import Event, Events, read_event
from blaxel_jupyter.task_items import TextBlock
from blaxel_jupyter.task_log import read_data, read_log
from blaxel_jupyter.task_runs import Controls, TaskRun
from blaxel_jupyter.wire import SseDecoder
from blaxel_jupyter.wording import read_json
from tests.fuzz.logs import JSON
from tests.fuzz.shown import has_no_control, is_safe_html
from tests.fuzz.target import alike, text_of, ways
from tests.fuzz.target import target as fuzzed

KINDS = (
    b'{"type":"text-delta","id":"a","delta":"',
    b'{"type":"reasoning-delta","id":"a","delta":"',
)
TOOLS = (
    b'{"type":"tool-call-start","toolCallId":"t","toolName":"Bash"}\n',
    b'{"type":"tool-input-available","toolCallId":"t","input":{"command":"ls"}}\n',
    b'{"type":"tool-output-available","toolCallId":"t","output":{"stdout":"","exitCode":1}}\n',
    b'"preliminary":true',
    b'"errorText":"Exit code 2"',
    b'{"type":"files","files":[{"path":"a","size":1}]}\n',
    b'{"type":"result","total_cost_usd":0.1,"usage":{"input_tokens":1}}\n',
    b'{"type":"finish","status":"completed"}\n',
    b'"messageMetadata":',
    b'"recvMs":',
    b'"event":',
)
LOG = (
    b'{"events":[',
    b'],"status":"',
    b'"rawEvents":["data: ',
    b'"runId":"',
    b'"error":{"message":"',
)
EVENTS = (*JSON, *KINDS, *TOOLS, b'"}\n')


async def _never(_: object) -> None:
    raise AssertionError("a recording asks nobody")


def recorded(data: bytes) -> list[tuple[Event, int | None]]:
    """Read a recording anew: a fold changes what it takes."""
    return read_recording(data, Counter())


def told(data: bytes) -> tuple[list[Event], list[int | None]]:
    """Read events, and when they came."""
    both = recorded(data)
    return [event for event, _ in both], [at for _, at in both]


def run_of(data: bytes) -> TaskRun:
    """Return a run as it would be loaded from a file."""
    run = TaskRun("run", Controls(_never, _never), target="recording")
    events, times = told(data)
    run.record(events, "stream", times)
    return run


def said(event: Event) -> tuple[object, ...]:
    """Return what of an event counts."""
    members = (event.type, event.block_id, event.tool_call_id, event.tool_name, event.delta)
    raws = (event.input, event.output, event.files, event.usage)
    return (*members, event.text, event.failure, *[json.dumps(lenient(raw)) for raw in raws])


@fuzzed(*EVENTS, largest=4096)
def task_event(data: bytes) -> None:
    """An event is read from any JSON; its members have their types, and its text stays."""
    if not is_json(data):
        assert read_data(data, Counter()) == []
        return
    event = read_event(data)
    assert bytes(event.payload) == data
    assert isinstance(event.type, str | None)
    for name in ("block_id", "tool_call_id", "tool_name", "delta", "text", "failure"):
        (getattr(event, name) or "").encode()
    json.dumps(event.data)


@fuzzed(*EVENTS, b"data: ", b"\n\n", b"event: error", b"[DONE]", b": keepalive", largest=4096)
def task_stream(data: bytes) -> None:
    """A stream tells the same events however it is cut."""
    found = []
    for pieces in ways(data):
        decoder, notes = SseDecoder(), Counter[str]()
        heard = [sse for piece in pieces for sse in decoder.feed(piece)] + decoder.close()
        events = [event for sse in heard for event in read_data(sse.data, notes, sse.name)]
        found.append(([said(event) for event in events], notes))
    alike(found)


@fuzzed(*EVENTS, *LOG, largest=4096)
def task_log(data: bytes) -> None:
    """A log is read, or breaks the protocol; of one that is cut the beginning stays as it was."""
    try:
        log = read_log(data)
    except ProtocolError:
        return
    events = [said(event) for event in log.events]
    for text in (log.run_id, log.chat_id, log.status, log.source, log.error):
        assert isinstance(text, str | None)
    assert all(isinstance(line, str) for line in log.raw_events or [])
    if (
        log.whole
        and log.raw_events is None
        and data.endswith(b"}")
        and data.count(b'"events"') == 1
    ):
        cut = read_log(data[:-1], cut=True)
        assert [said(event) for event in cut.events] == events
    for end in {len(data) * part // 7 for part in range(7)}:
        try:
            part = read_log(data[:end], cut=True)
        except ProtocolError:
            continue
        if log.whole and log.raw_events is None and data.count(b'"events"') == 1:
            assert [said(event) for event in part.events] == events[: len(part.events)]


@fuzzed(*EVENTS, b"data: ", b"\n\n", b"\n", largest=4096)
def task_recording(data: bytes) -> None:
    """What is saved is loaded again: each event, when it came, and whatever it says."""
    sent = write_recording((event.json, at, event.kind) for event, at in recorded(data))
    events, times = told(data)
    again, came = told(sent)
    assert [_rough(at) for at in came] == [_rough(at) for at in times]
    assert [said(event) for event in again] == [said(event) for event in events]
    if data.startswith(b"{"):
        assert len(told(b"\xef\xbb\xbf" + data)[0]) == len(events)
    assert [event.data for event in again] == [event.data for event in events] or b"NaN" in data


def _rough(at: int | None) -> int | None:
    """Milliseconds as a float are exact to the microsecond in this century alone."""
    return at if at is None or at < 4_000_000_000_000_000 else round(at, -3)


@fuzzed(*EVENTS, largest=4096)
def task_fold(data: bytes) -> None:
    """Events taken at once and one by one tell the same; the tables hold what the events said."""
    at_once, one_by_one = Fold(), Fold()
    events = Events(told(data)[0])
    at_once.extend(0, events)
    for seq, event in enumerate(told(data)[0]):
        one_by_one.add(seq, event)
    types = Counter(event.type for event in events)
    for differences in (
        content_differences(at_once, one_by_one),
        form_differences(at_once, one_by_one, (types, types)),
    ):
        assert list(differences) == []
    for kind in ("unknown", "warnings", "n_text_deltas", "error", "terminal", "finish_status"):
        assert getattr(at_once, kind) == getattr(one_by_one, kind), kind
    both = [[(b.kind, b.block_id, b.segment, b.text, b.first_seq, b.last_seq) for b in fold.blocks]
            for fold in (at_once, one_by_one)]  # fmt: skip
    alike(both)
    texts = _texts(events)
    for kind, key in texts:
        blocks = [b.text for b in at_once.blocks if (b.kind, b.block_id) == (kind, key)]
        assert "".join(blocks) == texts[kind, key]


@fuzzed(*EVENTS, largest=4096)
def task_tables(data: bytes) -> None:
    """Tables have a row for each event and call, and go to Arrow whatever they hold."""
    run = run_of(data)
    n = len(told(data)[0])
    assert len(run.events) == len(pyarrow.table(run.events)) == n
    assert [row["payload"] for row in run.events] == [event.json for event in told(data)[0]]
    for table in (run.tool_calls, run.text_blocks, run.summary):
        assert pyarrow.table(table).num_rows == len(table.records())
    assert all(isinstance(line, str) for line in run.warnings)


@fuzzed(*EVENTS, b"\\u001b[31m", b"\\r", b"<script>", b"\\u202e", largest=4096)
def task_story(data: bytes) -> None:
    """Panel, saved output and printed text show any run: strict JSON, own HTML, no control character."""
    run = run_of(data)
    items = Items(run)
    shown: dict[int, str] = {}
    sent = 0
    while items.more(sent):
        news = items.news(sent)
        assert news is not None
        sent = news[0]["from"] + news[0]["n"]
        for entry in json.loads(news[1][0], parse_constant=_no_constant):
            shown[entry["i"]] = shown.get(entry["i"], "") + entry.get("text", "")
    assert len(shown) == len(run.fold.items)
    for i, item in enumerate(run.fold.items):
        if isinstance(item, TextBlock):
            assert shown[i] == item.text[:200_000].encode("utf-8", "replace").decode()
    is_safe_html(task_static.html(run, save="all"))
    has_no_control(task_static.text(run, save="all"))
    has_no_control(Printer().new(run.fold, final=True))
    lines = TaskLines(run)
    lines.update()
    said_lines = lines.logs.column("text")
    assert not any("\n" in line for line in said_lines)


def _no_constant(name: str) -> None:
    raise AssertionError(f"{name} is no JSON")


@fuzzed(*EVENTS, largest=4096)
def task_replay(data: bytes) -> None:
    """A run told again from its beginning brings exactly what is new, however the text is cut."""
    events = told(data)[0]
    before = told(data)[0][: (len(events) + 1) // 2]
    if before and before[-1].delta and before[-1].kind.endswith("-delta"):
        before[-1].delta = before[-1].delta[: len(before[-1].delta) // 2]
    replay = Replay(Held(before))
    new = [fresh for event in events if (fresh := replay.new(event)) is not None]
    assert not replay.diverged
    whole, had, got = _texts(events), _texts(before), _texts(new)
    assert {key: had.get(key, "") + got.get(key, "") for key in whole} == whole


def _texts(events: list[Event]) -> dict[tuple[object, ...], str]:
    texts: dict[tuple[object, ...], str] = {}
    for event in events:
        if event.kind in ("text-delta", "text", "reasoning-delta", "reasoning") and is_told(event):
            key = (event.kind.partition("-")[0], event.block_id)
            text = event.delta if event.delta is not None else event.text or ""
            texts[key] = texts.get(key, "") + text
    return texts


@fuzzed(*JSON, b'"status":"', b'"progress":', b'"startedAt":"2026-11-22T10:00:00Z"', b'"error":')
def task_status(data: bytes) -> None:
    """A status is read, or the answer breaks the protocol; a run's details are always read."""
    try:
        answer = read_json(data)
        status = TaskStatus.parse(answer)
    except ProtocolError:
        return
    assert isinstance(status.error, str | None)
    assert all(at is None or at.tzinfo for at in (status.started, status.completed))
    run = TaskRun("run", Controls(_never, _never), target="recording")
    run.take_status(status)
    run.take_details(answer)
    assert isinstance(Task.parse(answer).created, datetime | None)
    pyarrow.table(run.summary)
    has_no_control(task_static.text(run))


@fuzzed(
    *JSON,
    b'{"type":"text","text":"',
    b'"state":"output-available"',
    b'"toolCallId":"',
    largest=4096,
)
def task_parts(data: bytes) -> None:
    """Parts of any shape become events; of those come parts with the same text."""
    value = _json(data)
    parts = value if isinstance(value, list) else [value]
    events = events_of("m", parts)
    made = Parts()
    for event in events:
        made.feed(event)
    made.close()
    texts = [part["text"] for part in parts if isinstance(part, dict) and part.get("type") == "text"
             and isinstance(part.get("text"), str)]  # fmt: skip
    found = [part["text"] for part in made.parts if part["type"] == "text" and "text" in part]
    assert "".join(texts) == "".join(found)


def _json(data: bytes) -> object:
    try:
        return json.loads(text_of(data))
    except (ValueError, RecursionError):
        return None
