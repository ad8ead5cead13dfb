"""Serve both APIs on loopback: guard every request, control sandboxes, exit when idle.

Commands run as the user, without isolation; so nothing is answered without the token, to a browser
page, or under another host name.
"""

from __future__ import annotations

import base64
import hmac
import time
from collections.abc import Iterable

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from blaxel_jupyter import __version__
from blaxel_jupyter.local.answers import (
    answer,
    control_error,
    error,
    gateway_error,
    read_json,
    sandbox_error,
)
from blaxel_jupyter.local.files import file_routes
from blaxel_jupyter.local.routes import health_facts, process_routes
from blaxel_jupyter.local.sandboxes import DEFAULT, Record, Sandboxes
from blaxel_jupyter.local.task_routes import TaskRoutes
from blaxel_jupyter.local.tasks import Tasks

SANDBOX = "/sandboxes/{sandbox}"
TASKS = "/api/v1"


class Guard:
    """Refuse what is not the owner's own program; count requests; find the sandbox that the URL names.

    The task API knows two users, each with a key; the second one's opens nothing else.
    """

    def __init__(
        self,
        app: ASGIApp,
        token: str,
        other_token: str,
        hosts: Iterable[str],
        sandboxes: Sandboxes,
    ) -> None:
        self._app = app
        self._token = f"Bearer {token}".encode()
        self._users = {self._token: "owner", f"Bearer {other_token}".encode(): "other"}
        self._hosts = {host.encode() for host in hosts}
        self._sandboxes = sandboxes
        self.open = 0
        self.last = time.monotonic()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] != "http":
            return
        self.open += 1
        try:
            app = self._refusal(scope) or self._sandbox(scope) or self._app
            await app(scope, receive, send)
        finally:
            self.open -= 1
            self.last = time.monotonic()

    def _refusal(self, scope: Scope) -> Response | None:
        headers = dict(scope["headers"])
        if scope["path"].startswith(TASKS + "/"):
            return self._task_refusal(scope, headers)
        if b"origin" in headers:
            return gateway_error(
                403, "FORBIDDEN", "requests of web pages are refused", "call it from a program"
            )
        if headers.get(b"host", b"") not in self._hosts:
            return gateway_error(
                403,
                "FORBIDDEN",
                "the Host header is not this service's",
                "use the URL of the runtime file",
            )
        given = [headers.get(b"authorization", b""), headers.get(b"x-blaxel-authorization", b"")]
        if not any([hmac.compare_digest(each, self._token) for each in given]):  # noqa: C419 - both
            return gateway_error(
                401,
                "AUTHENTICATION_REQUIRED",
                "the token is missing or wrong",
                "send 'Authorization: Bearer' with the token of the runtime file",
            )
        return None

    def _task_refusal(self, scope: Scope, headers: dict[bytes, bytes]) -> Response | None:
        """Leave the user's name in the scope; refuse in the task API's own error shape."""
        if b"origin" in headers:
            return error(403, "Requests of web pages are refused: call it from a program")
        if headers.get(b"host", b"") not in self._hosts:
            return error(403, "The Host header is not this service's")
        given = headers.get(b"authorization", b"")
        users = [name for key, name in self._users.items() if hmac.compare_digest(given, key)]
        if not users:
            return error(401, "Unauthorized")
        scope.setdefault("state", {})["user"] = users[0]
        return None

    def _sandbox(self, scope: Scope) -> Response | None:
        """Leave the sandbox's processes in the scope; refuse a sandbox that does not exist."""
        _, first, name, *_ = (scope["path"] + "///").split("/", 3)
        if first != "sandboxes" or not name:
            return None
        try:
            scope.setdefault("state", {})["processes"] = self._sandboxes.processes(name)
        except KeyError:
            return gateway_error(
                404, "WORKLOAD_NOT_FOUND", f"sandbox '{name}' not found", "create the sandbox first"
            )
        return None


