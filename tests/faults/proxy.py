"""Carry out a plan's faults between a client and a server: one HTTP/1.1 proxy on loopback for each plan.

Every request goes to the server on a connection of its own; its answer is passed on as it comes, but for
what the plan says. Only requests that read (GET) go wrong, and only once a process was started:
that it was is not in doubt.
"""

from __future__ import annotations

import asyncio
import re
import socket
import struct
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from urllib.parse import urlsplit

from tests.faults.plans import Fault

_LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")
_ENDS_HEAD = b"\r\n\r\n"
_READ = 1 << 16


class Proxy:
    """A server that stands before another one at ``upstream`` and does what faults say, one after another."""

    def __init__(self, upstream: str, faults: Iterable[Fault]) -> None:
        self._upstream = urlsplit(upstream)
        self._faults = list(faults)
        self._port = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._started = False
        self.done: list[str] = []

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._port}"

    async def start(self) -> None:
        """Listen, always on the same port."""
        self._server = await asyncio.start_server(
            self._serve, "127.0.0.1", self._port, limit=1 << 24
        )
        self._port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Stop listening and end all connections."""
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            # Cancelled only when the proxy closes: the stream's own callback would call that an error.
            with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
                await self._one(reader, writer)
        finally:
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve the one request of a connection."""
        head = await reader.readuntil(_ENDS_HEAD)
        length = _LENGTH.search(head)
        body = await reader.readexactly(int(length[1])) if length else b""
        fault = self._next() if self._started and head.startswith(b"GET ") else None
        if fault is not None:
            self.done.append(f"{fault.kind} {fault.after}: {head.split(b' ', 2)[1].decode()}")
        if fault is not None and fault.kind == "away":
            await self._go_away(fault.seconds)
        elif fault is not None and fault.kind == "answer":
            writer.write(fault.answer)
            await writer.drain()
        else:
            await self._pass(head, body, writer, fault)
            self._started = self._started or head.startswith(b"POST ")

    def _next(self) -> Fault | None:
        """Return what goes wrong with this request: nothing, while the next fault is to be put off."""
        if not self._faults:
            return None
        fault = self._faults[0]
        if fault.skip > 0:
            self._faults[0] = Fault(
                fault.kind, fault.skip - 1, fault.after, fault.answer, fault.seconds
            )
            return None
        return self._faults.pop(0)

    async def _go_away(self, seconds: float) -> None:
        """Restart: nothing listens for a while."""
        self._server.close()
        await asyncio.sleep(seconds)
        await self.start()

    async def _pass(
        self, head: bytes, body: bytes, writer: asyncio.StreamWriter, fault: Fault | None
    ) -> None:
        upstream = self._upstream
        answers, requests = await asyncio.open_connection(upstream.hostname, upstream.port)
        try:
            requests.write(_closing(head) + body)
            await requests.drain()
            await _answer(answers, writer, fault)
        finally:
            requests.close()


async def _answer(
    answers: asyncio.StreamReader, writer: asyncio.StreamWriter, fault: Fault | None
) -> None:
    """Pass an answer on, wrongly."""
    head = _closing(await answers.readuntil(_ENDS_HEAD))
    kind, length = fault.kind if fault else None, _LENGTH.search(head)
    if fault and length and kind in {"shorter", "wrong length", "twice"}:
        writer.write(_mistold(head, await answers.readexactly(int(length[1])), fault))
        await writer.drain()
        return
    left = fault.after if fault and kind in {"cut", "reset", "hang"} else None
    data = head
    while data:
        if left is not None:
            data, left = data[:left], left - len(data[:left])
        writer.write(data)
        await writer.drain()
        if left == 0:
            break
        if fault and kind == "slow":
            await asyncio.sleep(fault.seconds)
        data = await answers.read(_READ if kind != "slow" else 700)
    if fault and kind == "hang":
        await asyncio.sleep(fault.seconds)
    if kind == "reset":
        reset(writer)


def _closing(head: bytes) -> bytes:
    """Say that the connection is used once."""
    status, _, fields = head.partition(b"\r\n")
    fields = re.sub(rb"(?i)connection: [^\r]*\r\n", b"", fields)
    return status + b"\r\nConnection: close\r\n" + fields


def _mistold(head: bytes, body: bytes, fault: Fault) -> bytes:
    """Return an answer whose length is not that of its body, or whose body is not what it was."""
    told = len(body)
    if fault.kind == "shorter":
        body = body[: len(body) * (fault.after % 100) // 100]
        told = len(body)
    elif fault.kind == "wrong length":
        told = max(0, told + (fault.after % 7 - 3 or 1))
    else:
        body += body
    return _LENGTH.sub(b"\r\nContent-Length: %d" % told, head, count=1) + body


def reset(writer: asyncio.StreamWriter) -> None:
    """End a connection with RST."""
    sock = writer.get_extra_info("socket")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


@asynccontextmanager
async def proxy(upstream: str, faults: Iterable[Fault]) -> AsyncIterator[Proxy]:
    """Run a proxy until the block ends."""
    running = Proxy(upstream, faults)
    await running.start()
    try:
        yield running
    finally:
        await running.close()
