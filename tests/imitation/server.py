"""The imitation itself: routes, recycled contexts, faults, counters, restart of the API.

It listens on loopback, port 0. ``/-/…`` are control routes for tests and are counted nowhere.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import shutil
import tempfile
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

from tests.imitation import files, routes
from tests.imitation.gojson import dumps
from tests.imitation.habits import Fault, Habits
from tests.imitation.http import COMMON, Connection, Context, Gone, Request, Response
from tests.imitation.table import Table
from tests.imitation.watch import watch

_HTML = (
    "<html>\r\n<head><title>{0}</title></head>\r\n"
    "<body>\r\n<center><h1>{0}</h1></center>\r\n</body>\r\n</html>\r\n"
)
_HTML_REASONS = {
    429: "429 Too Many Requests",
    502: "502 Bad Gateway",
    503: "503 Service Temporarily Unavailable",
    504: "504 Gateway Time-out",
}
_KNOWN = (
    ("process",),
    ("process", "*"),
    ("process", "*", "logs"),
    ("process", "*", "logs", "stream"),
)


class Server:
    """One imitated sandbox with its own scratch folders."""

    def __init__(self, habits: Habits) -> None:
        self.habits = habits
        self._scratch = Path(tempfile.mkdtemp(prefix="imitation-"))
        folder, work_dir = self._scratch / "logs", self._scratch / "work"
        work_dir.mkdir()
        folder.mkdir()
        self.places = files.Places(habits.log_dir, folder, work_dir)
        self.table = Table(habits, folder, work_dir)
        self.requests: Counter[str] = Counter()
        self.sent: Counter[str] = Counter()
        self.wire_bytes = 0
        self._faults: list[Fault] = []
        self._contexts: list[Context] = []
        self._connections: set[Connection] = set()
        self._started = time.time()
        self._port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    async def start(self, port: int = 0) -> None:
        """Listen; ``url`` is known afterwards."""
        loop = asyncio.get_running_loop()
        self._listener = await loop.create_server(
            lambda: Connection(self._serve, self.habits.send_buffer), "127.0.0.1", port
        )
        self._port = self._listener.sockets[0].getsockname()[1]
        self._started = time.time()
        if self.habits.cap is not None:
            self.table.spawn_task(self.table.enforce_cap())

    async def close(self) -> None:
        """End every process and connection and remove the scratch folders."""
        self._listener.close()
        await self.table.let_go()
        await self._hang_up(set())
        self.table.end_all()
        shutil.rmtree(self._scratch, ignore_errors=True)

    async def restart(self, down: float, spared: Connection | None = None) -> None:
        """Restart the API: connections break, nothing listens for ``down`` seconds, processes live on."""
        self._listener.close()
        await self.table.let_go()
        await self._hang_up({spared} if spared else set())
        self._contexts.clear()
        await asyncio.sleep(down)
        self.table.adopt()
        await self.start(self._port)

    async def _hang_up(self, spared: set[Connection]) -> None:
        ending = self._connections - spared
        for connection in ending:
            connection.reset()
            connection.task.cancel()
        await asyncio.gather(*(connection.task for connection in ending), return_exceptions=True)
        for connection in ending:
            await connection.lost.wait()

    # One connection, one request

    async def _serve(self, connection: Connection) -> None:
        self._connections.add(connection)
        try:
            while request := await connection.next_request():
                if not await self._answer(connection, request):
                    break
        except (Gone, ValueError):
            pass
        finally:
            connection.close()
            await connection.lost.wait()
            self._connections.discard(connection)

    async def _answer(self, connection: Connection, request: Request) -> bool:
        """Answer one request; False when the connection must be closed."""
        if request.target.startswith("/-/"):
            await self._control(connection, request)
            return True
        label = request.target.partition("?")[0]
        self.requests[f"{request.method} {label}"] += 1
        if self.habits.latency:
            await asyncio.sleep(self.habits.latency)
        request.context = self._contexts.pop() if self._contexts else Context()
        fault = self._fault_for(request)
        response = Response(connection, request, fault if fault and _hits_body(fault) else None)
        request.context.response = response
        before = connection.sent
        try:
            if not (fault and await _answered_wrongly(fault, response)):
                await self._route(request, response)
        finally:
            self.sent[label] += response.body_sent
            self.wire_bytes += connection.sent - before
            request.context.response = None
            self._contexts.append(request.context)
        return not response.close_after

    def _fault_for(self, request: Request) -> Fault | None:
        header = request.headers.get("x-imitation-fault")
        if header is not None:
            return Fault.from_json(header)
        for position, fault in enumerate(self._faults):
            if not fault.matches(request.method, request.target):
                continue
            if fault.skip:
                self._faults[position] = replace(fault, skip=fault.skip - 1)
                continue
            if fault.times > 1:
                self._faults[position] = replace(fault, times=fault.times - 1)
            else:
                del self._faults[position]
            return fault
        return None

    async def _route(self, request: Request, response: Response) -> None:
        method, path = request.method, request.path
        if method == "OPTIONS":
            await response.start(204, {})
        elif method == "HEAD":
            await response.start(200, {})
        elif path.startswith("/filesystem/") and self.habits.raw_files:
            await self._route_file(request, response, path.removeprefix("/filesystem/"))
        elif path.startswith("/watch/filesystem/") and self.habits.raw_files and self.habits.watch:
            wildcard = path.removeprefix("/watch/filesystem/")
            await watch(request, response, self.places, wildcard, self.habits)
        elif path.endswith("/") and _is_route(path[:-1]):
            await _redirect(response, method, path[:-1])
        else:
            await self._route_process(request, response, path.strip("/").split("/"))

    async def _route_file(self, request: Request, response: Response, wildcard: str) -> None:
        if request.method == "GET":
            await files.get(request, response, self.places, wildcard, self.habits)
        elif request.method == "PUT":
            await files.put(request, response, self.places, wildcard)
        else:
            await _not_found(response)

    async def _route_process(self, request: Request, response: Response, parts: list[str]) -> None:
        match (request.method, *parts):
            case ("GET", "health"):
                await routes.health(response, self._started)
            case ("GET", "process"):
                await routes.list_all(response, self.table)
            case ("POST", "process"):
                await routes.start(request, response, self.table)
            case ("GET", "process", identifier):
                await routes.get_one(response, self.table, identifier)
            case ("DELETE", "process", identifier):
                await routes.end_one(response, self.table, identifier, kill=False)
            case ("DELETE", "process", identifier, "kill"):
                await routes.end_one(response, self.table, identifier, kill=True)
            case ("GET", "process", identifier, "logs"):
                await routes.logs(response, self.table, identifier)
            case ("GET", "process", identifier, "logs", "stream"):
                await routes.text_stream(request, response, self.table, identifier)
            case _:
                await _not_found(response)

    # Control

    async def _control(self, connection: Connection, request: Request) -> None:
        response = Response(connection, request, None)
        answer: object = {}
        match request.path.removeprefix("/-/"):
            case "counters":
                answer = {
                    "requests": self.requests,
                    "sent": self.sent,
                    "wire_bytes": self.wire_bytes,
                    "folder": str(self.places.folder),
                    "work_dir": str(self.places.work_dir),
                    "connections": len(self._connections) - 1,
                }
            case "reset":
                self.requests.clear()
                self.sent.clear()
                self.wire_bytes = 0
                self._faults.clear()
            case "faults":
                self._faults.append(Fault.from_json(request.body))
            case "restart":
                await self.restart(json.loads(request.body), connection)
        await response.json(200, dumps(answer))


def _hits_body(fault: Fault) -> bool:
    return fault.kind in ("drop", "reset", "stall") or (fault.kind == "stray" and fault.after >= 0)


async def _answered_wrongly(fault: Fault, response: Response) -> bool:
    """Do what a fault does before the handler; True if that was the whole answer."""
    if fault.kind == "delay":
        await asyncio.sleep(fault.seconds)
    elif fault.kind == "stray" and fault.after < 0:
        await response.stray()
    elif fault.kind == "status":
        body = _HTML.format(_HTML_REASONS.get(fault.status, str(fault.status))).encode()
        await response.whole(
            fault.status, body, {"Content-Type": "text/html", "Retry-After": fault.retry_after}
        )
        return True
    elif fault.kind == "unavailable":
        await _unavailable(response)
        return True
    return False


async def _unavailable(response: Response) -> None:
    members = {
        "code": "WORKLOAD_UNAVAILABLE", "message": "The workload is not available yet", "origin": "platform",
        "retryable": True, "status": 404, "action": "retry", "do_not": "", "docs_url": "",
        "timestamp": "2026-08-20T10:00:00Z",
    }  # fmt: skip
    headers: dict[str, str | None] = {
        "Content-Type": "application/json",
        "X-Blaxel-Source": "platform",
        "X-Blaxel-Error-Code": "WORKLOAD_UNAVAILABLE",
    }
    await response.whole(404, dumps({"error": members}), headers)


async def _not_found(response: Response) -> None:
    await response.whole(404, b"404 page not found", {"Content-Type": "text/plain"})


def _is_route(path: str) -> bool:
    parts = path.strip("/").split("/")
    return parts == ["health"] or any(
        len(parts) == len(route)
        and all(want in ("*", part) for want, part in zip(route, parts, strict=True))
        for route in _KNOWN
    )


async def _redirect(response: Response, method: str, path: str) -> None:
    where = quote(path)
    if method == "GET":
        body = f'<a href="{where}">Moved Permanently</a>.\n\n'.encode()
        headers: dict[str, str | None] = dict.fromkeys(COMMON)
        headers |= {"Content-Type": "text/html; charset=utf-8", "Location": where}
        await response.whole(301, body, headers)
    else:
        await response.whole(307, b"", {**dict.fromkeys(COMMON), "Location": where})


async def serve(habits: Habits, port: int, ready: asyncio.Future[str], stop: asyncio.Event) -> None:
    """Run one imitation until ``stop`` is set; ``ready`` gets its URL."""
    server = Server(habits)
    await server.start(port)
    ready.set_result(server.url)
    try:
        await stop.wait()
    finally:
        with contextlib.suppress(asyncio.CancelledError):
            await server.close()
