"""Say the same things over HTTP everywhere: JSON, the three error shapes, streams that see a hang-up.

Shapes: protocol 2 (control plane and gateway) and 3.3 (sandbox). Knows no route.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from typing import Any

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

MAX_BODY = 64 * 1024 * 1024
"""Bytes of a request body that are accepted: the largest upload."""

NO_CACHE = {"Cache-Control": "no-cache, no-store, must-revalidate"}
STREAM = {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"}


def answer(value: object, status: int = 200) -> Response:
    """Answer with JSON, escaped to ASCII (any JSON reader gives the same text as from the real one)."""
    data = json.dumps(value, separators=(",", ":")).encode()
    return Response(data, status, NO_CACHE, "application/json; charset=utf-8")


def error(status: int, text: str) -> Response:
    """Answer with the sandbox's own error shape: ``error`` is a string."""
    return answer({"error": text}, status)


def control_error(status: int, title: str, message: str) -> Response:
    """Answer with the control plane's error shape."""
    return answer({"error": title, "code": status, "message": message}, status)


def sandbox_error(status: int, code: str, message: str, name: str, step: str) -> Response:
    """Answer with the shape in which the control plane refuses to create a sandbox."""
    facts = {
        "code": code,
        "message": message,
        "status_code": status,
        "sandbox_name": name,
        "step": step,
        "timestamp": _now(),
        "workspace": "local",
        "details": {},
    }
    return answer(facts, status)


def gateway_error(status: int, code: str, message: str, action: str) -> Response:
    """Answer with the gateway's error shape: ``error`` is an object."""
    facts = {
        "code": code,
        "message": message,
        "origin": "platform",
        "retryable": False,
        "status": status,
        "action": action,
        "timestamp": _now(),
    }
    response = answer({"error": facts}, status)
    response.headers["X-Blaxel-Source"] = "platform"
    response.headers["X-Blaxel-Error-Code"] = code
    return response


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Stream(Response):
    """Send blocks as they come; a client that hangs up ends the iterator at once.

    The iterator is closed in every case. Sending waits for a slow client, and for nobody else's.
    """

    def __init__(
        self,
        blocks: AsyncIterator[bytes],
        media_type: str,
        headers: Mapping[str, str],
        status: int = 200,
    ) -> None:
        self.blocks = blocks
        self.status_code = status
        self.media_type = media_type
        self.background = None
        self.init_headers({**headers, "Content-Type": media_type})

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the head, then each block, until the iterator or the client ends."""
        sending = asyncio.ensure_future(self._send(send))
        leaving = asyncio.ensure_future(_left(receive))
        try:
            await asyncio.wait((sending, leaving), return_when=asyncio.FIRST_COMPLETED)
        finally:
            leaving.cancel()
            sending.cancel()
            await asyncio.gather(sending, leaving, return_exceptions=True)
        if not sending.cancelled():
            sending.result()

    async def _send(self, send: Send) -> None:
        head = {
            "type": "http.response.start",
            "status": self.status_code,
            "headers": self.raw_headers,
        }
        await send(head)
        try:
            async for block in self.blocks:
                await send({"type": "http.response.body", "body": block, "more_body": True})
                await asyncio.sleep(0)  # sending need not wait; others, and a hang-up, get a turn
        finally:
            close = getattr(self.blocks, "aclose", None)
            if close is not None:
                await close()
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def read_body(request: Request, limit: int = MAX_BODY) -> bytes:
    """Read a request's body, at most ``limit`` bytes.

    Raises:
        HTTPException: 413, it is longer.
    """
    parts: list[bytes] = []
    size = 0
    async for part in request.stream():
        size += len(part)
        if size > limit:
            raise HTTPException(413, f"the body is larger than {limit} bytes")
        parts.append(part)
    return b"".join(parts)


async def read_json(request: Request) -> dict[str, Any]:
    """Read a request's body as a JSON object; an empty one is ``{}``.

    Raises:
        ValueError: it is something else.
    """
    data = await read_body(request)
    value = json.loads(data) if data else {}
    if not isinstance(value, dict):
        raise ValueError("json: the body is no object")
    return value
