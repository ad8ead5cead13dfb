"""``GET /watch/filesystem/*dir``: a folder's events as JSON lines, straight from inotify.

Each watch has its own inotify descriptor, so one that nobody reads stalls nobody else. Linux only.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import struct
from collections.abc import Iterator

from tests.imitation.files import Places
from tests.imitation.gojson import dumps
from tests.imitation.habits import Habits
from tests.imitation.http import KEEPALIVE, Gone, Request, Response
from tests.imitation.routes import error

_OPS = {
    0x100: "CREATE",
    0x80: "CREATE",
    0x2: "WRITE",
    0x200: "REMOVE",
    0x40: "RENAME",
    0x4: "CHMOD",
}
_MASK = sum(_OPS)
_HEADER = struct.Struct("iIII")
_libc = ctypes.CDLL(None, use_errno=True)


async def watch(
    request: Request, response: Response, places: Places, wildcard: str, habits: Habits
) -> None:
    """Stream events until the client hangs up; the headers go out with the first line only."""
    shown = places.absolute(wildcard)
    folder = places.real(shown)
    if not folder.is_dir():
        await response.json(400, error("path is not a directory"))
        return
    ignored = [pattern for value in request.query.get("ignore", []) for pattern in value.split(",")]
    descriptor = _libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        _libc.inotify_add_watch(descriptor, os.fsencode(folder), _MASK)
        await _pump(response, descriptor, shown, ignored, habits)
    finally:
        os.close(descriptor)


async def _pump(
    response: Response, descriptor: int, shown: str, ignored: list[str], habits: Habits
) -> None:
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    gone = response.connection.gone
    keepalive_at = loop.time() + habits.keepalive
    cut_at = loop.time() + (habits.cut_after or float("inf"))
    loop.add_reader(descriptor, ready.set)
    gone_waiter = asyncio.ensure_future(gone.wait())
    gone_waiter.add_done_callback(lambda _: ready.set())
    try:
        while not gone.is_set():
            lines = list(_lines(descriptor, shown, ignored))
            ready.clear()
            now = loop.time()
            if now >= cut_at:
                break
            if now >= keepalive_at:
                keepalive_at = now + habits.keepalive
                lines.append(KEEPALIVE)
            for line in lines:
                if not response.started:
                    plain = {"Content-Type": "text/plain; charset=utf-8", "X-Accel-Buffering": "no"}
                    await response.start(200, {**plain})
                await response.write(line)
            if not lines:
                await _wait(ready, min(keepalive_at, cut_at) - now)
    finally:
        loop.remove_reader(descriptor)
        gone_waiter.cancel()
    response.connection.close()
    raise Gone


async def _wait(ready: asyncio.Event, seconds: float) -> None:
    try:
        await asyncio.wait_for(ready.wait(), max(0.0, seconds))
    except TimeoutError:
        return


def _lines(descriptor: int, shown: str, ignored: list[str]) -> Iterator[bytes]:
    try:
        data = os.read(descriptor, 64 * 1024)
    except BlockingIOError:
        return
    position = 0
    while position < len(data):
        _, mask, _, length = _HEADER.unpack_from(data, position)
        begin = position + _HEADER.size
        position = begin + length
        name = os.fsdecode(data[begin:position].rstrip(b"\0"))
        op = next((op for bit, op in _OPS.items() if mask & bit), None)
        where = f"{shown.rstrip('/')}/{name}"
        if op is None or any(pattern and pattern in where for pattern in ignored):
            continue
        yield dumps({"op": op, "name": name, "path": shown.rstrip("/"), "error": None}) + b"\n"
