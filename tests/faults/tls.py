"""Speak TLS before a server that does not, with whatever certificate a test wants, and change it later."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import datetime
from urllib.parse import urlsplit

import trustme


class Authority:
    """An authority of a test's own, and the certificates that it, or nobody, gives."""

    def __init__(self) -> None:
        self._ca = trustme.CA()
        self.pem: bytes = self._ca.cert_pem.bytes()

    def context(self, case: str) -> ssl.SSLContext | None:
        """Return the server's side: good, self-signed, wrong host or expired; None for plain."""
        if case == "plain":
            return None
        authority = trustme.CA() if case == "self-signed" else self._ca
        host = "other.example" if case == "wrong host" else "127.0.0.1"
        past = {"not_before": datetime(2020, 1, 1), "not_after": datetime(2021, 1, 1)}
        certificate = authority.issue_cert(host, **(past if case == "expired" else {}))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        certificate.configure_cert(context)
        return context


class Tunnel:
    """A TLS server that passes all bytes on to a plain one at ``upstream``."""

    def __init__(self, upstream: str) -> None:
        self._upstream = urlsplit(upstream)
        self._port = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"https://127.0.0.1:{self._port}"

    async def change(self, context: ssl.SSLContext | None) -> None:
        """End all connections and listen again, with another certificate or without TLS."""
        await self.close()
        serve = self._refuse if context is None else self._serve
        self._server = await asyncio.start_server(serve, "127.0.0.1", self._port, ssl=context)
        self._port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """End all connections and listen no more."""
        if self._server is not None:
            self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _refuse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the start of TLS as a server that speaks plain HTTP."""
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
        writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        answers, requests = await asyncio.open_connection(
            self._upstream.hostname, self._upstream.port
        )
        try:
            with suppress(OSError, asyncio.CancelledError):
                there = asyncio.create_task(_pass(reader, requests))
                try:
                    await _pass(answers, writer)
                finally:
                    there.cancel()
                    await asyncio.gather(there, return_exceptions=True)
        finally:
            requests.close()
            writer.transport.abort()


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(1 << 16):
        writer.write(data)
        await writer.drain()


@asynccontextmanager
async def tunnel(upstream: str, context: ssl.SSLContext | None) -> AsyncIterator[Tunnel]:
    """Run a tunnel until the block ends."""
    running = Tunnel(upstream)
    await running.change(context)
    try:
        yield running
    finally:
        await running.close()
