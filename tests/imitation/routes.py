"""The process routes: what each call answers, in the real server's words.

It parses requests and words answers; processes and streams are next door.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from typing import Any

from tests.imitation import gojson
from tests.imitation.gojson import dumps
from tests.imitation.http import Context, Gone, Request, Response
from tests.imitation.processes import Process, Refusal
from tests.imitation.streams import Attachment, Form, event, keep_awake
from tests.imitation.table import Table

_STREAM_HEADERS: dict[str, str | None] = {
    "Cache-Control": "no-cache",
    "Connection": "keep-alive",
    "X-Accel-Buffering": "no",
}


def error(message: str) -> bytes:
    """Word an error as the sandbox's own server does: ``error`` is a string."""
    return dumps({"error": message})


async def health(response: Response, started: float) -> None:
    """Answer ``GET /health``."""
    uptime = time.time() - started
    members = {
        "status": "ok", "version": "v0-imitation", "gitCommit": "imitation", "buildTime": "unknown",
        "goVersion": "none", "os": "linux", "arch": "amd64", "uptime": f"{int(uptime)}s",
        "uptimeSeconds": uptime, "upgradeCount": 0, "startedAt": gojson.nano_date(int(started) * 10**9),
        "lastUpgrade": {"status": "idle", "step": "none", "version": ""},
    }  # fmt: skip
    await response.json(200, dumps(members))


async def list_all(response: Response, table: Table) -> None:
    """Answer ``GET /process``."""
    limit = table.habits.tail_limit
    rows = [process.describe(limit, in_list=True) for process in await table.all()]
    await response.json(200, dumps(rows))


async def get_one(response: Response, table: Table, identifier: str) -> None:
    """Answer ``GET /process/{id}``."""
    process = await table.look_up(identifier)
    if process is None:
        await response.json(404, error("process not found"))
    else:
        await response.json(200, dumps(process.describe(table.habits.tail_limit)))


async def logs(response: Response, table: Table, identifier: str) -> None:
    """Answer ``GET /process/{id}/logs``."""
    process = await table.look_up(identifier)
    if process is None:
        await response.json(404, error(f"process with PID {identifier} not found"))
        return
    stdout, stderr = process.tails(table.habits.logs_limit)
    await response.json(200, dumps({"stdout": stdout, "stderr": stderr, "logs": stdout + stderr}))


async def end_one(response: Response, table: Table, identifier: str, *, kill: bool) -> None:
    """Answer both DELETE routes, right after the signal is sent."""
    try:
        await (table.kill(identifier) if kill else table.stop(identifier))
    except Refusal as refusal:
        await response.json(refusal.status, error(refusal.message))
    else:
        verb = "killed" if kill else "stopped"
        await response.json(200, dumps({"message": f"Process {verb} successfully"}))


async def start(request: Request, response: Response, table: Table) -> None:
    """Answer ``POST /process`` in the form that ``Accept`` asks for."""
    try:
        members = gojson.process_request(request.body)
        table.check_name(members.get("name"))
    except gojson.Refused as refused:
        await response.json(400, error(f"invalid request body: {refused}"))
        return
    except Refusal as refusal:
        await response.json(refusal.status, error(refusal.message))
        return
    if "text/event-stream" in request.headers.get("accept", ""):
        await _start_ndjson(request, response, table, members)
    else:
        await _start_plain(response, table, members)


async def _start_plain(response: Response, table: Table, members: dict[str, Any]) -> None:
    waits = bool(members.get("waitForCompletion"))
    try:
        process = await table.start(members)
        await _wait_for_ports(response, members)
        if members.get("waitForPorts"):
            process.ingested = any(process.tails(1))
        if waits:
            await _wait_for_completion(response, process, members)
    except Refusal as refusal:
        await response.json(refusal.status, error(refusal.message))
        return
    habits = table.habits
    limit = habits.logs_limit if waits else habits.tail_limit
    await response.json(200, dumps(process.describe(limit, at_start=not waits)))


async def _wait_for_completion(
    response: Response, process: Process, members: dict[str, Any]
) -> None:
    timeout = _limit(members)
    if not await first(process.finished, response.connection.gone, within=timeout):
        raise Refusal(422, f"process timed out after {timeout} seconds")


