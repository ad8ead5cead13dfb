"""A connection that breaks when much output is there already: how much is downloaded again.

The process waits until the connection was cut, then writes one line more; what the server sends from the cut
until that line is here is counted, all of it, by the server. A contender that lost lines before is cut off
when nothing more comes; one that the line never reaches is told with what it downloaded in vain.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from tests.bench.commands import LINE_BYTES, flood
from tests.bench.followers import Follower, Task, ours, sdk_stream, warm
from tests.bench.fresh import Meter, Sample, fresh
from tests.bench.races import Race, Row, Sampler
from tests.imitation import Imitation, imitation

OURS, STREAM = "`follow`", "SDK `stream_logs`"
FOLLOWERS: dict[str, Follower] = {OURS: ours, STREAM: sdk_stream}

QUIET = 5.0
"""Seconds without a line after which all that comes before the cut is there."""

RACE = Race(
    "reconnect",
    "reconnect: downloaded again",
    (OURS, STREAM),
    {f"{megabytes} MB": megabytes * 1_000_000 // LINE_BYTES for megabytes in (1, 3, 10)},
    tiny=1_000,
    unit="MB",
    shown="again",
    limit=45.0,  # the SDK reconnects after 30 s
    hurry=8.0,
    together=6,
)


@contextmanager
def world() -> Iterator[Sampler]:
    """Give each run a server of its own, in a process of its own."""
    yield _sample


def _sample(race: Race, contender: str, lines: int) -> Sample:
    with imitation(own_process=True) as server:
        backlog(
            server, "job", lines, "while [ ! -e go ]; do sleep .05; done; echo the end; sleep 5"
        )
        found = fresh(contend, contender=contender, url=server.url, lines=lines, limit=race.limit)
        if "before" not in found:
            return found
        while server.connections:  # an answer counts when it has ended
            pass
        return found | {"again": (server.wire_bytes - found["before"]) / 1e6}


def backlog(server: Imitation, name: str, lines: int, then: str) -> None:
    """Start a process that writes ``lines`` and then does something else; return when they are in its log."""
    body = {"name": name, "command": f"{flood(lines)}; {then}"}
    httpx.post(f"{server.url}/process", json=body, trust_env=False).raise_for_status()
    log = server.folder / f"{name}.stdout.log"
    while log.stat().st_size < lines * LINE_BYTES:
        time.sleep(0.02)


async def contend(contender: str, url: str, lines: int, limit: float) -> Sample:
    """Follow in this process until the line after the cut; ``seconds`` are those from the cut to it."""
    warm(contender)
    server = Imitation(url)
    task = Task(url, "job", "", started=True)
    seen, over = 0, asyncio.Event()

    def on_line(line: str) -> None:
        nonlocal seen
        seen += 1
        if line == "the end":
            over.set()
            task.ended.set()

    following = asyncio.ensure_future(FOLLOWERS[contender](task, on_line))
    last = -1
    while seen < lines and seen != last:
        last = seen
        await asyncio.sleep(QUIET)
    await asyncio.to_thread(server.restart)
    before = await asyncio.to_thread(lambda: server.wire_bytes)
    meter = Meter()
    (await asyncio.to_thread(lambda: server.work_dir) / "go").touch()
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(limit):
            await over.wait()
    figures = meter.figures()
    task.ended.set()
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)
    told = "exact" if seen == lines + 1 else f"{seen:,} of {lines + 1:,} lines"
    if not over.is_set():
        told += ", the last one never"
    return figures | {"before": before, "verdict": told}


ROW = Row((RACE,), world)
