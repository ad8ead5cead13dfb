"""Carry out a plan's faults between a client and a server: one HTTP/1.1 proxy on loopback for each plan.

Every request goes to the server on a connection of its own; its answer is passed on as it comes, but for
what the plan says. Reads (GET) go wrong once a process was started; the start (POST) by faults of its own.
``starts`` counts the starts that the server carried out, ``strayed`` holds what came to another origin.
"""

from __future__ import annotations

import asyncio
import re
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from email.utils import formatdate
from urllib.parse import urlsplit

from tests.faults import spoil
from tests.faults.plans import Fault

LENGTH = re.compile(rb"(?i)\r\ncontent-length: *(\d+)")
ENDS_HEAD = b"\r\n\r\n"
_HOST = re.compile(rb"(?i)\r\nhost: [^\r]*")
_READ = 1 << 16
_DEAD = 8.0
"""Seconds that a connection which did not outlive a standby stays open and silent."""

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Proxy:
    """A server that stands before another one at ``upstream`` and does what faults say, one after another."""

    def __init__(
        self,
        upstream: str,
        faults: Iterable[Fault],
        starts: Iterable[Fault] = (),
        restart: Callable[[float], Awaitable[object]] | None = None,
    ) -> None:
        self.upstream = upstream
        self._faults = list(faults)
        self._start_faults = list(starts)
        self._restart = restart
        self._port = self._other_port = 0
        self._keeper: socket.socket | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._dead: set[asyncio.Task[None]] = set()
        self._awake = asyncio.Event()
        self._awake.set()
        self.starts = 0
        self.done: list[str] = []
        self.strayed: list[bytes] = []

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._port}"

    async def start(self) -> None:
        """Listen, always on the same port."""
        if self._keeper is None:
            self._keeper = socket.socket()
            self._keeper.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            self._keeper.bind(("127.0.0.1", 0))  # nobody else gets the port while nothing listens
            self._port = self._keeper.getsockname()[1]
        self._server = await asyncio.start_server(
            self._serve, "127.0.0.1", self._port, limit=1 << 24, reuse_port=True
        )

    async def start_elsewhere(self) -> None:
        """Listen at the other origin that redirects name."""
        self._other = await asyncio.start_server(self._stray, "127.0.0.1", 0)
        self._other_port = self._other.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """Stop listening and end all connections."""
        self._server.close()
        self._other.close()
        await self.drop()

    async def drop(self) -> None:
        """End all connections."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def add(self, fault: Fault) -> None:
        """Let one more thing go wrong, after those that are still to come."""
        self._faults.append(fault)

    def give_up_port(self) -> None:
        """Let others have the port."""
        if self._keeper is not None:
            self._keeper.close()

    async def _stray(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.strayed.append(await reader.read(_READ))
        writer.close()

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
            self._dead.discard(task)
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve the one request of a connection."""
        head = await reader.readuntil(ENDS_HEAD)
        length = LENGTH.search(head)
        body = await reader.readexactly(int(length[1])) if length else b""
        request = _HOST.sub(b"\r\nHost: " + urlsplit(self.upstream).netloc.encode(), closing(head))
        request += body
        await self._gate()
        if head.startswith(b"POST /process "):
            await self._start(request, writer)
            return
        fault = self._next() if self.starts and head.startswith(b"GET ") else None
        if fault is not None:
            self._note(fault, head)
        if fault is None:
            await self.forward(request, writer, None)
        elif fault.kind == "away":
            await self._go_away(fault.seconds)
        elif fault.kind == "standby":
            await self._stand_by(fault)
        elif fault.kind == "restart":
            if self._restart is not None:
                await self._restart(fault.seconds)
        elif fault.answer:
            await self.say(writer, fault.answer)
        else:
            await self.forward(request, writer, fault)

    def _note(self, fault: Fault, head: bytes) -> None:
        self.done.append(f"{fault.kind} @ {fault.after}: {head.split(b' ', 2)[1].decode()}")

    def _next(self) -> Fault | None:
        """Return what goes wrong with this request: nothing, while the next fault is to be put off."""
        if not self._faults:
            return None
        fault = self._faults[0]
        if fault.skip > 0:
            self._faults[0] = replace(fault, skip=fault.skip - 1)
            return None
        return self._faults.pop(0)

    # The start ------------------------------------------------------------------------------------------

    async def _start(self, request: bytes, writer: asyncio.StreamWriter) -> None:
        fault = self._start_faults.pop(0) if self._start_faults else None
        if fault is not None:
            self._note(fault, request)
        kind = fault.kind if fault else None
        if fault and fault.answer and kind != "lost answer":
            await self.say(writer, fault.answer)
            return
        if kind not in {"unsent", "unsent reset"}:
            answer = await self._started(request)
            if kind == "sent twice":
                answer = await self._started(request)
            if fault and kind == "lost answer":
                await self.say(writer, fault.answer)
            elif fault and kind == "lost cut":
                writer.write(answer[: min(fault.after, len(answer) - 1)])
            elif fault and kind == "lost hang":
                await asyncio.sleep(fault.seconds)
            elif kind != "lost":
                writer.write(answer)
            await writer.drain()
        elif kind == "unsent reset":
            spoil.reset(writer)

    async def _started(self, request: bytes) -> bytes:
        """Let the server start it; return its whole answer."""
        answers, requests = await self._connect()
        try:
            requests.write(request)
            answer = await answers.read()
        finally:
            requests.close()
        self.starts += answer.startswith(b"HTTP/1.1 200")
        return closing(answer)

    # What goes wrong with all connections ---------------------------------------------------------------

    async def _go_away(self, seconds: float) -> None:
        """Restart: nothing listens for a while."""
        self._server.close()
        await asyncio.sleep(seconds)
        await self.start()

    async def _stand_by(self, fault: Fault) -> None:
        """Freeze everything for a while; afterwards the open connections go on, or are dead and stay open."""
        self._awake.clear()
        if fault.after % 2:
            self._dead |= self._tasks
        await asyncio.sleep(fault.seconds)
        self._awake.set()

    @asynccontextmanager
    async def frozen(self) -> AsyncIterator[None]:
        """Let nothing pass until the block ends."""
        self._awake.clear()
        try:
            yield
        finally:
            self._awake.set()

    async def _gate(self) -> None:
        await self._awake.wait()
        if asyncio.current_task() in self._dead:
            await asyncio.sleep(_DEAD)
            raise ConnectionResetError

    # One answer -----------------------------------------------------------------------------------------

    async def say(self, writer: asyncio.StreamWriter, answer: bytes) -> None:
        """Say something that is not the server's."""
        later = formatdate(time.time() + 2, usegmt=True).encode()
        elsewhere = b"http://localhost:%d" % self._other_port
        for mark, word in (
            (b"@LATER@", later),
            (b"@HERE@", self.url.encode()),
            (b"@ELSEWHERE@", elsewhere),
        ):
            answer = answer.replace(mark, word)
        writer.write(answer)
        await writer.drain()

    async def _connect(self) -> Streams:
        where = urlsplit(self.upstream)
        return await asyncio.open_connection(where.hostname, where.port, limit=1 << 24)

    async def forward(
        self, request: bytes, writer: asyncio.StreamWriter, fault: Fault | None
    ) -> None:
        answers, requests = await self._connect()
        try:
            requests.write(request)
            await requests.drain()
            await self._answer(answers, writer, fault)
        finally:
            requests.close()

    async def _answer(
        self, answers: asyncio.StreamReader, writer: asyncio.StreamWriter, fault: Fault | None
    ) -> None:
        """Pass an answer on, wrongly if there is a fault."""
        head = closing(await answers.readuntil(ENDS_HEAD))
        kind, length = fault.kind if fault else None, LENGTH.search(head)
        if fault and length and kind in spoil.WHOLE:
            body = await answers.readexactly(int(length[1]))
            writer.write(spoil.spoilt(head, body, fault))
            await writer.drain()
            return
        left = fault.after if fault and kind in {"cut", "reset", "hang"} else None
        data = head
        while data:
            if left is not None:
                data, left = data[:left], left - len(data[:left])
            await self._gate()
            writer.write(data)
            await writer.drain()
            if left == 0:
                break
            if fault and kind == "slow":
                await asyncio.sleep(fault.seconds)
            data = await answers.read(_READ if kind != "slow" else 700)
            if writer.transport.is_closing():
                return
        if fault and kind == "hang":
            await asyncio.sleep(fault.seconds)
        if kind == "reset":
            spoil.reset(writer)


def closing(head: bytes) -> bytes:
    """Say that the connection is used once."""
    status, _, fields = head.partition(b"\r\n")
    fields = re.sub(rb"(?i)connection: [^\r]*\r\n", b"", fields, count=1)
    return status + b"\r\nConnection: close\r\n" + fields


@asynccontextmanager
async def proxy(
    upstream: str,
    faults: Iterable[Fault],
    starts: Iterable[Fault] = (),
    restart: Callable[[float], Awaitable[object]] | None = None,
) -> AsyncIterator[Proxy]:
    """Run a proxy until the block ends; ``restart`` restarts what is upstream, down for so many seconds."""
    running = Proxy(upstream, faults, starts, restart)
    await running.start()
    await running.start_elsewhere()
    try:
        yield running
    finally:
        await running.close()
        running.give_up_port()
