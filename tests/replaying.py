"""Serve one recording over a real socket, so that a client can be tested on the real server's bytes.

Streams are the recorded chunks: whole, byte by byte or cut at random. Raw files grow as the recorded follow
saw them grow, the whole run pressed into ``seconds``. Nothing is run and nothing is generated.

    with replay(load("partial_lines"), chunks=random.Random(7)) as url:
        ...  # follow "partial-a" at url; the truth is load("partial_lines").truth["a"]
"""

from __future__ import annotations

import asyncio
import json
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from itertools import pairwise
from typing import Any, Literal

from tests.imitation.files import parse_range
from tests.imitation.http import COMMON, Connection, Gone, Request, Response
from tests.imitation.routes import first
from tests.recordings import Exchange, Recording

Chunks = Literal["whole", "bytes"] | random.Random
Late = Literal["a_text_live", "a_text_late", "a_text_replay"]
_SINGLE = 4096
_REST = 997


def cut(pieces: list[bytes], chunks: Chunks) -> list[bytes]:
    """Cut a body: as recorded, byte by byte (its first 4096, then 997 at a time), or at random."""
    if chunks == "whole":
        return pieces
    body = b"".join(pieces)
    if isinstance(chunks, random.Random):
        cuts = sorted(chunks.randrange(len(body) + 1) for _ in range(min(len(body), 200)))
        edges = [0, *cuts, len(body)]
    else:
        edges = [*range(min(len(body), _SINGLE)), *range(_SINGLE, len(body), _REST), len(body)]
    return [body[begin:end] for begin, end in pairwise(edges) if begin < end]


@contextmanager
def replay(
    recording: Recording,
    *,
    chunks: Chunks = "whole",
    seconds: float = 0.3,
    raw_files: bool = True,
    watch: bool = True,
    first_stream: Late = "a_text_live",
) -> Iterator[str]:
    """Serve a recording's run ``a`` (and its NDJSON run ``b``) until the block ends; yield the URL.

    Args:
        recording: one with roles ``a_start``, ``a_get`` and ``a_logs``.
        chunks: how bodies are cut.
        seconds: the time that the run takes, from the first request; its recorded time is pressed into it.
        raw_files: False answers 404 on ``/filesystem`` and ``/watch``.
        watch: False answers 404 on ``/watch`` alone.
        first_stream: the role that the first text stream is; later ones are the replay after the exit.
    """
    stage = _Stage(recording, chunks, seconds, first_stream)
    stage.raw_files, stage.watch = raw_files, watch
    ready = threading.Event()
    thread = threading.Thread(target=asyncio.run, args=(stage.serve(ready),), name="replay")
    thread.start()
    ready.wait()
    try:
        yield stage.url
    finally:
        stage.stop()
        thread.join()


