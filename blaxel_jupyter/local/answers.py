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
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

MAX_BODY = 64 * 1024 * 1024
"""Bytes of a request body that are accepted: the largest upload."""

MAX_BODIES = 4 * MAX_BODY
"""Bytes of all request bodies that are being read."""
BODY_PAUSE = 20.0
"""Seconds that a request's body may stand still."""
MOST_STREAMS = 500
"""Streams that are open at once: four files and some hundred kilobytes each."""

_HANG_UP = {"Connection": "close"}

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

    The iterator is closed in every case. Sending waits for a slow client, and for nobody else's. One
    more than ``MOST_STREAMS`` is refused, so that all else is still answered.
    """

    running = 0

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
        if Stream.running >= MOST_STREAMS:
            await _close(self.blocks)
            refusal = error(503, f"{MOST_STREAMS} streams are open: close some, or try again")
            refusal.headers["Retry-After"] = "1"
            await refusal(scope, receive, send)
            return
        Stream.running += 1
        try:
            await self._until_left(receive, send)
        finally:
            Stream.running -= 1

    async def _until_left(self, receive: Receive, send: Send) -> None:
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
            await _close(self.blocks)
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def _close(blocks: AsyncIterator[bytes]) -> None:
    close = getattr(blocks, "aclose", None)
    if close is not None:
        await close()


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


class Bodies:
    """The request bodies that are being read, bounded together: ``held`` bytes of them are in memory."""

    held = 0


async def read_body(request: Request, limit: int = MAX_BODY) -> bytes:
    """Read a request's body, at most ``limit`` bytes; one that says that it is longer not at all.

    Raises:
        HTTPException: 413, it is longer; 408, nothing came for a while; 503, too much comes at once.
    """
    said = request.headers.get("content-length", "0")
    if int(said) > limit:  # the server has checked that it is a number
        raise HTTPException(413, f"the body is larger than {limit} bytes", _HANG_UP)
    parts: list[bytes] = []
    size = 0
    stream = request.stream()
    try:
        while True:
            async with asyncio.timeout(BODY_PAUSE):
                part = await anext(stream, None)
            if part is None:
                return b"".join(parts)
            size += len(part)
            Bodies.held += len(part)
            if size > limit:
                raise HTTPException(413, f"the body is larger than {limit} bytes", _HANG_UP)
            if Bodies.held > MAX_BODIES:
                raise HTTPException(503, "too many large bodies at once: try again", _HANG_UP)
            parts.append(part)
    except ClientDisconnect:
        raise HTTPException(400, "the body was cut off") from None
    except TimeoutError:
        raise HTTPException(408, f"nothing came for {BODY_PAUSE:.0f} seconds", _HANG_UP) from None
    finally:
        Bodies.held -= size


async def read_json(request: Request) -> dict[str, Any]:
    """Read a request's body as a JSON object; an empty one is ``{}``.

    Raises:
        ValueError: it is something else, or nested too deeply.
    """
    data = await read_body(request)
    try:
        value = json.loads(data) if data else {}
    except RecursionError as problem:
        raise ValueError("json: the body is nested too deeply") from problem
    if not isinstance(value, dict):
        raise ValueError("json: the body is no object")
    return value
