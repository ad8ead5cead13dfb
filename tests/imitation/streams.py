"""Frame output for the two kinds of stream, replay the backlog, keep clients awake.

The text form and the NDJSON form differ in framing only; both see the same chunks. The handlers that open
streams are in ``routes.py``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from tests.imitation.gojson import dumps, text
from tests.imitation.habits import Habits
from tests.imitation.http import KEEPALIVE, Context, Gone, Response
from tests.imitation.processes import TRUNCATED, Process

Form = Literal["text", "ndjson"]
FELL_BEHIND = b"[output truncated: the stream fell behind]\n"
_BATCH = 32 * 1024


def event(kind: str, data: bytes | str | None = None) -> bytes:
    """Encode one NDJSON line; a keepalive has no ``data`` member."""
    members: dict[str, str] = {"type": kind}
    if data is not None:
        members["data"] = text(data) if isinstance(data, bytes) else data
    return dumps(members) + b"\n"


class Attachment:
    """One stream on one process: queues what comes while the backlog is replayed, then passes it on."""

    def __init__(self, form: Form, response: Response, habits: Habits) -> None:
        self._form = form
        self._response = response
        self._habits = habits
        self._queue: list[bytes] | None = []
        self._queued = 0
        self._fell_behind = False
        self.sent = 0

    async def chunk(self, stream: str, data: bytes) -> None:
        """Send one chunk as read, whatever it holds (4.2, 4.3)."""
        framed = event(stream, data) if self._form == "ndjson" else f"{stream}:".encode() + data
        await self._live(framed)

    async def notice(self, line: str) -> None:
        """Send a notice: raw in text, a stdout event in NDJSON (4.5)."""
        await self._live(event("stdout", line) if self._form == "ndjson" else line.encode())

    async def _live(self, framed: bytes) -> None:
        if self._queue is None:
            await self._send(framed)
        elif self._queued + len(framed) > self._habits.queue_limit:
            self._fell_behind = True
        else:
            self._queue.append(framed)
            self._queued += len(framed)

    async def _send(self, framed: bytes) -> None:
        self.sent += len(framed)
        try:
            await self._response.write(framed)
        except Gone:
            return  # the handler notices by itself; the process does not care

    async def replay(self, combined: Path, size: int) -> None:
        """Send the combined log's first ``size`` bytes line by line, then what queued meanwhile (4.6)."""
        batch = bytearray()
        bodies = 0
        for stream, line in backlog(combined, size, self._habits):
            framed = (
                event(stream, line + b"\n")
                if self._form == "ndjson"
                else b"%s:%b\n"
                % (
                    stream.encode(),
                    line,
                )
            )
            self.sent += len(framed)
            if not self._response.may_batch:
                await self._response.write(framed)
                continue
            batch += b"%x\r\n%b\r\n" % (len(framed), framed)
            bodies += len(framed)
            if len(batch) >= _BATCH:
                await self._response.write_framed(bytes(batch), bodies)
                batch.clear()
                bodies = 0
        if batch:
            await self._response.write_framed(bytes(batch), bodies)
        await self._release()

    async def _release(self) -> None:
        while self._queue:
            waiting, self._queue, self._queued = self._queue, [], 0
            for framed in waiting:
                await self._send(framed)
        if self._fell_behind:
            self._fell_behind = False
            line = (
                event("stdout", FELL_BEHIND) if self._form == "ndjson" else b"stdout:" + FELL_BEHIND
            )
            await self._send(line)
        self._queue = None


def backlog(combined: Path, size: int, habits: Habits) -> Iterator[tuple[str, bytes]]:
    r"""Read the combined log as Go's line scanner does: (stream, line without marker, ``\r`` and ``\n``).

    It stops without a word at a line of ``line_limit`` bytes (4.2).
    """
    try:
        with combined.open("rb") as file:
            start = max(0, size - habits.replay_limit)
            file.seek(start)
            data = file.read(size - start)
    except FileNotFoundError:
        return
    if start:
        yield "stdout", TRUNCATED[:-1]
    position = 0
    while position < len(data):
        end = data.find(b"\n", position)
        stop = end if end >= 0 else len(data)
        if stop - position >= habits.line_limit:
            return
        line = data[position:stop]
        position = stop + 1
        yield _attributed(line.removesuffix(b"\r"))


def _attributed(line: bytes) -> tuple[str, bytes]:
    for stream in ("stdout", "stderr"):
        marker = f"{stream}:".encode()
        if line.startswith(marker):
            return stream, line[len(marker) :]
    return "stdout", line.lstrip(b"\0")


async def keep_awake(
    form: Form, process: Process, response: Response, context: Context, habits: Habits
) -> None:
    """Say ``[keepalive]`` while the process runs, wherever the stream is, and longer than it lives (4.4).

    After the client of a text stream is gone its keepalive goes to whatever answer uses the request's
    recycled context.
    """
    line = event("stdout", KEEPALIVE) if form == "ndjson" else KEEPALIVE
    while True:
        await asyncio.sleep(habits.keepalive)
        if process.status != "running":
            return
        try:
            if context.response is response:
                await response.write(line)
            elif form == "text" and habits.stray_keepalives and context.response is not None:
                await context.response.stray()
        except Gone:
            continue
