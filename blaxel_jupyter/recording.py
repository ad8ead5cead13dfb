"""Read and write recorded task runs: the only lasting record of when each event came (tasks protocol 9).

Pure: bytes in, events out, and back.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import msgspec

from blaxel_jupyter.json_values import UNREADABLE
from blaxel_jupyter.task_events import Event, read_event
from blaxel_jupyter.task_log import read_data
from blaxel_jupyter.wire import SseDecoder


class _Record(msgspec.Struct):
    event: msgspec.Raw
    recvMs: float


def read_recording(data: bytes, warnings: Counter[str]) -> list[tuple[Event, int | None]]:
    """Read a recorded run: NDJSON of events or of ``{seq, recvMs, event}``, or the bytes of a stream.

    Returns:
        Events with the time of receipt in UTC microseconds, None where it was not recorded.
    """
    if not data.lstrip().startswith(b"{"):
        decoder = SseDecoder()
        return [
            (event, None)
            for sse in decoder.feed(data) + decoder.close()
            for event in read_data(sse.data, warnings, sse.name)
        ]
    recorded: list[tuple[Event, int | None]] = []
    for line in filter(None, map(bytes.strip, data.split(b"\n"))):
        try:
            record = msgspec.json.decode(line, type=_Record)
        except UNREADABLE:
            recorded += [(event, None) for event in read_data(line, warnings)]
        else:
            known = 0 <= record.recvMs < 1e15
            at = int(record.recvMs * 1000) if known else None
            recorded.append((read_event(record.event), at))
    return recorded


def write_recording(events: Iterable[tuple[str, int | None]]) -> bytes:
    """Write events as lines of ``{seq, recvMs, event}``; the mirror image of ``read_recording``.

    Args:
        events: JSON texts with the time of receipt in UTC microseconds; without one, the bare event.
    """
    lines = []
    for seq, (payload, at) in enumerate(events):
        event = b" ".join(payload.encode().splitlines())
        if at is not None:
            event = b'{"seq":%d,"recvMs":%s,"event":%b}' % (seq, b"%.3f" % (at / 1000), event)
        lines.append(event + b"\n")
    return b"".join(lines)
