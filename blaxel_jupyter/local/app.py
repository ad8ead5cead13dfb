"""Put the routes of both APIs together behind the guard; control sandboxes (protocol 2)."""

from __future__ import annotations

import base64
import errno
import time

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import BaseRoute, Route

from blaxel_jupyter import __version__
from blaxel_jupyter.local.answers import (
    answer,
    control_error,
    error,
    read_json,
    sandbox_error,
)
from blaxel_jupyter.local.files import file_routes
from blaxel_jupyter.local.guard import TASKS, Guard
from blaxel_jupyter.local.routes import health_facts, process_routes
from blaxel_jupyter.local.sandboxes import DEFAULT, Record, Sandboxes
from blaxel_jupyter.local.task_routes import TaskRoutes
from blaxel_jupyter.local.tasks import Tasks

SANDBOX = "/sandboxes/{sandbox}"


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
    failure = (
        problem if isinstance(problem, HTTPException) else HTTPException(500, "Internal error")
    )
    if request.url.path.startswith(TASKS + "/"):
        response = error(failure.status_code, failure.detail)
    elif failure.status_code in (404, 405):
        return PlainTextResponse("404 page not found", 404)
    elif failure is problem:
        response = error(failure.status_code, failure.detail)
    else:
        response = PlainTextResponse("Internal Server Error", 500)
    response.headers.update(failure.headers or {})
    return response


async def _refused_by_system(request: Request, problem: Exception) -> Response:
    """Answer what the system refused, such as a write to a full disk, in words."""
    assert isinstance(problem, OSError)
    text = (problem.strerror or str(problem)).lower()
    return error(507 if problem.errno in {errno.ENOSPC, errno.EDQUOT} else 500, text)


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
    failed = dict.fromkeys((400, 404, 405, 408, 413, 500, 503), _failed)
    app = Starlette(routes=routes, exception_handlers={**failed, OSError: _refused_by_system})
    app.router.redirect_slashes = False
    port = url.rpartition(":")[2]
    hosts = (f"127.0.0.1:{port}", f"localhost:{port}")
    return Guard(app, token, other_token, hosts, sandboxes)
