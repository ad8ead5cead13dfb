"""Answer the process routes of the sandbox API (protocol 3): requests in, JSON and streams out."""

from __future__ import annotations

import asyncio
import json
import os
import re
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from blaxel_jupyter.local import streams
from blaxel_jupyter.local.answers import STREAM, Stream, answer, error, read_json
from blaxel_jupyter.local.processes import KEEPALIVE_TIMEOUT, LocalProcess, Processes
from blaxel_jupyter.local.refusals import (
    NameTakenError,
    NotRunningError,
    StartError,
    UnknownProcessError,
)
from blaxel_jupyter.process import TRUNCATED, encode_event
from blaxel_jupyter.wire import decode_like_go

TAIL = 64 * 1024
"""Bytes of each stream in the answer about one process (protocol 3.3)."""
WHOLE = 4 * 1024 * 1024
"""Bytes of each stream in ``/logs`` and in the answer to a waiting POST (protocol 3.5)."""
PORT_INTERVAL = 0.05
"""Seconds between looks at ports that a request waits for."""


@dataclass(frozen=True, slots=True)
class Exec:
    """What a ``POST /process`` asks for (protocol 3.2)."""

    command: str
    name: str = ""
    working_dir: str = ""
    env: dict[str, str] = field(default_factory=dict)
    wait: bool = False
    timeout: int | None = None
    ports: tuple[int, ...] = ()
    restart_on_failure: bool = False
    max_restarts: int = 0
    keep_alive: bool = False

    @classmethod
    def parse(cls, body: dict[str, Any]) -> Exec:
        """Read the JSON body; unknown members are ignored.

        Raises:
            ValueError: a member has the wrong type, or the command is missing.
        """
        command = _member(body, "command", str, "")
        if not command:
            raise ValueError(
                "Key: 'ProcessRequest.Command' Error:Field validation for 'Command' failed "
                "on the 'required' tag"
            )
        env = _member(body, "env", dict, {})
        ports = _member(body, "waitForPorts", list, [])
        if not all(isinstance(value, str) for value in env.values()):
            raise ValueError("json: cannot unmarshal a value of ProcessRequest.env into string")
        if not all(isinstance(port, int) and 0 < port < 65536 for port in ports):
            raise ValueError(
                "json: cannot unmarshal a value of ProcessRequest.waitForPorts into port"
            )
        return cls(
            command=_text(command),
            name=_text(_member(body, "name", str, "")),
            working_dir=_text(_member(body, "workingDir", str, "")),
            env={_text(key): _text(value) for key, value in env.items()},
            wait=_member(body, "waitForCompletion", bool, False),
            timeout=_member(body, "timeout", int, None),
            ports=tuple(ports),
            restart_on_failure=_member(body, "restartOnFailure", bool, False),
            max_restarts=_member(body, "maxRestarts", int, 0),
            keep_alive=_member(body, "keepAlive", bool, False),
        )

    @property
    def patience(self) -> float | None:
        """Seconds that the request waits; None for ever."""
        if self.keep_alive and (self.timeout is None or self.timeout < 0):
            return float(KEEPALIVE_TIMEOUT)
        return float(self.timeout) if self.timeout is not None and self.timeout > 0 else None


def _member(body: dict[str, Any], name: str, kind: type, default: Any) -> Any:
    value = body.get(name)
    if value is None:
        return default
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise ValueError(
            f"json: cannot unmarshal {type(value).__name__} into Go struct field "
            f"ProcessRequest.{name} of type {kind.__name__}"
        )
    return value


