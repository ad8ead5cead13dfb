"""Start a process once, also when the answer to the start is lost.

A start is never repeated blindly: the name is looked up first (protocol 3.3, 7.5). The client uses it.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

from blaxel_jupyter.api import SandboxApi
from blaxel_jupyter.errors import ProtocolError, StatusError, TransportError
from blaxel_jupyter.process import Process
from blaxel_jupyter.transport import read_json

GATEWAY_PATIENCE = 60.0
"""Seconds for which a gateway that says "not yet" is asked again (protocol 2)."""


async def start(api: SandboxApi, body: dict[str, Any], before: Process | None) -> Process:
    """Send the start and return the process; ``before`` is who had the name until now.

    Raises:
        StatusError: the server refused.
        TransportError: no answer came, and no process of that name is found either.
    """
    try:
        return await _post_when_there(api, body)
    except StatusError as error:
        if error.status_code == 400 and body.get("keepAlive") and "keepAlive" in error.body:
            # Not in the plan: the client kills it when the time is over, as long as it lives.
            without = {key: body[key] for key in body.keys() - {"keepAlive", "timeout"}}
            return await start(api, without, before)
        if error.status_code == 400 and "already exists" in error.body:
            raise StatusError(
                f"Process {body['name']!r} is still running in {api.name}. "
                f"Choose another name, or end it first: %sandbox stop {body['name']}",
                status_code=400,
                method=error.method,
                url=error.url,
                body=error.body,
            ) from None
        if error.status_code < 500:
            raise
        return await _found(api, body["name"], before, error)
    except (TransportError, ProtocolError) as error:
        if isinstance(error, TransportError) and not error.sent:
            raise
        return await _found(api, body["name"], before, error)


async def _post_when_there(api: SandboxApi, body: dict[str, Any]) -> Process:
    """Post; where the gateway says that nothing reached the sandbox yet, again after a pause."""
    deadline, pause = time.monotonic() + GATEWAY_PATIENCE, 0.5
    while True:
        try:
            return await _post(api, body)
        except StatusError as error:
            if not (error.from_gateway and error.retryable) or time.monotonic() + pause > deadline:
                raise
        except TransportError as error:
            # A local service that is gone is replaced at the next request; nothing was sent.
            if error.sent or not api.is_local or pause > 0.5:
                raise
        await asyncio.sleep(pause)
        pause = min(pause * 2, 30.0)


async def _post(api: SandboxApi, body: dict[str, Any]) -> Process:
    """Post once; with ports to wait for, watch that the process does not die meanwhile."""
    post = asyncio.ensure_future(api.ask("POST", "/process", json=body, read_timeout=None))
    try:
        while body.get("waitForPorts"):
            await asyncio.wait({post}, timeout=1.0)
            if post.done():
                break
            process = await api.known(body["name"])
            if process is not None and process.ended and not process.restarts_left:
                return process
        return Process.parse(read_json((await post).body))
    finally:
        post.cancel()


async def _found(api: SandboxApi, name: str, before: Process | None, error: Exception) -> Process:
    """Find out whether a start whose answer was lost happened."""
    for pause in (0.2, 1.0, 2.0):
        process = await api.known(name)
        if process is not None and (before is None or process.pid != before.pid):
            return process
        await asyncio.sleep(pause)
    raise error
