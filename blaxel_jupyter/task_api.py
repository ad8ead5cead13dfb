"""Spell the routes of the task API (tasks protocol 2), each as one call.

Finds the service at the first call and replaces a local one that is gone; what the answers mean for a
run is the client's business, HTTP is transport's.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, unquote, urlencode

import anyio

from blaxel_jupyter import credentials
from blaxel_jupyter.errors import (
    BlaxelError,
    NotFoundError,
    ProtocolError,
    StatusError,
    TransportError,
    is_passing,
)
from blaxel_jupyter.retries import retried
from blaxel_jupyter.task import Task, TaskStatus
from blaxel_jupyter.task_log import TaskLog, read_log
from blaxel_jupyter.transport import Auth, HeaderAuth, Http
from blaxel_jupyter.wording import read_json

READ_PATIENCE = 10.0
"""Seconds for which one read is repeated while the service cannot be reached or is busy."""

SILENCE = 600.0
"""Seconds without a byte after which a stream counts as lost: a tool call may take minutes (2.7)."""

HINTS = {
    401: "Check BLACKBOX_API_KEY.",
    402: "Check the credits of the BLACKBOX account.",
    403: "The run is another user's, or the plan has no Agent API: check BLACKBOX_API_KEY.",
    404: "Check the run id: %task list shows the runs there are.",
}

Report = Callable[[str | None], None]


@dataclass(frozen=True, slots=True)
class Service:
    """Where the API is (no final slash) and how to sign requests."""

    url: str
    auth: Auth


class TaskPage(list[Task]):
    """One page of runs; ``has_more`` tells whether another one follows."""

    def __init__(self, tasks: list[Task], *, page: int, limit: int, has_more: bool) -> None:
        super().__init__(tasks)
        self.page = page
        self.limit = limit
        self.has_more = has_more


class TaskApi:
    """The task API of BLACKBOX or of the local service.

    Args:
        target: ``local``, or None for BLACKBOX.
        http: what sends the requests.
    """

    def __init__(self, target: str | None, http: Http) -> None:
        self._target = target
        self._http = http
        self._service: Service | None = None

    @property
    def is_local(self) -> bool:
        """Whether it is the embedded local service's."""
        return self._target == "local"

    @property
    def name(self) -> str:
        """What to call the service."""
        return "local" if self.is_local else "BLACKBOX"

    def open(self) -> None:
        """Keep connections again after ``aclose``."""
        self._http.open()

    async def aclose(self) -> None:
        """Close the running loop's connections."""
        await self._http.aclose()

    async def service(self) -> Service:
        """Find the service, at the first call; the local one is started if need be.

        Raises:
            CredentialsError: there is no BLACKBOX key.
        """
        if self._service is None:
            self._service = await (self._local() if self.is_local else self._blackbox())
        return self._service

    async def _blackbox(self) -> Service:
        found = await anyio.to_thread.run_sync(credentials.blackbox)
        return Service(found.api_url, _bearer(found.api_key))

    async def _local(self) -> Service:
        from blaxel_jupyter import local  # only when it is asked for

        found = await anyio.to_thread.run_sync(local.ensure)
        return Service(f"{found.url}/api/v1", _bearer(found.token))

    # Reads ----------------------------------------------------------------------------------------------

    async def status(
        self,
        run_id: str,
        *,
        patience: float = READ_PATIENCE,
        may_pass: Callable[[BlaxelError], bool] = is_passing,
        report: Report | None = None,
    ) -> TaskStatus:
        """Read how a run stands; ``report`` is told what is wrong while the read is being repeated."""
        path = f"/tasks/{_segment(run_id)}/status"
        answer = await self._read(path, patience, may_pass, report)
        return TaskStatus.parse(answer)

    async def details(self, run_id: str, *, patience: float = READ_PATIENCE) -> dict[str, Any]:
        """Read a run's details, with the messages of its thread."""
        answer = await self._read(f"/tasks/{_segment(run_id)}", patience)
        if not isinstance(answer, dict):
            raise ProtocolError("The service's answer holds no task. Try again in a moment.")
        return answer

    async def log(self, run_id: str, *, deltas: bool = True, raw: bool = False) -> TaskLog:
        """Read a run's log once; one that was cut on the way is not ``whole``.

        Raises:
            TransportError: nothing of it came.
            ProtocolError: what came is no log.
        """
        query = {"includeDeltas": str(deltas).lower()} if not deltas else {}
        query |= {"raw": "true"} if raw else {}
        path = f"/tasks/{_segment(run_id)}/logs" + (f"?{urlencode(query)}" if query else "")
        body, cut = bytearray(), False
        try:
            async with self.stream(path, silence=60.0) as chunks:
                async for chunk in chunks:
                    body += chunk
        except TransportError:
            if not body:
                raise
            cut = True
        return read_log(bytes(body), cut=cut)

    async def page(self, *, page: int, limit: int, status: str | None) -> TaskPage:
        """Read one page of runs, each once (pages shift while runs are created)."""
        query = {"page": page, "limit": limit} | ({"status": status} if status else {})
        answer = await self._read(f"/tasks?{urlencode(query)}", READ_PATIENCE)
        items = answer.get("tasks") if isinstance(answer, dict) else None
        if not isinstance(items, list):
            raise ProtocolError("The service's answer holds no list of tasks. Try again later.")
        tasks = [Task.parse(item) for item in items if isinstance(item, dict)]
        unique = {task.run_id: task for task in reversed(tasks)}
        return TaskPage(
            list(reversed(unique.values())),
            page=page,
            limit=limit,
            has_more=answer.get("hasMore") is True,
        )

    @asynccontextmanager
    async def stream(
        self, path: str, *, silence: float = SILENCE
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """Open a streaming GET."""
        service = await self.service()
        headers = {"Accept": "text/event-stream, application/json"}
        try:
            async with self._http.stream(
                service.url + path, auth=service.auth, headers=headers, silence=silence
            ) as chunks:
                yield chunks
        except (TransportError, StatusError) as error:
            self._forget(error)
            raise _clearer(error, path) from error.__cause__

    def follow(self, run_id: str) -> AbstractAsyncContextManager[AsyncIterator[bytes]]:
        """Open the run's event stream (tasks protocol 2.7)."""
        return self.stream(f"/tasks/{_segment(run_id)}/logs/stream")

    # Writes ---------------------------------------------------------------------------------------------

    async def create(self, path: str, body: object) -> Any:
        """Post; again only where the service was too busy to take it."""
        return await retried(
            lambda: self._ask("POST", path, json=body), patience=READ_PATIENCE, may_pass=_is_busy
        )

    async def cancel(self, run_id: str) -> Any:
        """Cancel a run; to ask twice does no harm."""
        path = f"/tasks/{_segment(run_id)}"
        return await retried(
            lambda: self._ask("PATCH", path, json={"action": "cancel"}), patience=READ_PATIENCE
        )

    async def _ask(self, method: str, path: str, *, json: object = None) -> Any:
        if self.is_local and method == "POST":
            self._service = None  # it has to prove anew that it is no stranger on the same port
        service = await self.service()
        try:
            answer = await self._http.request(
                method, service.url + path, auth=service.auth, json=json
            )
        except (TransportError, StatusError) as error:
            self._forget(error)
            raise _clearer(error, path) from error.__cause__
        return read_json(answer.body)

    async def _read(
        self,
        path: str,
        patience: float,
        may_pass: Callable[[BlaxelError], bool] = is_passing,
        report: Report | None = None,
    ) -> Any:
        async def attempt() -> Any:
            try:
                answer = await self._ask("GET", path)
            except (ProtocolError, TransportError, StatusError):
                if report is not None:
                    report("connection lost; trying again")
                raise
            if report is not None:
                report(None)
            return answer

        return await retried(attempt, patience=patience, may_pass=may_pass)

    def _forget(self, error: TransportError | StatusError) -> None:
        """Look for the service again: a local one that was gone, or a key that was refused."""
        refused = isinstance(error, StatusError) and error.status_code == 401
        if refused or (self.is_local and isinstance(error, TransportError)):
            self._service = None


def _is_busy(error: BlaxelError) -> bool:
    return isinstance(error, StatusError) and error.status_code == 429


def _bearer(key: str) -> Auth:
    return HeaderAuth({"Authorization": f"Bearer {key}"})


def _segment(run_id: str) -> str:
    return quote(run_id, safe="")


def _clearer(error: TransportError | StatusError, path: str) -> TransportError | StatusError:
    """Name the run in an answer that says only that something is not there."""
    if not isinstance(error, NotFoundError) or not path.startswith("/tasks/"):
        return error
    run_id = unquote(path.split("/")[2].partition("?")[0])
    return NotFoundError(
        f"There is no task run {run_id[:80]!r}. %task list shows the runs there are.",
        status_code=404,
        method=error.method,
        url=error.url,
        body=error.body,
    )
