"""Answer the task routes of BLACKBOX's agent API v1 (protocol 2 of the tasks): JSON and event streams.

Fields, status words and codes are the protocol's; where it is silent, each route's docstring says what
this service does. It runs nothing itself.
"""

from __future__ import annotations

import functools
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from blaxel_jupyter.local.answers import NO_CACHE, STREAM, Stream, answer, error, read_json
from blaxel_jupyter.local.live_run import Encoded
from blaxel_jupyter.local.task_asked import BadRequestError, asked_of, member
from blaxel_jupyter.local.task_store import STATUSES, Run, StoreError, iso
from blaxel_jupyter.local.tasks import Tasks

SCALE = 600.0
"""Seconds that ``progress`` takes for a whole run: it is elapsed time and nothing else."""
MOST_PAGES = 1_000_000_000

_POLLED = {"queued": "pending", "running": "in_progress"}
"""Status words that are others in ``/status`` (protocol 2.5)."""

Endpoint = Callable[["TaskRoutes", Request], Awaitable[Response]]


class RefusedError(Exception):
    """A run that is not there, or another user's: status code and text."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


def _told(endpoint: Endpoint) -> Endpoint:
    """Answer what goes wrong as the API does: ``{"error": text}`` with its code."""

    @functools.wraps(endpoint)
    async def told(self: TaskRoutes, request: Request) -> Response:
        try:
            return await endpoint(self, request)
        except RefusedError as problem:
            return error(problem.status, str(problem))
        except BadRequestError as problem:
            return error(400, str(problem))
        except StoreError as problem:
            return error(500, str(problem))

    return told


class TaskRoutes:
    """The routes of one service's tasks; the guard has left the user's name in the request."""

    def __init__(self, tasks: Tasks) -> None:
        self._tasks = tasks

    @_told
    async def create(self, request: Request) -> Response:
        """``POST /tasks``."""
        asked, skipped = await asked_of(await _body(request))
        run = self._tasks.create(_user(request), asked)
        ids = {"taskId": run.run_id, "runId": run.run_id, "assistantMessageId": run.message_id}
        more = {"skippedLines": skipped} if skipped else {}
        return answer(ids | {"chatId": run.chat_id, "agentCount": 1} | more)

    @_told
    async def page(self, request: Request) -> Response:
        """``GET /tasks``: newest first; a page that is not there is empty."""
        page = _number(request, "page", 1, MOST_PAGES)
        limit = _number(request, "limit", 20, 100)
        status = request.query_params.get("status")
        if status is not None and status not in STATUSES:
            raise BadRequestError(f"status must be one of {', '.join(STATUSES)}")
        runs = self._tasks.page(_user(request), status, (page - 1) * limit, limit + 1)
        facts = {"tasks": [_listed(run) for run in runs[:limit]], "page": page, "limit": limit}
        return answer(facts | {"hasMore": len(runs) > limit})

    @_told
    async def details(self, request: Request) -> Response:
        """``GET /tasks/{runId}``; ``title`` is the chat's, null if it was given none."""
        run = self._run(request)
        messages = [
            {"id": each.id, "role": each.role, "parts": each.parts, "createdAt": iso(each.created)}
            for each in self._tasks.thread(run.chat_id)
        ]
        facts = _listed(run) | {"error": run.error, "github": run.github, "messages": messages}
        more = {"title": self._tasks.title(run.chat_id), "inMemory": self._tasks.memory(run.run_id)}
        return answer(facts | {"agent": run.agent} | more)

    @_told
    async def status(self, request: Request) -> Response:
        """``GET /tasks/{runId}/status``: in words of its own (protocol 2.5)."""
        run = self._run(request)
        return answer(
            {
                "runId": run.run_id,
                "status": _POLLED.get(run.status, run.status),
                "progress": _progress(run),
                "error": run.error,
                "startedAt": iso(run.started),
                "completedAt": iso(run.completed),
            }
        )

    @_told
    async def logs(self, request: Request) -> Response:
        """``GET /tasks/{runId}/logs``; ``rawEvents`` are the same events, also filtered."""
        run = self._run(request)
        deltas = _flag(request, "includeDeltas", True)
        raw = _flag(request, "raw", False)
        source, events = await self._tasks.log(run)
        shown = [event.data for event in events if deltas or not event.delta]
        head: dict[str, Any] = {"runId": run.run_id, "chatId": run.chat_id, "status": run.status}
        head |= {"source": source, "eventCount": len(shown)}
        tail: dict[str, Any] = {"error": run.error}
        if raw:
            tail["rawEvents"] = [f"data: {data.decode()}" for data in shown]
        start, end = (json.dumps(each, separators=(",", ":")).encode() for each in (head, tail))
        body = start[:-1] + b',"events":[' + b",".join(shown) + b"]," + end[1:]
        return Response(body, 200, NO_CACHE, "application/json; charset=utf-8")

    @_told
    async def stream(self, request: Request) -> Response:
        """``GET /tasks/{runId}/logs/stream``: from the first event, also of a run that goes on."""
        run = self._run(request)
        return self._events(run, _flag(request, "includeDeltas", True))

    def _events(self, run: Run, deltas: bool, *first: dict[str, Any]) -> Response:
        async def blocks() -> AsyncIterator[bytes]:
            if first:
                yield b"".join(_framed(json.dumps(each).encode()) for each in first)
            async for events in self._tasks.stream(run):
                yield _block(events, deltas) if events else b": keep-alive\n\n"

        return Stream(blocks(), "text/event-stream", STREAM)

    @_told
    async def go_on(self, request: Request) -> Response:
        """``POST /tasks/{runId}/continue``; 400 while any run of the chat is queued or running."""
        former = self._run(request)
        asked, _ = await asked_of(await _body(request), former)
        if self._tasks.active_on(former.chat_id):
            raise BadRequestError(
                "a run of this chat is still active: wait for its end, or cancel it"
            )
        run = self._tasks.create(former.user, asked, former.chat_id)
        ids = {"runId": run.run_id, "assistantMessageId": run.message_id, "chatId": run.chat_id}
        return answer(ids | {"previousRunId": former.run_id})

    @_told
    async def patch(self, request: Request) -> Response:
        """``PATCH /tasks/{runId}``: cancel, else rename; an ended run keeps its status.

        A cancel is answered when the run has ended.
        """
        run = self._run(request)
        body = await _body(request)
        action, title = member(body, "action", str), member(body, "title", str)
        if action is None and title is None:
            raise BadRequestError("give action 'cancel', or a title")
        if action not in (None, "cancel"):
            raise BadRequestError("action must be 'cancel'")
        if title is not None and not 1 <= len(title) <= 200:
            raise BadRequestError("title must have 1 to 200 characters")
        if action is None:
            self._tasks.rename(run.chat_id, str(title))
            message = "Task renamed"
        elif run.active:
            await self._tasks.stop(run.run_id)
            message = "Task cancelled" if run.status == "cancelled" else f"Task is {run.status}"
        else:
            message = f"Task is already {run.status}"
        return answer({"success": True, "status": run.status, "message": message})

    @_told
    async def agent_status(self, request: Request) -> Response:
        """``GET /agent/status?runId=``: nulls for an unknown run."""
        run = self._tasks.find(_asked_run(request))
        if run is None:
            names = ("runId", "status", "assistantMessageId", "error")
            return answer(dict.fromkeys(names))
        _own(run, request)
        facts = {"runId": run.run_id, "status": run.status}
        return answer(facts | {"assistantMessageId": run.message_id, "error": run.error})

    @_told
    async def agent_stream(self, request: Request) -> Response:
        """``GET /agent/stream?runId=``: ``resume``, then as ``/logs/stream``, of ended runs too."""
        run = self._found(_asked_run(request), request)
        return self._events(run, True, {"type": "resume", "runId": run.run_id})

    def _run(self, request: Request) -> Run:
        return self._found(request.path_params["run"], request)

    def _found(self, run_id: str, request: Request) -> Run:
        run = self._tasks.find(run_id)
        if run is None:
            raise RefusedError(404, "Task not found")
        return _own(run, request)

    def routes(self, prefix: str) -> list[Route]:
        """Return the routes under a URL prefix."""
        one = prefix + "/tasks/{run}"
        return [
            Route(prefix + "/tasks", self.create, methods=["POST"]),
            Route(prefix + "/tasks", self.page, methods=["GET"]),
            Route(one, self.details, methods=["GET"]),
            Route(one, self.patch, methods=["PATCH"]),
            Route(one + "/status", self.status, methods=["GET"]),
            Route(one + "/logs", self.logs, methods=["GET"]),
            Route(one + "/logs/stream", self.stream, methods=["GET"]),
            Route(one + "/continue", self.go_on, methods=["POST"]),
            Route(prefix + "/agent/status", self.agent_status, methods=["GET"]),
            Route(prefix + "/agent/stream", self.agent_stream, methods=["GET"]),
        ]


