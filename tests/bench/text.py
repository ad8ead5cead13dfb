"""Output to exact text, of a process that lives on and of one that has ended: us, the SDK, a download.

The clock stops when all of it is there; CPU and memory are the follower's process's own.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx

from tests.bench.commands import LINE_BYTES, flood, flood_data, flood_lines
from tests.bench.followers import (
    RAW,
    Follower,
    Task,
    compare,
    official,
    ours,
    raw_url,
    sdk_exec,
    sdk_stream,
    until_ended,
    warm,
)
from tests.bench.fresh import Meter, Sample, fresh
from tests.bench.races import Race, Row, Sampler
from tests.imitation import imitation

SIZES = {f"{megabytes} MB": megabytes * 1_000_000 // LINE_BYTES for megabytes in (2, 6, 20)}
TEXT, FOLLOW = "`run.stdout_bytes`", "`follow`, each line"
STREAM, EXEC, LOGS = "SDK `stream_logs`", "SDK `exec(on_log)`", "SDK `logs()`"
DOWNLOAD = "plain httpx download, the limit"
FOLLOWERS: dict[str, Follower] = {FOLLOW: ours, STREAM: sdk_stream, EXEC: sdk_exec}

ALIVE = Race(
    "text-alive",
    "output to exact text, the process lives on",
    (TEXT, FOLLOW, STREAM, EXEC),
    SIZES,
    tiny=2_000,
    limit=35.0,  # past the SDK's reconnect, which is after 30 s
)
FINISHED = Race(
    "text-finished",
    "the same of a process that has ended",
    (TEXT, FOLLOW, LOGS, STREAM, DOWNLOAD),
    SIZES,
    tiny=2_000,
    limit=10.0,
)


@contextmanager
def world() -> Iterator[Sampler]:
    """Give each run a server of its own, in a process of its own."""
    yield _sample


def _sample(race: Race, contender: str, lines: int) -> Sample:
    started = race.name == FINISHED.name
    with imitation(own_process=True) as server:
        if started:
            asyncio.run(_flood_and_end(server.url, lines))
        options = {"lines": lines, "started": started, "limit": race.limit}
        return fresh(contend, contender=contender, url=server.url, **options)


async def _flood_and_end(url: str, lines: int) -> None:
    async with httpx.AsyncClient(base_url=url, trust_env=False) as client:
        await client.post("/process", json={"name": "flood", "command": flood(lines)})
        await until_ended(client, "flood", 0.05)


async def contend(contender: str, url: str, lines: int, started: bool, limit: float) -> Sample:
    """Get all output in this process; ``seconds`` is None if not so many lines were there in time."""
    warm(contender)
    task = Task(url, "flood", f"{flood(lines)}; sleep 60", started=started)
    if contender in FOLLOWERS:
        return await _by_lines(FOLLOWERS[contender], task, lines, limit)
    way = {TEXT: _bytes, LOGS: _logs, DOWNLOAD: _download}[contender]
    meter = Meter()
    data = await way(task, lines)
    figures = meter.figures()
    missing = lines * LINE_BYTES - len(data)
    exact = data == flood_data(lines)
    return figures | {"verdict": "exact" if exact else f"{missing / 1e6:.1f} MB lost"}


async def _by_lines(follow: Follower, task: Task, count: int, limit: float) -> Sample:
    lines: list[str] = []
    done = asyncio.Event()
    meter = Meter()
    figures: Sample = {}

    def on_line(line: str) -> None:
        lines.append(line)
        if len(lines) == count:
            figures.update(meter.figures())
            done.set()
            task.ended.set()

    following = asyncio.ensure_future(follow(task, on_line))
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(limit):
            await done.wait()
    figures = figures or meter.figures() | {"seconds": None}
    task.ended.set()
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)
    return figures | {"verdict": compare(lines, flood_lines(count))}


async def _bytes(task: Task, lines: int) -> bytes:
    from blaxel_jupyter import SandboxClient

    async with SandboxClient(url=task.url) as sandbox:
        if task.started:
            return (await (await sandbox.attach(task.name))).stdout_bytes
        run = await sandbox.exec(task.command, name=task.name)
        following = asyncio.ensure_future(_finish(run))
        while len(run.logs) < lines and not following.done():  # noqa: ASYNC110  # rows tell nobody
            await asyncio.sleep(0.005)
        data: bytes = run.stdout_bytes
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
        return data


async def _finish(run: Any) -> None:
    await run


async def _logs(task: Task, lines: int) -> bytes:
    text: str = await official(task.url).logs(task.name, "stdout")
    return text.encode()


async def _download(task: Task, lines: int) -> bytes:
    async with httpx.AsyncClient(trust_env=False) as client:
        return (await client.get(raw_url(task.url, task.name), headers=RAW)).content


ROW = Row((ALIVE, FINISHED), world)
