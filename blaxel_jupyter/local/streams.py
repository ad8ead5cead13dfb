"""Turn a process's log into the two streams of the sandbox API: marked text lines, and NDJSON.

The real server cuts lines at its reads and puts markers and keepalives inside them (protocol 4); here
each line is whole, has one marker, and nothing stands in its middle. The bytes are the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

from blaxel_jupyter.local.capture import STREAMS, Reader, Stream
from blaxel_jupyter.local.processes import LocalProcess
from blaxel_jupyter.process import KEEPALIVE, MARKERS, encode_chunk, encode_event

TEXT_KEEPALIVE = 30.0
"""Seconds between keepalives of a text stream (protocol 4.4)."""
NDJSON_KEEPALIVE = 5.0
"""Seconds between keepalives of an NDJSON stream (protocol 4.4)."""
MAX_HELD = 64 * 1024
"""Bytes of an unfinished line that wait for its end before they are sent without it."""
BLOCK = 64 * 1024
"""Bytes gathered into one write to the client: two of them wait where it does not read."""


class TextEncoder:
    """Frame output as marked lines; unfinished lines wait, each stream's for itself."""

    def __init__(self) -> None:
        self._held: dict[Stream, bytearray] = {stream: bytearray() for stream in STREAMS}
        self._open: Stream | None = None

    @property
    def at_line_start(self) -> bool:
        """Whether a keepalive may be sent now."""
        return self._open is None

    def feed(self, stream: Stream, data: bytes) -> bytes:
        """Return what can be sent of a stream's next bytes."""
        held = self._held[stream]
        end = data.rfind(b"\n") + 1
        sent = b""
        if end:
            lines = bytes(held) + data[: end - 1]
            held.clear()
            marked = lines.replace(b"\n", b"\n" + MARKERS[stream])
            sent = self._start(stream, marked) + b"\n"
            self._open = None
        held += data[end:]
        if len(held) > MAX_HELD:
            sent += self._start(stream, bytes(held))
            held.clear()
            self._open = stream
        return sent

    def close(self) -> bytes:
        r"""Return the unfinished last lines, without a ``\n``; if there are two, one stands between."""
        last = sorted((stream for stream in STREAMS if self._held[stream]), key=self._is_not_open)
        sent = b""
        for stream in last:
            if sent:
                sent += b"\n"
                self._open = None
            sent += self._start(stream, bytes(self._held[stream]))
            self._open = stream
        return sent

    def _is_not_open(self, stream: Stream) -> bool:
        return stream != self._open

    def _start(self, stream: Stream, data: bytes) -> bytes:
        """Go on in a line of this stream that was too long to wait for, else begin with a marker."""
        return data if self._open == stream else encode_chunk(stream, data)


class EventEncoder:
    """Frame output as NDJSON events that end between characters."""

    at_line_start = True

    def __init__(self) -> None:
        self._held: dict[Stream, bytes] = dict.fromkeys(STREAMS, b"")

    def feed(self, stream: Stream, data: bytes) -> bytes:
        """Return what can be sent of a stream's next bytes; half a character waits."""
        data = self._held[stream] + data
        end = character_end(data)
        self._held[stream] = data[end:]
        return encode_event(stream, data[:end]) if end else b""

    def close(self) -> bytes:
        """Return the half characters that were written last, as U+FFFD."""
        return b"".join(encode_event(each, held) for each, held in self._held.items() if held)


def character_end(data: bytes) -> int:
    """Return where the last UTF-8 character that is complete, or can never be, ends."""
    for back in range(1, min(4, len(data) + 1)):
        byte = data[-back]
        if byte >= 0xC0:
            needed = 2 if byte < 0xE0 else 3 if byte < 0xF0 else 4
            return len(data) - back if needed > back and byte < 0xF5 else len(data)
        if byte < 0x80:
            break
    return len(data)


async def text(process: LocalProcess) -> AsyncIterator[bytes]:
    """Yield the text log stream: all that is there, then live, until the process is final."""
    async for block in follow(process, TextEncoder(), TEXT_KEEPALIVE, KEEPALIVE):
        yield block


async def events(process: LocalProcess, result: Callable[[], str]) -> AsyncIterator[bytes]:
    """Yield the NDJSON exec stream: all that is there, then live, then the result."""
    keepalive = encode_event("keepalive")
    async for block in follow(process, EventEncoder(), NDJSON_KEEPALIVE, keepalive):
        yield block
    yield encode_event("result", result())


async def follow(
    process: LocalProcess,
    encoder: TextEncoder | EventEncoder,
    period: float,
    keepalive: bytes,
) -> AsyncIterator[bytes]:
    """Yield what a process wrote, framed: all that is there, then live, until it is final.

    A keepalive comes every ``period`` seconds, but never inside a line.
    """
    clock = asyncio.get_running_loop().time
    due = clock() + period
    with Reader(process.log) as reader:
        while True:
            block, taken = _gather(reader, encoder)
            if block:
                yield block
            elif taken:
                continue  # an unfinished line waits for its end: nothing to send yet
            elif process.log.ended:
                break
            else:
                await process.log.waiters.woken(left if (left := due - clock()) > 0 else period)
            if clock() >= due and encoder.at_line_start and not process.log.ended:
                yield keepalive
                due = clock() + period
    if last := encoder.close():
        yield last


def _gather(reader: Reader, encoder: TextEncoder | EventEncoder) -> tuple[bytes, int]:
    """Return what can be sent now, and how many bytes were read for it."""
    parts: list[bytes] = []
    size = 0
    while size < BLOCK and (piece := reader.read(BLOCK)) is not None:
        parts.append(encoder.feed(*piece))
        size += len(piece[1])
    return b"".join(parts), size
