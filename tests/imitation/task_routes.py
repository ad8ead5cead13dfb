"""The imitated task server itself: its routes, keys, faults and event streams.

``tasks.py`` runs it in a thread; ``task_answers.py`` says it, ``task_runs.py`` knows what there is to say.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import uuid
from dataclasses import replace
from random import Random
from typing import Any

from tests.imitation.http import Connection, Gone, Request
from tests.imitation.task_answers import Answer
from tests.imitation.task_habits import Seen, TaskFault, TaskHabits
from tests.imitation.task_runs import Run
from tests.imitation.task_scripts import Event, Script, as_json, scripted

PREFIX = "/api/v1"
_STATUS_WORDS = {"queued": "pending", "running": "in_progress"}


class TaskServer:
    """One imitated server; every method runs on its loop."""

    def __init__(self, habits: TaskHabits, keys: dict[str, str]) -> None:
        self.habits = habits
        self.keys = keys
        self.runs: dict[str, Run] = {}
        self.faults: list[TaskFault] = []
        self.seen: list[Seen] = []
        self.connections: set[Connection] = set()
        self._random = Random(habits.rechunk or 0)
        self._port = 0
        self._accepting: set[asyncio.Future[None]] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}{PREFIX}"

    async def listen(self) -> None:
        """Listen, on the same port each time."""
        self._listener = socket.create_server(("127.0.0.1", self._port), backlog=100)
        self._listener.setblocking(False)
        self._port = self._listener.getsockname()[1]
        asyncio.get_running_loop().add_reader(self._listener, self._accept)

    def _accept(self) -> None:
        # asyncio's own server leaks a connection that it accepts while it is being closed.
        with contextlib.suppress(BlockingIOError, ConnectionError):
            client, _ = self._listener.accept()
            accepting = asyncio.ensure_future(self._connect(client))
            self._accepting.add(accepting)
            accepting.add_done_callback(self._accepting.discard)

    async def _connect(self, client: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        made = lambda: Connection(self._serve, None)  # noqa: E731
        await loop.connect_accepted_socket(made, client)

    async def listen_after(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
        await self.listen()

    async def hang_up(self) -> None:
        """Close the listener and reset every connection."""
        if self._listener.fileno() >= 0:
            asyncio.get_running_loop().remove_reader(self._listener)
            self._listener.close()
        await asyncio.gather(*self._accepting)
        await asyncio.sleep(0)  # whoever has just connected is served now
        ending = list(self.connections)
        for connection in ending:
            connection.reset()
            connection.task.cancel()
        await asyncio.gather(*(connection.task for connection in ending), return_exceptions=True)

    async def close(self) -> None:
        await self.hang_up()
        for run in self.runs.values():
            await run.stop()

    async def add(self, script: Script, *, play: bool) -> None:
        run = self.runs[script.run_id] = Run(script, self.habits)
        if play:
            run.play()
            await asyncio.sleep(0)

    # One connection, one request

    async def _serve(self, connection: Connection) -> None:
        self.connections.add(connection)
        try:
            while request := await connection.next_request():
                if not await self._answer(connection, request):
                    break
        except (Gone, ValueError):
            pass
        finally:
            connection.close()
            await connection.lost.wait()
            self.connections.discard(connection)

    async def _answer(self, connection: Connection, request: Request) -> bool:
        who = self._who(request)
        headers = {
            name: value for name, value in request.headers.items() if name != "authorization"
        }
        path = request.path.removeprefix(PREFIX)
        self.seen.append(Seen(request.method, path, request.query, headers, who))  # type: ignore[arg-type]
        fault = self._fault_for(request)
        answer = Answer(connection, request, fault, self.habits)
        if fault and await answer.goes_wrong(fault):
            return not answer.close_after
        if who in ("unknown", "nobody"):
            await answer.error(401)
        else:
            await self._route(request, answer, path, who)
        return not answer.close_after

    def _who(self, request: Request) -> str:
        scheme, _, key = request.headers.get("authorization", "").partition(" ")
        if not key or scheme != "Bearer":
            return "nobody"
        return next((who for who, known in self.keys.items() if known == key), "unknown")

    def _fault_for(self, request: Request) -> TaskFault | None:
        for position, fault in enumerate(self.faults):
            if not fault.matches(request.method, request.target):
                continue
            if fault.skip:
                self.faults[position] = replace(fault, skip=fault.skip - 1)
                continue
            if fault.times > 1:
                self.faults[position] = replace(fault, times=fault.times - 1)
            else:
                del self.faults[position]
            return fault
        return None

    async def _route(self, request: Request, answer: Answer, path: str, who: str) -> None:
        query = {name: values[-1] for name, values in request.query.items()}
        match (request.method, *path.strip("/").split("/")):
            case ("GET", "tasks"):
                await self._list(answer, query, who)
            case ("POST", "tasks"):
                await self._create(request, answer)
            case ("GET", "agent", ("status" | "stream") as verb) if self.habits.agent:
                await self._agent(answer, verb, query, who)
            case (method, "tasks", run_id, *rest):
                run = self.runs.get(run_id)
                if run is None:
                    await answer.error(404)
                elif run.script.owner != who:
                    await answer.error(403)
                else:
                    await self._route_run(request, answer, run, (method, *rest), query)
            case _:
                await answer.error(404, "Not found")

    async def _route_run(
        self,
        request: Request,
        answer: Answer,
        run: Run,
        route: tuple[str, ...],
        query: dict[str, str],
    ) -> None:
        match route:
            case ("GET", "status"):
                await answer.object(_status(run))
            case ("GET", "logs") if not (self.habits.logs_live or run.over):
                await answer.error(503)
            case ("GET", "logs"):
                await answer.object(_logs(run, query))
            case ("GET", "logs", "stream"):
                await self._stream(answer, run, deltas=query.get("includeDeltas") != "false")
            case ("GET",) if self.habits.details:
                await answer.object(_details(run))
            case ("PATCH",):
                await _patch(request, answer, run)
            case ("POST", "continue"):
                await self._continue(request, answer, run)
            case _:
                await answer.error(404, "Not found")

    # Routes of the whole

    async def _list(self, answer: Answer, query: dict[str, str], who: str) -> None:
        page, limit = int(query.get("page", 1)), int(query.get("limit", 20))
        if page < 1 or not 1 <= limit <= self.habits.page_limit:
            await answer.error(400, "page must be >= 1 and limit within 1-100")
            return
        wanted = query.get("status")
        runs = [run for run in self.runs.values() if run.script.owner == who]
        runs = [run for run in runs if wanted in (None, run.status)]
        rows = [_row(run) for run in runs[(page - 1) * limit : page * limit]]
        more = len(runs) > page * limit
        await answer.object({"tasks": rows, "page": page, "limit": limit, "hasMore": more})

    async def _create(self, request: Request, answer: Answer) -> None:
        body = json.loads(request.body)
        prompt = body.get("prompt") or body.get("message")
        if not prompt:
            await answer.error(400, "prompt is required")
            return
        script = _echo(prompt)
        await self.add(script, play=True)
        created = {"taskId": script.run_id, **_ids(script), "agentCount": 1}
        await answer.object(created, 201)

    async def _continue(self, request: Request, answer: Answer, run: Run) -> None:
        body = json.loads(request.body)
        if not body.get("prompt") or ("model" in body and "agent" not in body):
            await answer.error(400, "prompt is required; model requires agent")
            return
        old = run.script
        script = replace(_echo(body["prompt"]), chat_id=old.chat_id, thread=(*_thread(run),))
        await self.add(script, play=True)
        await answer.object({**_ids(script), "previousRunId": old.run_id})

    async def _agent(self, answer: Answer, verb: str, query: dict[str, str], who: str) -> None:
        run = self.runs.get(query.get("runId", ""))
        if "runId" not in query:
            await answer.error(400, "runId is required")
        elif run is not None and run.script.owner != who:
            await answer.error(403)
        elif verb == "status":
            members = ("runId", "status", "assistantMessageId", "error")
            row: dict[str, Any] = {} if run is None else {**_row(run), "error": _error(run)}
            await answer.object({member: row.get(member) for member in members})
        elif run is None or run.script.ended:
            await answer.error(404)
        else:
            await self._stream(answer, run, agent=True)

    # Event streams

    async def _stream(
        self, answer: Answer, run: Run, *, deltas: bool = True, agent: bool = False
    ) -> None:
        run.play()
        if answer.fault is not None and answer.fault.kind == "cut":
            await self._cut_stream(answer, run)
            return
        told = 0 if self.habits.replay or agent else len(run.events)
        await answer.start_stream()
        if agent:
            await answer.tell([{"type": "resume", "runId": run.script.run_id}])
        elif run.over:
            await answer.tell(_chosen(run.burst(), deltas))
            await answer.finish_stream()
            return
        while True:
            new, told = run.events[told:], len(run.events)
            if new:
                await answer.tell(_chosen(run.recut(new), deltas))
            elif run.said:
                break
            else:
                await self._news(answer, run, told)
        await answer.finish_stream()

    async def _news(self, answer: Answer, run: Run, told: int) -> None:
        """Wait for another event, the end, or the next keep-alive; raise Gone if the client left."""
        async with run.changed:
            if len(run.events) == told and not run.said:
                pause = self.habits.keepalive or 0.1
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(run.changed.wait(), pause)
                    return
        if answer.connection.gone.is_set():
            raise Gone
        if self.habits.keepalive is not None:
            await answer.write(answer.comment("keep-alive"))

    async def _cut_stream(self, answer: Answer, run: Run) -> None:
        before = len(run.events)
        await run.go_on()
        if not any(fault.kind == "cut" for fault in self.faults):
            run.let_go()  # the last of them: the next stream is whole
        new = run.events if self.habits.replay else run.events[before:]
        body = b"".join(answer.encoded(event) for event in run.recut(list(new)))
        way = self._random.choice(["drop", "reset", "close", "close", "drop", "none"])
        if way != "none":
            end = self._random.randint(0, len(body))
            middle = self._random.randint(0, end)
            await answer.start_stream()
            await answer.write(body[:middle])
            await answer.write(body[middle:end])
        if way == "close":
            await answer.end()
        answer.close_after = True
        if way == "reset":
            await asyncio.sleep(0)
            answer.connection.reset()


# What is answered


def _ids(script: Script) -> dict[str, Any]:
    return {
        "runId": script.run_id,
        "assistantMessageId": script.message_id,
        "chatId": script.chat_id,
    }


def _error(run: Run) -> str | None:
    return run.script.error if run.over else None


def _row(run: Run) -> dict[str, Any]:
    times = {"createdAt": run.created, "startedAt": run.started, "completedAt": run.completed}
    ids = _ids(run.script)
    return {"taskId": run.script.run_id, **ids, "status": run.status, "model": None, **times}


def _status(run: Run) -> dict[str, Any]:
    progress = {"queued": 0, "running": 42, "completed": 100}.get(run.status, 0)
    return {
        "runId": run.script.run_id,
        "status": _STATUS_WORDS.get(run.status, run.status),
        "progress": progress,
        "error": _error(run),
        "startedAt": run.started,
        "completedAt": run.completed,
    }


def _logs(run: Run, query: dict[str, str]) -> dict[str, Any]:
    events = _chosen(run.log(), query.get("includeDeltas") != "false")
    members: dict[str, Any] = {
        "runId": run.script.run_id,
        "chatId": run.script.chat_id,
        "status": run.status,
        "source": run.source,
        "eventCount": len(events),
        "events": events,
        "error": _error(run),
    }
    if query.get("raw") == "true":
        members["rawEvents"] = [f"data: {as_json(event)}\n\n" for event in events]
    return members


def _chosen(events: list[Event], deltas: bool) -> list[Event]:
    return events if deltas else [event for event in events if event["type"] != "text-delta"]


def _details(run: Run) -> dict[str, Any]:
    row = _row(run)
    del row["model"]
    return {**row, "error": _error(run), "github": None, "messages": _thread(run), "inMemory": None}


def _thread(run: Run) -> list[dict[str, Any]]:
    script = run.script
    said = [
        ("user", f"user_{script.message_id}", [{"type": "text", "text": script.prompt}]),
        ("assistant", script.message_id, run.parts),
    ]
    own = [
        {"id": name, "role": role, "parts": parts, "createdAt": run.created}
        for role, name, parts in said
    ]
    return [*script.thread, *own]


async def _patch(request: Request, answer: Answer, run: Run) -> None:
    body = json.loads(request.body)
    if body.get("action") == "cancel":
        await run.cancel()
        await answer.object({"success": True, "status": run.status, "message": "Task cancelled"})
    elif body.get("title"):
        run.title = body["title"]
        await answer.object({"success": True, "status": run.status, "message": "Task renamed"})
    else:
        await answer.error(400, "action or title is required")


def _echo(prompt: str) -> Script:
    """Return a run that repeats its prompt, word by word."""
    run_id = str(uuid.uuid4())
    message = f"msg_{run_id[:8]}"
    words = [{"type": "text-delta", "id": message, "delta": word + " "} for word in prompt.split()]
    finish = {"type": "finish", "runId": run_id, "status": "completed"}
    events = [{"type": "text-start", "id": message}, *words, finish]
    return scripted(events, 0.005, run_id=run_id, message_id=message, prompt=prompt)
