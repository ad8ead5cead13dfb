"""Put a recording's requests to a server again, at the recorded times and in the recorded order.

The client is a few lines on a socket, so that header names, framing and chunks are seen as sent. It compares
nothing: ``tests/conformance/test_imitation.py`` does.
"""

from __future__ import annotations

import asyncio
import re
import time
from contextlib import suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from tests.recordings import Exchange, Recording


@dataclass(slots=True)
class Answer:
    """What came back on one connection; ``status`` None: nothing before the client hung up."""

    status: int | None = None
    headers: list[tuple[str, str]] = field(default_factory=list)
    framing: str = "none"
    body: bytes = b""


async def enact(recording: Recording, url: str) -> list[Answer]:
    """Repeat every exchange of a recording and return the answers in the recording's order.

    An exchange starts as long as in the recording after the last one that had ended before it. Pids in paths
    and file dates in headers are replaced by those of the server at ``url``.
    """
    stage = _Stage(recording, url)
    return await asyncio.gather(*(stage.play(number) for number in range(len(recording.exchanges))))


class _Stage:
    def __init__(self, recording: Recording, url: str) -> None:
        self._exchanges = recording.exchanges
        self._address = urlsplit(url)
        self._began = time.monotonic()
        self._ended = [asyncio.Event() for _ in recording.exchanges]
        self._ended_at = [0.0] * len(recording.exchanges)
        self._pids: dict[str, str] = {}
        self._dates: dict[str, str] = {}

    async def play(self, number: int) -> Answer:
        exchange = self._exchanges[number]
        due = self._began + exchange.t_request / 1000
        for other, earlier in enumerate(self._exchanges):
            if earlier.t_end <= exchange.t_request and other != number:
                await self._ended[other].wait()
                gap = (exchange.t_request - earlier.t_end) / 1000
                due = max(due, self._ended_at[other] + gap)
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        answer = Answer()
        limit = None
        if exchange.end == "client_abort":
            limit = (exchange.t_end - exchange.t_request) / 1000
        with suppress(TimeoutError):
            async with asyncio.timeout(limit):
                await self._ask(exchange, answer)
        self._learn(exchange, answer)
        self._ended_at[number] = time.monotonic()
        self._ended[number].set()
        return answer

    def _learn(self, exchange: Exchange, answer: Answer) -> None:
        recorded = re.search(rb'"pid":"(\d+)"', exchange.body)
        seen = re.search(rb'"pid":"(\d+)"', answer.body)
        if recorded and seen:
            self._pids[recorded[1].decode()] = seen[1].decode()
        date = dict(answer.headers).get("Last-Modified")
        if date and (recorded_date := exchange.header("Last-Modified")):
            self._dates[recorded_date] = date

    async def _ask(self, exchange: Exchange, answer: Answer) -> None:
        target = re.sub(
            r"(?<=^/process/)\d+", lambda pid: self._pids.get(pid[0], pid[0]), exchange.target
        )
        body = (exchange.request_body or "").encode()
        lines = [f"{exchange.method} {target} HTTP/1.1", f"Host: {self._address.netloc}"]
        for name, value in exchange.request_headers:
            lines.append(f"{name}: {self._dates.get(value, value)}")
        reader, writer = await asyncio.open_connection(
            self._address.hostname, self._address.port, limit=2**26
        )
        try:
            writer.write(("\r\n".join(lines) + "\r\n\r\n").encode() + body)
            await _read(reader, exchange.method, answer)
        finally:
            writer.close()


async def _read(reader: asyncio.StreamReader, method: str, answer: Answer) -> None:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.rstrip("\r\n").split("\r\n")
    pairs = (line.partition(": ") for line in lines)
    answer.headers = [(name, value) for name, _, value in pairs]
    answer.status = int(first.split(" ")[1])
    headers = {name.lower(): value for name, value in answer.headers}
    if method == "HEAD" or answer.status == 304:
        return
    if headers.get("transfer-encoding") == "chunked":
        answer.framing = "chunked"
        while size := int(await reader.readline(), 16):
            answer.body += (await reader.readexactly(size + 2))[:-2]
        return
    answer.framing = "length"
    answer.body = await reader.readexactly(int(headers["content-length"]))
