"""Start a process once, also when the answer to the start is lost.

A start is never repeated blindly: the name is looked up first (protocol 3.3, 7.5). The client uses it.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import Any

from blaxel_jupyter.api import SandboxApi
from blaxel_jupyter.ending import end
from blaxel_jupyter.errors import BlaxelError, ProtocolError, StatusError, TransportError
from blaxel_jupyter.process import Process
from blaxel_jupyter.wording import read_json

GATEWAY_PATIENCE = 60.0
"""Seconds for which a gateway that says "not yet" or "too many" is asked again (protocol 2)."""

LATE, SILENCE = 4.0, 75.0
"""Seconds without an answer after which the process is looked for, and after which there will be none."""

PAUSES = (0.2, 1.0, 2.0)
"""Seconds after each look for a process whose start was not answered."""

TOO_MANY = 429
"""The status of a request that was turned away unread."""


async def start(api: SandboxApi, body: dict[str, Any], before: Process | None) -> Process:
    """Send the start and return the process; ``before`` is who had the name until now.

    Raises:
        StatusError: the server refused, or a gateway answered in its place.
        TransportError: no answer came, and no process of that name is found either.
        ProtocolError: the answer is none of a sandbox's. Of these three, those after which the command
            may run all the same say so, and its name.
    """
    try:
        return await _post_when_there(api, body, before)
    except StatusError as error:
        if error.status_code == 400 and body.get("keepAlive") and "keepAlive" in error.body:
            # Not in the plan: the client kills it when the time is over, as long as it lives.
            without = {key: body[key] for key in body.keys() - {"keepAlive", "timeout"}}
            return await start(api, without, before)
        if error.status_code == 400 and "already exists" in error.body:
            try:
                process = await _newer(api, body["name"], before)
            except (StatusError, TransportError, ProtocolError) as unseen:
                raise _unknown(unseen, body["name"]) from None
            if process is not None and process.command == body["command"]:
                return process  # what stands between us and the sandbox has sent the start twice
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


async def _post_when_there(
    api: SandboxApi, body: dict[str, Any], before: Process | None
) -> Process:
    """Post; where the gateway says that nothing has reached the sandbox, again after a pause."""
    deadline, pause = time.monotonic() + GATEWAY_PATIENCE, 0.5
    while True:
        try:
            return await _post(api, body, before)
        except StatusError as error:
            unread = error.status_code == TOO_MANY or (error.from_gateway and error.retryable)
            pause = max(pause, error.retry_after)
            if not unread or time.monotonic() + pause > deadline:
                raise
        except TransportError as error:
            # A local service that is gone is replaced at the next request; nothing was sent.
            if error.sent or not api.is_local or pause > 0.5:
                raise
        await asyncio.sleep(pause)
        pause = min(pause * 2, 30.0)


async def _post(api: SandboxApi, body: dict[str, Any], before: Process | None) -> Process:
    """Post once; where no answer comes, look whether the process is there, or has died before its ports."""
    ports = bool(body.get("waitForPorts"))
    silence = None if ports else SILENCE
    post = asyncio.ensure_future(api.ask("POST", "/process", json=body, read_timeout=silence))
    try:
        while True:
            await asyncio.wait({post}, timeout=1.0 if ports else LATE)
            if post.done():
                return Process.parse(read_json((await post).body))
            with suppress(StatusError, TransportError, ProtocolError):
                process = await _newer(api, body["name"], before)
                over = process is not None and process.ended and not process.restarts_left
                if process is not None and (over or not ports):
                    return process
    finally:
        await end(post)


async def _found(api: SandboxApi, name: str, before: Process | None, error: BlaxelError) -> Process:
    """Find out whether a start whose answer was lost happened."""
    try:
        for pause in PAUSES:
            process = await _newer(api, name, before)
            if process is not None:
                return process
            await asyncio.sleep(pause)
    except (StatusError, TransportError, ProtocolError):
        pass  # nor can be asked
    raise _unknown(error, name)


def _unknown(error: BlaxelError, name: str) -> BlaxelError:
    """Change the next step that an error names: to run the command again may be to run it twice."""
    what, _, _ = str(error).rpartition(". ")
    error.args = (
        f"{what}. Whether the command was started is not known: look for {name!r} in `%sandbox ps` "
        f"before you run it again.",
    )
    return error


async def _newer(api: SandboxApi, name: str, before: Process | None) -> Process | None:
    """Return the process of that name, unless it is who had the name before."""
    process = await api.known(name)
    return process if process is None or before is None or process.pid != before.pid else None