async def _wait_for_ports(response: Response, members: dict[str, Any]) -> None:
    ports = set(members.get("waitForPorts") or ())
    timeout = _limit(members)
    deadline = None if timeout is None else time.monotonic() + timeout
    while not ports <= listening_ports():
        if deadline is not None and time.monotonic() >= deadline:
            raise Refusal(422, f"process timed out waiting for ports after {timeout} seconds")
        pause = 0.2 if deadline is None else min(0.2, max(0.0, deadline - time.monotonic()))
        if await first(response.connection.gone, within=pause):
            raise Gone


def _limit(members: dict[str, Any]) -> int | None:
    timeout = members.get("timeout")
    return timeout if timeout is not None and timeout > 0 else None


def listening_ports() -> set[int]:
    """Return the TCP ports that listen on an address other than loopback."""
    ports: set[int] = set()
    for path in ("/proc/net/tcp", "/proc/net/tcp6"):
        try:
            with open(path) as file:
                rows = [row.split() for row in file.readlines()[1:]]
        except FileNotFoundError:
            continue
        for row in rows:
            address, _, port = row[1].partition(":")
            loopback = address in ("0100007F", "00000000000000000000000001000000")
            if row[3] == "0A" and not loopback:
                ports.add(int(port, 16))
    return ports


async def first(*events: asyncio.Event, within: float | None = None) -> bool:
    """Wait until one of the events is set; False when the time is over."""
    if any(event.is_set() for event in events):
        return True
    waiters = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        done, _ = await asyncio.wait(waiters, timeout=within, return_when=asyncio.FIRST_COMPLETED)
    finally:
        await _cancel(waiters)
    return bool(done)


async def _cancel(tasks: Iterable[asyncio.Future[Any]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def text_stream(request: Request, response: Response, table: Table, identifier: str) -> None:
    """Answer ``GET /process/{id}/logs/stream``: 200 before anything is known (3.5)."""
    await response.start(200, {**_STREAM_HEADERS, "Content-Type": "text/plain; charset=utf-8"})
    process = await table.look_up(identifier)
    if process is None:
        await response.write(error(f"process with Identifier {identifier} not found"))
        await response.end()
        return
    attachment = await _attached("text", request.context, response, table, process)
    if not attachment.sent:
        await _write_file(response, process)
    await response.end()


async def _write_file(response: Response, process: Process) -> None:
    if process.combined.exists():
        await response.write(process.combined.read_bytes())


async def _start_ndjson(
    request: Request, response: Response, table: Table, members: dict[str, Any]
) -> None:
    await response.start(200, {**_STREAM_HEADERS, "Content-Type": "application/x-ndjson"})
    try:
        process = await table.start(members)
        await _wait_for_ports(response, members)
    except Refusal as refusal:
        await response.write(event("error", refusal.message))
        await response.end()
        return
    attachment = await _attached("ndjson", request.context, response, table, process)
    if not attachment.sent:
        for stream, data in zip(
            ("stdout", "stderr"), process.tails(table.habits.logs_limit), strict=True
        ):
            for line in filter(None, data.split("\n")):
                await response.write(event(stream, line))
    result = process.describe(table.habits.tail_limit)
    await response.write(event("result", dumps(result).decode()))
    await response.end()


async def _attached(
    form: Form, context: Context, response: Response, table: Table, process: Process
) -> Attachment:
    """Replay, then stay until the run ends.

    Raises:
        Gone: the client hung up, or the stream's time was over and the connection is cut.
    """
    habits = table.habits
    attachment = Attachment(form, response, habits)
    async with process.log_lock:
        size = process.combined.stat().st_size if process.combined.exists() else 0
        process.listeners.append(attachment)
        done = process.done
    ticker = table.spawn_task(keep_awake(form, process, response, context, habits))
    pulse = (
        table.spawn_task(_pulse(response, habits.ndjson_keepalive)) if form == "ndjson" else None
    )
    try:
        await attachment.replay(process.combined, size)
        gone = response.connection.gone
        ended = await first(done, gone, within=habits.cut_after)
        if gone.is_set() or not ended:
            response.connection.close()
            raise Gone
    finally:
        if attachment in process.listeners:
            process.listeners.remove(attachment)
        if pulse is not None:
            pulse.cancel()
        if process.status != "running" or form == "ndjson":
            ticker.cancel()
    return attachment


async def _pulse(response: Response, period: float) -> None:
    while True:
        await asyncio.sleep(period)
        try:
            await response.write(event("keepalive"))
        except Gone:
            return