class Control:
    """The control plane's routes (protocol 2) over the sandboxes of one state folder."""

    def __init__(self, sandboxes: Sandboxes, url: str) -> None:
        self._sandboxes = sandboxes
        self._url = url

    def _shown(self, record: Record) -> Record:
        metadata = record["metadata"]
        return record | {
            "metadata": metadata | {"url": f"{self._url}/sandboxes/{metadata['name']}"}
        }

    async def get(self, request: Request) -> Response:
        """``GET /v0/sandboxes/{name}``."""
        name = request.path_params["name"]
        try:
            return answer(self._shown(self._sandboxes.get(name)))
        except KeyError:
            return _no_sandbox(name)

    async def page(self, request: Request) -> Response:
        """``GET /v0/sandboxes``: a page, or all as a bare array without ``Blaxel-Version``."""
        self._sandboxes.get(DEFAULT)
        asked = request.query_params
        names = [name for name in self._sandboxes.names() if asked.get("q", "") in name]
        if asked.get("sort") == "name:desc":
            names.reverse()
        if "blaxel-version" not in request.headers:
            return answer([self._shown(self._sandboxes.get(name)) for name in names])
        try:
            limit = min(200, max(1, int(asked.get("limit", "50"))))
            start = int(base64.urlsafe_b64decode(asked.get("cursor", "")) or b"0")
        except ValueError:
            return control_error(400, "Bad request", "limit or cursor is not valid")
        page = names[start : start + limit]
        more = start + limit < len(names)
        cursor = base64.urlsafe_b64encode(str(start + limit).encode()).decode() if more else ""
        meta = {"hasMore": more, "nextCursor": cursor, "total": len(names)}
        data = [self._shown(self._sandboxes.get(name)) for name in page]
        return answer({"data": data, "meta": meta})

    async def create(self, request: Request) -> Response:
        """``POST /v0/sandboxes``, also with ``?createIfNotExist=true``."""
        name = ""
        try:
            body = await read_json(request)
            metadata = body.get("metadata")
            name = str(metadata.get("name") or "") if isinstance(metadata, dict) else ""
            if name and request.query_params.get("createIfNotExist") == "true":
                try:
                    return answer(self._shown(self._sandboxes.get(name)))
                except KeyError:
                    pass
            return answer(self._shown(self._sandboxes.create(body)))
        except ValueError as problem:
            return sandbox_error(400, "INVALID_REQUEST", str(problem), name, "validate")
        except FileExistsError as problem:
            return sandbox_error(409, "SANDBOX_ALREADY_EXISTS", str(problem), name, "create")

    async def delete(self, request: Request) -> Response:
        """``DELETE /v0/sandboxes/{name}``: kills what runs in it and removes its files."""
        name = request.path_params["name"]
        try:
            return answer(self._shown(self._sandboxes.delete(name)))
        except KeyError:
            return _no_sandbox(name)

    def routes(self) -> list[BaseRoute]:
        """Return the routes of the control plane."""
        one = "/v0/sandboxes/{name}"
        return [
            Route("/v0/sandboxes", self.page, methods=["GET"]),
            Route("/v0/sandboxes", self.create, methods=["POST"]),
            Route(one, self.get, methods=["GET"]),
            Route(one, self.delete, methods=["DELETE"]),
        ]


def _no_sandbox(name: str) -> Response:
    return control_error(404, "Resource not found", f"sandbox '{name}' not found")


async def _failed(request: Request, problem: Exception) -> Response:
    """Answer unknown routes and methods alike with a text 404, as the sandbox does (protocol 3).

    The task API has its own error shape.
    """
    if request.url.path.startswith(TASKS + "/"):
        status = problem.status_code if isinstance(problem, HTTPException) else 500
        return error(
            status, problem.detail if isinstance(problem, HTTPException) else "Internal error"
        )
    if not isinstance(problem, HTTPException):
        return PlainTextResponse("Internal Server Error", 500)
    if problem.status_code not in (404, 405):
        return error(problem.status_code, problem.detail)
    return PlainTextResponse("404 page not found", 404)


def application(
    sandboxes: Sandboxes, tasks: Tasks, *, url: str, token: str, other_token: str
) -> Guard:
    """Build the guarded application that answers at ``url``."""
    started = time.time()

    async def health(request: Request) -> Response:
        return answer(health_facts(__version__, started))

    routes: list[BaseRoute] = [
        *process_routes(SANDBOX),
        *file_routes(SANDBOX),
        Route("/health", health, methods=["GET"]),
        Route(SANDBOX + "/health", health, methods=["GET"]),
        *Control(sandboxes, url).routes(),
        *TaskRoutes(tasks).routes(TASKS),
    ]
    failed = dict.fromkeys((404, 405, 413, 500), _failed)
    app = Starlette(routes=routes, exception_handlers=failed)
    port = url.rpartition(":")[2]
    hosts = (f"127.0.0.1:{port}", f"localhost:{port}")
    return Guard(app, token, other_token, hosts, sandboxes)