def _text(text: str) -> str:
    """Replace lone surrogates, which JSON may escape and no file name or argument can hold."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def describe(process: LocalProcess, limit: int = TAIL) -> dict[str, Any]:
    """Build the ProcessResponse object (protocol 3.3) with at most ``limit`` bytes of each stream."""
    facts = process.facts
    stdout, stderr = _output(process, "stdout", limit), _output(process, "stderr", limit)
    return {
        "pid": str(facts.pid),
        "name": facts.name,
        "command": facts.command,
        "status": facts.status,
        "startedAt": _date(facts.started),
        "completedAt": _date(facts.ended),
        "exitCode": facts.exit_code,
        "workingDir": facts.working_dir,
        "logs": stdout + stderr,
        "stdout": stdout,
        "stderr": stderr,
        "restartOnFailure": facts.restart_on_failure,
        "maxRestarts": facts.max_restarts,
        "restartCount": facts.restart_count,
        "keepAlive": facts.keep_alive,
    }


def _output(process: LocalProcess, stream: Any, limit: int) -> str:
    data, cut = process.log.tail(stream, limit)
    if cut:
        start = next((i for i, byte in enumerate(data[:4]) if byte & 0xC0 != 0x80), 0)
        data = TRUNCATED + data[start:]
    return decode_like_go(data)


def _date(seconds: float | None) -> str:
    if seconds is None:
        return ""
    return time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(seconds))


def processes_of(request: Request) -> Processes:
    """Return the processes of the sandbox that the URL names (the guard has checked that it exists)."""
    table: Processes = request.state.processes
    return table


async def list_processes(request: Request) -> Response:
    """``GET /process``."""
    found = [describe(process) for process in processes_of(request)]
    for each in found:
        each["completedAt"] = each["completedAt"] or None
    return answer(found)


async def start_process(request: Request) -> Response:
    """``POST /process``: JSON, or NDJSON where ``Accept`` says ``text/event-stream``."""
    table = processes_of(request)
    try:
        asked = Exec.parse(await read_json(request))
        asked_dir = _expand(asked.working_dir, str(table.work))
    except ValueError as problem:
        return error(400, f"invalid request body: {problem}")
    streaming = "text/event-stream" in request.headers.get("accept", "")
    try:
        process = table.start(
            asked.command,
            name=asked.name or None,
            working_dir=asked_dir,
            env=asked.env,
            timeout=asked.timeout,
            restart_on_failure=asked.restart_on_failure,
            max_restarts=asked.max_restarts,
            keep_alive=asked.keep_alive,
        )
    except NameTakenError as problem:
        return error(400, str(problem))
    except StartError as problem:
        if streaming:
            return _events(_one(encode_event("error", str(problem))))
        return error(422, str(problem))
    if streaming:
        return _events(_exec_stream(process, asked))
    try:
        await _wait(process, asked)
    except TimeoutError as problem:
        return error(422, str(problem))
    facts = describe(process, WHOLE if asked.wait else TAIL)
    if not asked.wait and not facts["logs"]:
        facts["logs"] = None
    return answer(facts)


def _expand(folder: str, home: str) -> str:
    """Expand ``~`` and collapse ``//`` (protocol 3.2)."""
    if folder.startswith("~"):
        folder = home + folder[1:]
    return re.sub("/+", "/", folder)


async def _wait(process: LocalProcess, asked: Exec) -> None:
    """Wait for ports, then for the end, as far as asked; a TimeoutError carries the API's text."""
    seconds = asked.patience
    if asked.ports:
        try:
            async with asyncio.timeout(seconds):
                while not all(map(_listening, asked.ports)):  # noqa: ASYNC110 - no event to wait for
                    await asyncio.sleep(PORT_INTERVAL)
        except TimeoutError:
            raise TimeoutError(
                f"process timed out waiting for ports after {seconds:.0f} seconds"
            ) from None
    if asked.wait:
        try:
            async with asyncio.timeout(seconds):
                await process.final.wait()
            if process.overdue:
                raise TimeoutError  # killed at the same moment
        except TimeoutError:
            raise TimeoutError(f"process timed out after {seconds:.0f} seconds") from None


