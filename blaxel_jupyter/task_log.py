"""Read task events from whatever carries them: the batch log, a stream's data, ``rawEvents``.

One tolerant reader for all three (tasks protocol 2.6, 2.7, 9): content never makes it raise; what it
cannot read is counted and told. Pure: no socket, no clock.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable
from typing import Any

import msgspec

from blaxel_jupyter.errors import ProtocolError
from blaxel_jupyter.json_values import UNREADABLE, dumped, is_json, lenient, words_in, words_of
from blaxel_jupyter.salvage import past_separators, whole_values
from blaxel_jupyter.task_events import Event, Events, KnownEvent, read_event


class TaskLog(msgspec.Struct):
    """A batch log as read (tasks protocol 2.6).

    ``whole`` is False where the body was cut: ``events`` then holds what arrived. ``warnings`` says
    what could not be read, and how often.
    """

    run_id: str | None = None
    chat_id: str | None = None
    status: str | None = None
    source: str | None = None
    error: str | None = None
    read: Events = msgspec.field(default_factory=Events)
    raw_events: list[str] | None = None
    warnings: Counter[str] = msgspec.field(default_factory=Counter)
    whole: bool = True

    @property
    def events(self) -> Events:
        """The events, each with its JSON text; ``read`` are the same before anybody asked for that."""
        return self.read.whole()


class _Log(msgspec.Struct):
    events: list[KnownEvent]
    runId: msgspec.Raw = msgspec.Raw()
    chatId: msgspec.Raw = msgspec.Raw()
    status: msgspec.Raw = msgspec.Raw()
    source: msgspec.Raw = msgspec.Raw()
    error: msgspec.Raw = msgspec.Raw()
    rawEvents: msgspec.Raw = msgspec.Raw()


class _Texts(msgspec.Struct):
    events: list[msgspec.Raw]


_KEYS = _Log.__struct_fields__[1:]
_READER = msgspec.json.Decoder(_Log)
_TEXTS_READER = msgspec.json.Decoder(_Texts)


def read_log(body: bytes, *, cut: bool = False) -> TaskLog:
    """Read the answer of ``/logs``.

    Args:
        body: the JSON text.
        cut: the body is known to be incomplete: keep what there is of it.

    Raises:
        ProtocolError: nothing in it is a log.
    """
    events: Events | None
    try:
        told = _READER.decode(body)
        members = {key: getattr(told, key) for key in _KEYS}
        events = Events(told.events, lambda: _TEXTS_READER.decode(body).events)
    except UNREADABLE:
        value = lenient(body)
        if not isinstance(value, dict):
            return _salvaged(body, cut)
        members = {key: msgspec.Raw(dumped(member)) for key, member in value.items()}
        events = _one_by_one(body, value.get("events"))
    log = TaskLog()
    for name, key in _ENVELOPE.items():
        setattr(log, name, words_in(members.get(key)))
    raw = lenient(members.get("rawEvents", b""))
    if isinstance(raw, list):
        log.raw_events = [line if isinstance(line, str) else json.dumps(line) for line in raw]
    if events is None:
        log.warnings["log has no list of events"] += 1
        events = Events(read_raw(log.raw_events or [], log.warnings))
    log.read = events
    return log


_ENVELOPE = {
    "run_id": "runId",
    "chat_id": "chatId",
    "status": "status",
    "source": "source",
    "error": "error",
}
_EVENTS = re.compile(rb'"events"\s*:\s*\[')


def _one_by_one(body: bytes, items: object) -> Events | None:
    """Read a log's events each from its own text: one of them is odd. None where there is no list."""
    try:
        return Events(map(read_event, _TEXTS_READER.decode(body).events))
    except UNREADABLE:
        if not isinstance(items, list):
            return None
        return Events(map(read_event, _as_sent(body, items)))


def _as_sent(body: bytes, items: list[Any]) -> list[bytes]:
    """Return the events' own texts where they are found, else the same written anew."""
    anew = [dumped(one) for one in items]
    start = _EVENTS.search(body)
    text = body[start.end() :].decode("utf-8", "replace") if start else ""
    found = [text[begin:end].encode("utf-8", "replace") for begin, end in whole_values(text)]
    same = len(found) == len(anew) and all(
        dumped(lenient(one)) == other for one, other in zip(found, anew, strict=True)
    )
    return found if same else anew


def read_raw(lines: Iterable[str], warnings: Counter[str]) -> list[Event]:
    """Read ``rawEvents``: one event a string, ``data: {json}`` (tasks protocol 2.6)."""
    events = []
    for line in lines:
        text = line.strip().removeprefix("data:").strip()
        if text and not text.startswith(":"):
            events += read_data(text.encode("utf-8", "replace"), warnings)
    return events


def read_data(data: bytes, warnings: Counter[str], name: str = "message") -> list[Event]:
    """Read the data of one server-sent event: an event, or none and a warning where it is no JSON.

    ``name`` stands in for a missing type: the older generation names its events (tasks protocol 1.3).
    """
    if data.strip() == b"[DONE]":
        return []
    if not is_json(data):
        warnings[f"event is not JSON: {_shown(data)}"] += 1
        return []
    return [read_event(data, "" if name == "message" else name)]


def _salvaged(body: bytes, cut: bool) -> TaskLog:
    """Keep the events at the beginning of a body that is not a whole JSON object."""
    start = _EVENTS.search(body)
    if start is None:
        if cut and body.lstrip()[:1] in {b"", b"{"}:
            return TaskLog(whole=False)
        what = "an HTML page" if body.lstrip()[:1] == b"<" else "something that is not JSON"
        raise ProtocolError(
            f"The task service answered with {what}. Check BLACKBOX_API_URL.", data=body
        )
    log = TaskLog(whole=False)
    head = lenient(body[: start.start()].rstrip().removesuffix(b",") + b"}")
    if isinstance(head, dict):
        for name, key in _ENVELOPE.items():
            setattr(log, name, words_of(head.get(key)))
    text, at = body[start.end() :].decode("utf-8", "replace"), 0
    for begin, at in whole_values(text):  # the end of the last is used below
        log.read.append(read_event(text[begin:at].encode("utf-8", "replace")))
    at = past_separators(text, at)
    rest = lenient(b"{" + text[at:].removeprefix("]").lstrip(", \r\n\t").encode())
    if text[at : at + 1] == "]" and isinstance(rest, dict):
        log.whole = True
        for name, key in _ENVELOPE.items():
            setattr(log, name, words_of(rest.get(key)) or getattr(log, name))
    return log


def _shown(data: bytes) -> str:
    text = data.decode("utf-8", "replace")
    return repr(text if len(text) <= 80 else f"{text[:80]}…")