def _user(request: Request) -> str:
    name: str = request.state.user
    return name


def _own(run: Run, request: Request) -> Run:
    if run.user != _user(request):
        raise RefusedError(403, "This task belongs to another user")
    return run


def _asked_run(request: Request) -> str:
    run_id = request.query_params.get("runId")
    if not run_id:
        raise BadRequestError("the parameter runId is missing")
    return run_id


async def _body(request: Request) -> dict[str, Any]:
    try:
        return await read_json(request)
    except ValueError as problem:
        raise BadRequestError(f"invalid request body: {problem}") from problem


def _number(request: Request, name: str, default: int, most: int) -> int:
    text = request.query_params.get(name)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 12 and 1 <= int(text) <= most):
        raise BadRequestError(f"{name} must be a whole number from 1 to {most}")
    return int(text)


def _flag(request: Request, name: str, default: bool) -> bool:
    text = request.query_params.get(name)
    if text not in (None, "true", "false"):
        raise BadRequestError(f"{name} must be true or false")
    return default if text is None else text == "true"


def _listed(run: Run) -> dict[str, Any]:
    return {
        "taskId": run.run_id,
        "runId": run.run_id,
        "chatId": run.chat_id,
        "status": run.status,
        "model": run.model,
        "createdAt": iso(run.created),
        "startedAt": iso(run.started),
        "completedAt": iso(run.completed),
        "assistantMessageId": run.message_id,
    }


def _progress(run: Run) -> int:
    if run.status == "completed":
        return 100
    if run.status != "running" or run.started is None:
        return 0
    return min(99, max(0, int((time.time() - run.started / 1000) / SCALE * 100)))


def _framed(data: bytes) -> bytes:
    return b"data: " + data + b"\n\n"


def _block(events: list[Encoded], deltas: bool) -> bytes:
    return b"".join(_framed(event.data) for event in events if deltas or not event.delta)
