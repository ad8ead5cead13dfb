"""Read and write recorded task runs: the only lasting record of when each event came (tasks protocol 9).

Pure: bytes in, events out, and back.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable

import msgspec

from blaxel_jupyter.json_values import UNREADABLE, lenient
from blaxel_jupyter.task_events import Event, read_event
from blaxel_jupyter.task_log import read_data
from blaxel_jupyter.wire import SseDecoder


class _Record(msgspec.Struct):
    """An event as recorded: ``name`` is the stream's, where the event itself has no type."""

    event: msgspec.Raw
    recvMs: float | None
    name: str = ""
    type: msgspec.Raw = msgspec.Raw()


_READER = msgspec.json.Decoder(_Record)
_BREAKS = re.compile(rb'"(?:[^"\\]|\\.)*"|[\r\n]', re.DOTALL)


def read_recording(data: bytes, warnings: Counter[str]) -> list[tuple[Event, int | None]]:
    """Read a recorded run: NDJSON of events or of ``{seq, recvMs, event}``, or the bytes of a stream.

    Returns:
        Events with the time of receipt in UTC microseconds, None where it was not recorded.
    """
    data = data.removeprefix(b"\xef\xbb\xbf")
    if not data.lstrip().startswith(b"{"):
        decoder = SseDecoder()
        return [
            (event, None)
            for sse in decoder.feed(data) + decoder.close()
            for event in read_data(sse.data, warnings, sse.name)
        ]
    recorded: list[tuple[Event, int | None]] = []
    for line in filter(None, map(bytes.strip, data.split(b"\n"))):
        if (record := _record(line)) is None:
            recorded += [(event, None) for event in read_data(line, warnings)]
        else:
            known = record.recvMs is not None and 0 <= record.recvMs < 1e15
            at = round(record.recvMs * 1000) if known and record.recvMs is not None else None
            recorded.append((read_event(record.event, record.name), at))
    return recorded


def _record(line: bytes) -> _Record | None:
    """Read a record; None for what is an event itself, or nothing."""
    try:
        record = _READER.decode(line)
    except UNREADABLE:
        return _odd_record(line)
    return None if record.type else record


def _odd_record(line: bytes) -> _Record | None:
    """Read a record around an event that only a lenient reader reads."""
    members = lenient(line)
    if not isinstance(members, dict) or "type" in members:
        return None
    if not {"event", "recvMs"} <= members.keys():
        return None
    at, name = members["recvMs"], members.get("name")
    time = at if isinstance(at, int | float) and not isinstance(at, bool) else None
    event = msgspec.Raw(json.dumps(members["event"]).encode())
    return _Record(event, time, name if isinstance(name, str) else "")


def write_recording(events: Iterable[tuple[str, int | None, str | None]]) -> bytes:
    """Write events as lines of ``{seq, recvMs, event}``; the mirror image of ``read_recording``.

    Args:
        events: JSON texts, each with the time of receipt in UTC microseconds, None where it is not known,
            and its type. Without a time the event stands bare, where it can be told from a record.
    """
    lines = []
    for seq, (payload, at, kind) in enumerate(events):
        event = _BREAKS.sub(_on_one_line, payload.encode("utf-8", "replace"))
        name = kind if kind and read_event(event).kind != kind else ""
        if at is not None or name or not event.startswith(b"{") or _record(event) is not None:
            when = b"null" if at is None else b"%.3f" % (at / 1000)
            named = b',"name":%b' % msgspec.json.encode(name) if name else b""
            event = b'{"seq":%d,"recvMs":%b%b,"event":%b}' % (seq, when, named, event)
        lines.append(event + b"\n")
    return b"".join(lines)


def _on_one_line(token: re.Match[bytes]) -> bytes:
    """Write line breaks inside a text as escapes, as JSON wants them, and others as spaces."""
    if token[0].startswith(b'"'):
        return token[0].replace(b"\r", b"\\r").replace(b"\n", b"\\n")
    return b" "