class _Stage:
    raw_files = True
    watch = True
    url = ""
    stop: Callable[[], object]

    def __init__(
        self, recording: Recording, chunks: Chunks, seconds: float, first_stream: Late
    ) -> None:
        self._recording = recording
        self._chunks: Chunks = chunks
        self._seconds = seconds
        self._stream_role: str = first_stream
        self._sizes = {stream: _growth(recording, stream) for stream in ("stdout", "stderr")}
        times = [moment for growth in self._sizes.values() for moment, _ in growth]
        lasted = [exchange.t_end for exchange in recording.all("a_text_live")]
        self._duration = max([*times, *lasted, 1.0]) + 1.0
        self._began: float | None = None
        self._over = False

    async def serve(self, ready: threading.Event) -> None:
        """Listen until ``stop``."""
        loop = asyncio.get_running_loop()
        stop = asyncio.Event()
        self.stop = lambda: loop.call_soon_threadsafe(stop.set)
        connections: list[Connection] = []

        def connect() -> Connection:
            connections.append(Connection(self._converse, None))
            return connections[-1]

        listener = await loop.create_server(connect, "127.0.0.1", 0)
        self.url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
        ready.set()
        await stop.wait()
        listener.close()
        for connection in connections:
            connection.reset()
            await connection.lost.wait()
            await asyncio.gather(connection.task, return_exceptions=True)

    async def _converse(self, connection: Connection) -> None:
        with suppress(Gone):
            while request := await connection.next_request():
                if self._began is None:
                    self._began = time.monotonic()
                response = Response(connection, request, None)
                await self._answer(request, response)
                if response.close_after:
                    break
        connection.close()

    # The run's own time, in recorded milliseconds

    def _now(self) -> float:
        if self._over or self._began is None:
            return self._duration
        return (time.monotonic() - self._began) / self._seconds * self._duration

    def _running(self) -> bool:
        return self._now() < self._duration

    def _size(self, stream: str) -> int:
        now = self._now()
        return max((size for moment, size in self._sizes[stream] if moment <= now), default=0)

    # Answers

    async def _answer(self, request: Request, response: Response) -> None:
        parts = request.path.strip("/").split("/")
        match (request.method, *parts):
            case ("POST", "process"):
                ndjson = "text/event-stream" in request.headers.get("accept", "")
                await self._recorded(response, "b_ndjson" if ndjson else "a_start")
            case ("GET", "process", _):
                await response.json(200, self._process())
            case ("GET", "process", _, "logs"):
                await self._recorded(response, "a_logs")
            case ("GET", "process", _, "logs", "stream"):
                role, self._stream_role = self._stream_role, "a_text_replay"
                await self._recorded(response, role)
                self._over = True
            case ("GET", "filesystem", *_) if self.raw_files:
                await self._file(request, response)
            case ("GET", "watch", *_) if self.raw_files and self.watch:
                await self._watch(response)
            case _:
                await response.whole(404, b"404 page not found", {"Content-Type": "text/plain"})

    async def _recorded(self, response: Response, role: str) -> None:
        exchange = self._recording.one(role)
        length = len(exchange.body) if exchange.framing == "length" else None
        await response.start(exchange.status or 200, _headers(exchange), length=length)
        for piece in cut(exchange.pieces, self._chunks):
            await response.write(piece)
        await response.end()

    def _process(self) -> bytes:
        body = self._recording.one("a_get").body
        if not self._running():
            return body
        members: dict[str, Any] = json.loads(body)
        members |= {"status": "running", "completedAt": "", "exitCode": 0}
        return json.dumps(members).encode()

    async def _file(self, request: Request, response: Response) -> None:
        path = request.path
        if "/proc/" in path and self._running():
            await response.json(200, json.dumps({"path": path, "content": "1 (sh) S"}).encode())
            return
        stream = next((stream for stream in self._sizes if path.endswith(f".{stream}.log")), None)
        if stream is None:
            await response.json(404, b'{"error":"stat: no such file or directory"}')
            return
        data = _written(self._recording, stream)[: self._size(stream)]
        await self._raw(response, data, request.headers.get("range"))

    async def _raw(self, response: Response, data: bytes, asked: str | None) -> None:
        headers: dict[str, str | None] = {
            "Content-Type": "text/plain",
            "Content-Disposition": "attachment",
            "Accept-Ranges": "bytes",
        }
        try:
            spans = parse_range(asked, len(data)) if asked else []
        except ValueError as refused:
            headers = {"Cache-Control": None, "Content-Range": f"bytes */{len(data)}"}
            await response.whole(416, f"{refused}\n".encode(), headers)
            return
        begin, end = spans[0] if spans else (0, len(data))
        if spans:
            headers["Content-Range"] = f"bytes {begin}-{end - 1}/{len(data)}"
        await response.start(206 if spans else 200, headers, length=end - begin)
        for piece in cut([data[begin:end]], self._chunks):
            await response.write(piece)
        await response.end()

    async def _watch(self, response: Response) -> None:
        name = self._recording.names.get("a", "a")
        seen: dict[str, int] = {}
        while not await first(response.connection.gone, within=0.005):
            for stream in self._sizes:
                size = self._size(stream)
                if seen.get(stream, 0) == size:
                    continue
                seen[stream] = size
                members = {"op": "WRITE", "name": f"{name}.{stream}.log", "error": None}
                if not response.started:
                    await response.start(200, {"Content-Type": "text/plain; charset=utf-8"})
                for piece in cut([json.dumps(members).encode() + b"\n"], self._chunks):
                    await response.write(piece)


def _headers(exchange: Exchange) -> dict[str, str | None]:
    framing = {"Date", "Content-Length", "Transfer-Encoding"}
    recorded = {name: value for name, value in exchange.headers if name not in framing}
    return {**dict.fromkeys(COMMON), **recorded}


def _written(recording: Recording, stream: str) -> bytes:
    truth = recording.truth["a"]
    return (truth.stdout if stream == "stdout" else truth.stderr) or b""


def _growth(recording: Recording, stream: str) -> list[tuple[float, int]]:
    """Return (time, size) as the recorded follow saw a raw file; all at once where nothing followed."""
    sizes = [
        (exchange.t_request, int(total.rpartition("/")[2]))
        for exchange in recording.all(f"a_follow_{stream}")
        if (total := exchange.header("content-range"))
    ]
    whole = len(_written(recording, stream))
    last = max((moment for moment, _ in sizes), default=0.0)
    return [*sizes, (last, whole)]
