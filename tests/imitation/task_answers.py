"""The answers of the imitated task server: JSON objects, error bodies, event streams, and how they go wrong.

It knows the forms of protocol 2 and 3, not the routes; ``task_routes.py`` uses it.
"""

from __future__ import annotations

import asyncio
from typing import Any

from tests.imitation.habits import Fault
from tests.imitation.http import Connection, Request, Response
from tests.imitation.task_habits import TaskFault, TaskHabits
from tests.imitation.task_scripts import Event, as_json

_HTML = b"<!doctype html>\n<html><head><title>Sign in</title></head><body><h1>Welcome</h1></body></html>\n"
_WORDS = {
    400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Task not found",
    429: "Too many requests", 500: "Internal server error", 502: "Bad gateway",
    503: "Service unavailable", 504: "Gateway timeout",
}  # fmt: skip


class Answer(Response):
    """An answer in the manner of this API: JSON objects, error bodies, event streams."""

    def __init__(
        self, connection: Connection, request: Request, fault: TaskFault | None, habits: TaskHabits
    ) -> None:
        body = None
        if fault is not None and fault.kind in ("drop", "reset", "stall"):
            body = Fault(fault.kind, after=fault.after)
        super().__init__(connection, request, body)
        self.fault = fault
        self.habits = habits
        self._told = 0

    async def goes_wrong(self, fault: TaskFault) -> bool:
        """Do what a fault does before the route; True if that was the whole answer."""
        if fault.kind == "delay":
            await asyncio.sleep(fault.seconds)
        elif fault.kind == "html":
            await self.whole(200, _HTML, {"Content-Type": "text/html; charset=utf-8"})
            return True
        elif fault.kind == "status":
            await self.error(fault.status, body=fault.body, retry_after=fault.retry_after)
            return True
        return False

    async def error(
        self,
        status: int,
        words: str | None = None,
        body: bytes | None = None,
        retry_after: str | None = None,
    ) -> None:
        """Answer with an error body of this API, or the one given (a web page if it begins so)."""
        said = words or _WORDS.get(status, "Error")
        error = (
            {"code": status, "message": said, "metadata": {}} if self.habits.error_object else said
        )
        text = as_json({"error": error}).encode() if body is None else body
        kind = "text/html" if text.lstrip().startswith(b"<") else "application/json"
        await self.whole(status, text, {"Content-Type": kind, "Retry-After": retry_after})

    async def object(self, members: dict[str, Any], status: int = 200) -> None:
        """Answer with JSON, spoilt if a fault says so."""
        body = as_json(members).encode()
        kind = self.fault.kind if self.fault else None
        headers: dict[str, str | None] = {"Content-Type": "application/json"}
        half = len(body) // 2
        if kind == "half":
            await self.whole(status, body[:half], headers)
        elif kind == "short":
            await self.start(status, headers, length=len(body))
            await self.write(body[:half])
            self.close_after = True
        elif kind == "trickle" and self.fault is not None:
            await self.start(status, headers, length=len(body))
            for start in range(0, len(body), self.fault.step):
                await self.write(body[start : start + self.fault.step])
                await asyncio.sleep(self.fault.seconds)
        else:
            await self.whole(status, body, headers)

    # Event streams

    async def start_stream(self) -> None:
        await self.start(200, {"Content-Type": "text/event-stream; charset=utf-8"})
        if self.habits.ids:
            await self.write(self._lines("retry: 3000", ""))
        if self.habits.keepalive is not None:
            await self.write(self.comment("connected"))

    async def tell(self, events: list[Event]) -> None:
        """Send events, together if there are many."""
        data = b"".join(self.encoded(event) for event in events)
        size = self.habits.chop or max(len(data), 1)
        for start in range(0, len(data), size):
            await self.write(data[start : start + size])

    async def finish_stream(self) -> None:
        if self.habits.done:
            await self.write(self._lines("data: [DONE]", ""))
        await self.end()

    def encoded(self, event: Event) -> bytes:
        """Return one event's lines, with what the habits put around it."""
        self._told += 1
        lines = [f"id: {self._told}"] if self.habits.ids else []
        if self.habits.two_lines and len(event) > 1:
            first, *rest = event
            lines.append(f"data: {as_json({first: event[first]})[:-1]},")
            lines.append(f"data: {as_json({key: event[key] for key in rest})[1:]}")
        else:
            lines.append(f"data: {as_json(event)}")
        every = self.habits.broken_every
        if every is not None and self._told % every == 0:
            lines += ["", 'data: {"type":"text-delta","id":"x","delta":"cut off mid-']
        return self._lines(*lines, "")

    def comment(self, text: str) -> bytes:
        return self._lines(f": {text}", "")

    def _lines(self, *lines: str) -> bytes:
        end = "\r\n" if self.habits.crlf else "\n"
        return "".join(line + end for line in lines).encode()
