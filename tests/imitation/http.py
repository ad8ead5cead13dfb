"""A lean HTTP/1.1 server on asyncio whose answers are framed, cut and spoilt exactly as told.

A general server would repair what must stay broken here: short bodies, foreign bytes inside a download,
one HTTP chunk for each flush. It knows nothing of processes; ``server.py`` gives it the routes.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from urllib.parse import parse_qs, unquote

from tests.imitation.gojson import http_date
from tests.imitation.habits import Fault

KEEPALIVE = b"[keepalive]\n"
_REASONS = {
    200: "OK", 204: "No Content", 206: "Partial Content", 301: "Moved Permanently", 304: "Not Modified",
    307: "Temporary Redirect", 400: "Bad Request", 404: "Not Found", 416: "Requested Range Not Satisfiable",
    422: "Unprocessable Entity", 429: "Too Many Requests", 500: "Internal Server Error",
    502: "Bad Gateway", 503: "Service Unavailable", 504: "Gateway Timeout",
}  # fmt: skip
COMMON = {
    "Access-Control-Allow-Headers": "Content-Type, Authorization",
    "Access-Control-Allow-Methods": "GET, POST, PUT, DELETE, HEAD, OPTIONS",
    "Access-Control-Allow-Origin": "*",
    "Cache-Control": "no-cache, no-store, must-revalidate",
    "Expires": "0",
    "Pragma": "no-cache",
    "X-Content-Type-Options": "nosniff",
}
IDLE = 120.0
"""Seconds after which an idle keep-alive connection is closed."""


class Gone(ConnectionError):
    """The client hung up, or a fault ended the answer: the handler has nothing left to do."""


@dataclass(slots=True)
class Context:
    """gin's request context: recycled, so that a leaked keepalive writes into its next user's answer."""

    response: Response | None = None


@dataclass(slots=True)
class Request:
    """One request; ``path`` is decoded once, as the router sees it."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    context: Context = field(default_factory=Context)

    @property
    def path(self) -> str:
        return unquote(self.target.partition("?")[0], errors="surrogateescape")

    @property
    def query(self) -> dict[str, list[str]]:
        return parse_qs(self.target.partition("?")[2])


class Connection(asyncio.Protocol):
    """One client: its requests one after another, each answered before the next is read."""

    def __init__(
        self, serve: Callable[[Connection], Awaitable[None]], send_buffer: int | None
    ) -> None:
        self.gone = asyncio.Event()
        self.lost = asyncio.Event()
        """Set when the socket is closed; ``gone`` may come long before, at the client's FIN."""
        self.sent = 0
        self._serve = serve
        self._send_buffer = send_buffer
        self._buffer = bytearray()
        self._more = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.set_write_buffer_limits(high=0)
        sock: socket.socket = transport.get_extra_info("socket")
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._send_buffer is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, self._send_buffer)
        self.task = asyncio.ensure_future(self._serve(self))

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        self._more.set()

    def eof_received(self) -> bool:
        self.gone.set()
        self._more.set()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self.gone.set()
        self.lost.set()
        self._more.set()
        self._writable.set()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    async def next_request(self) -> Request | None:
        """Read one request; None when the client is done or idle for too long."""
        while (end := self._buffer.find(b"\r\n\r\n")) < 0:
            if not await self._wait_for_more():
                return None
        head = bytes(self._buffer[:end]).decode("latin-1")
        del self._buffer[: end + 4]
        first, *lines = head.split("\r\n")
        method, target, _ = first.split(" ", 2)
        pairs = (line.partition(":") for line in lines)
        headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
        length = int(headers.get("content-length", "0"))
        if headers.get("transfer-encoding", "").lower() == "chunked":
            body = await self._chunked_body()
        else:
            body = await self._take(length)
        return None if body is None else Request(method, target, headers, body)

    async def _wait_for_more(self) -> bool:
        if self.gone.is_set():
            return False
        self._more.clear()
        try:
            await asyncio.wait_for(self._more.wait(), IDLE)
        except TimeoutError:
            return False
        return not self.gone.is_set()

    async def _take(self, size: int) -> bytes | None:
        while len(self._buffer) < size:
            if not await self._wait_for_more():
                return None
        taken = bytes(self._buffer[:size])
        del self._buffer[:size]
        return taken

    async def _chunked_body(self) -> bytes | None:
        parts: list[bytes] = []
        while True:
            while (end := self._buffer.find(b"\r\n")) < 0:
                if not await self._wait_for_more():
                    return None
            size = int(bytes(self._buffer[:end]), 16)
            del self._buffer[: end + 2]
            part = await self._take(size + 2)
            if part is None:
                return None
            if not size:
                return b"".join(parts)
            parts.append(part[:-2])

    async def write(self, data: bytes) -> None:
        """Send and wait until the kernel has taken all of it, as Go's blocking write does."""
        if self.gone.is_set():
            raise Gone
        self._transport.write(data)
        self.sent += len(data)
        if not self._writable.is_set():
            await self._writable.wait()
            if self.gone.is_set():
                raise Gone

    def close(self) -> None:
        """Send what is buffered, then FIN."""
        self._transport.close()

    def reset(self) -> None:
        """Drop the connection with RST."""
        sock: socket.socket = self._transport.get_extra_info("socket")
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()