def _listening(port: int) -> bool:
    """Whether something listens on this port, on whatever address: all is loopback here.

    Linux tells without a connection, which a server made for one client would take for its client.
    """
    tables = [table for table in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")) if table.exists()]
    for table in tables:
        for line in table.read_text().splitlines()[1:]:
            _, local, _, state, *_ = line.split()
            if state == "0A" and int(local.rpartition(":")[2], 16) == port:
                return True
    if not tables:
        with socket.socket() as probe:
            probe.settimeout(0.2)
            return probe.connect_ex(("127.0.0.1", port)) == 0
    return False


async def _exec_stream(process: LocalProcess, asked: Exec) -> AsyncIterator[bytes]:
    if asked.ports:
        waiting = asyncio.ensure_future(_wait(process, replace(asked, wait=False)))
        try:
            while not (await asyncio.wait((waiting,), timeout=streams.NDJSON_KEEPALIVE))[0]:
                yield encode_event("keepalive")
            waiting.result()
        except TimeoutError as problem:
            yield encode_event("error", str(problem))
            return
        finally:
            waiting.cancel()
    async for block in streams.events(process, lambda: _result(process)):
        yield block


def _result(process: LocalProcess) -> str:
    return json.dumps(describe(process), ensure_ascii=False, separators=(",", ":"))


async def _one(block: bytes) -> AsyncIterator[bytes]:
    yield block


def _events(blocks: AsyncIterator[bytes]) -> Response:
    return Stream(blocks, "application/x-ndjson", STREAM)


def _identifier(request: Request) -> str:
    name: str = request.path_params["identifier"]
    return name


async def get_process(request: Request) -> Response:
    """``GET /process/{identifier}``."""
    try:
        return answer(describe(processes_of(request).find(_identifier(request))))
    except UnknownProcessError:
        return error(404, "process not found")


async def get_logs(request: Request) -> Response:
    """``GET /process/{identifier}/logs``: up to 4 MiB of each stream."""
    name = _identifier(request)
    try:
        process = processes_of(request).find(name)
    except UnknownProcessError:
        return error(404, f"process with PID {name} not found")
    stdout, stderr = _output(process, "stdout", WHOLE), _output(process, "stderr", WHOLE)
    return answer({"stdout": stdout, "stderr": stderr, "logs": stdout + stderr})


async def stream_logs(request: Request) -> Response:
    """``GET /process/{identifier}/logs/stream``: replay, then live, until the process is final.

    An unknown process is answered with status 200 and an error object, as the real one does.
    """
    name = _identifier(request)
    try:
        blocks = streams.text(processes_of(request).find(name))
    except UnknownProcessError:
        text = f'{{"error":"process with Identifier {name} not found"}}'
        blocks = _one(text.encode())
    return Stream(blocks, "text/plain; charset=utf-8", STREAM)


async def stop_process(request: Request) -> Response:
    """``DELETE /process/{identifier}``: SIGTERM to the process group."""
    return _signal(request, "stop", "Process stopped successfully")


async def kill_process(request: Request) -> Response:
    """``DELETE /process/{identifier}/kill``: SIGKILL to the process group."""
    return _signal(request, "kill", "Process killed successfully")


def _signal(request: Request, verb: str, done: str) -> Response:
    name, table = _identifier(request), processes_of(request)
    try:
        process = table.find(name)
        if verb == "stop":
            table.stop(process)
        else:
            table.kill(process)
    except UnknownProcessError:
        return error(404, f"process with Identifier {name} not found")
    except NotRunningError:
        if verb == "stop":
            return error(404, f"process with Identifier {name} is not running")
        return error(404, f"failed to kill process with Identifier {name}: no such process")
    return answer({"message": done})


async def head(request: Request) -> Response:
    """``HEAD``: always 200, so useless as an existence test (protocol 3)."""
    response = Response()
    del response.headers["content-length"]
    return response


Endpoint = Callable[[Request], Awaitable[Response]]


def process_routes(prefix: str) -> list[Route]:
    """Return the routes of this module under a URL prefix."""
    one = prefix + "/process/{identifier}"
    table: list[tuple[str, str, Endpoint]] = [
        ("GET", prefix + "/process", list_processes),
        ("POST", prefix + "/process", start_process),
        ("GET", one, get_process),
        ("DELETE", one, stop_process),
        ("DELETE", one + "/kill", kill_process),
        ("GET", one + "/logs", get_logs),
        ("GET", one + "/logs/stream", stream_logs),
    ]
    heads = [Route(path, head, methods=["HEAD"]) for verb, path, _ in table if verb == "GET"]
    return heads + [Route(path, endpoint, methods=[verb]) for verb, path, endpoint in table]


def health_facts(version: str, started: float) -> dict[str, Any]:
    """Return what ``GET /health`` says; ``pid`` is the service's."""
    up = max(0.0, time.time() - started)
    system = os.uname()
    return {
        "status": "ok",
        "version": version,
        "gitCommit": "",
        "buildTime": "",
        "os": system.sysname.lower(),
        "arch": system.machine,
        "uptime": f"{up:.0f}s",
        "uptimeSeconds": up,
        "upgradeCount": 0,
        "startedAt": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(started)),
        "pid": os.getpid(),
    }