class Response:
    """One answer: ``start``, ``write`` (each call one HTTP chunk), ``end``; or one of the whole forms."""

    def __init__(self, connection: Connection, request: Request, fault: Fault | None) -> None:
        self.connection = connection
        self.body_sent = 0
        self.started = False
        self.close_after = request.headers.get("connection", "").lower() == "close"
        self._head_only = request.method == "HEAD"
        self._fault = fault
        self._remaining: int | None = None

    async def start(
        self, status: int, headers: dict[str, str | None], *, length: int | None = None
    ) -> None:
        """Send the status line and headers; ``length`` None means chunked, None as a value leaves one out."""
        merged = {**COMMON, **headers}
        lines = [f"{name}: {value}" for name, value in sorted(merged.items()) if value is not None]
        lines.append(f"Date: {http_date(time.time())}")
        bodiless = self._head_only or status in (204, 304)
        if not bodiless:
            lines.append(
                f"Content-Length: {length}" if length is not None else "Transfer-Encoding: chunked"
            )
        self._remaining = length
        self.started = True
        reason = _REASONS.get(status, "")
        head = f"HTTP/1.1 {status} {reason}\r\n" + "".join(f"{line}\r\n" for line in lines) + "\r\n"
        if self._fault is not None and self._fault.after < 0:
            await self._go_wrong(self._fault)
        await self.connection.write(head.encode("latin-1"))
        if self._fault is not None and self._fault.after == 0:
            await self._go_wrong(self._fault)

    async def write(self, data: bytes) -> None:
        """Send body bytes; one HTTP chunk if the answer is chunked."""
        if not data or self._head_only:
            return
        fault = self._fault
        if fault is not None and self.body_sent + len(data) > fault.after:
            head = data[: fault.after - self.body_sent]
            await self._send(head)
            await self._go_wrong(fault)
            data = data[len(head) :]
        await self._send(data)

    async def _send(self, data: bytes) -> None:
        if not data:
            return
        if self._remaining is None:
            self.body_sent += len(data)
            await self.connection.write(b"%x\r\n%b\r\n" % (len(data), data))
            return
        if len(data) > self._remaining:
            # Go refuses a write beyond Content-Length as a whole: the body ends up short (protocol 4.4).
            self.close_after = True
            return
        self._remaining -= len(data)
        self.body_sent += len(data)
        await self.connection.write(data)

    async def write_framed(self, frames: bytes, size: int) -> None:
        """Send several HTTP chunks at once that are framed already; ``size`` is their bodies' length."""
        if self._fault is not None:
            raise TypeError("a faulty answer must be framed here")
        self.body_sent += size
        await self.connection.write(frames)

    @property
    def may_batch(self) -> bool:
        """Whether ``write_framed`` is allowed."""
        return self._fault is None and self._remaining is None

    async def stray(self, data: bytes = KEEPALIVE) -> None:
        """Write what a leaked keepalive writes: into whatever this answer is at the moment."""
        if not self.started:
            plain = {"Content-Type": "text/plain; charset=utf-8"}
            await self.start(200, {**plain})
        await self._send(data)

    async def end(self) -> None:
        """End the body; a body shorter than its Content-Length closes the connection."""
        if not self.started:
            await self.start(200, {}, length=None if self._head_only else 0)
        if self._head_only:
            return
        if self._remaining is None:
            await self.connection.write(b"0\r\n\r\n")
        elif self._remaining:
            self.close_after = True

    async def whole(self, status: int, body: bytes, headers: dict[str, str | None]) -> None:
        """Answer at once; bodies over about 2 KB are chunked, as Go does without a known length."""
        if not self.started:
            length = len(body) if len(body) <= 2048 else None
            await self.start(status, headers, length=length)
        await self.write(body)
        await self.end()

    async def json(self, status: int, body: bytes) -> None:
        """Answer with JSON; if a stray keepalive came first, the object follows it as plain text."""
        await self.whole(status, body, {"Content-Type": "application/json; charset=utf-8"})

    async def _go_wrong(self, fault: Fault) -> None:
        self._fault = None
        if fault.kind == "stray":
            if fault.after >= 0:
                await self._send(KEEPALIVE)
            return
        if fault.kind == "stall":
            await self.connection.gone.wait()
        elif fault.kind == "reset":
            self.connection.reset()
        else:
            self.connection.close()
        raise Gone
