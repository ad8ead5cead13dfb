"""Ways to follow a process and be called for each line: ours and the official SDK's.

They are what contenders have in common; each runs in a process of its own.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any
from urllib.parse import quote

import httpx

from tests.imitation.habits import Habits

LOGS = quote(Habits().log_dir, safe="")

OnLine = Callable[[str], None]


class Task:
    """A process to start, or to attach to, and to follow: what a follower gets to do."""

    def __init__(self, url: str, name: str, command: str, *, started: bool = False) -> None:
        self.url = url
        self.name = name
        self.command = command
        self.started = started
        self.ended = asyncio.Event()
        """Set by the referee when nothing more is wanted."""


Follower = Callable[[Task, OnLine], Awaitable[None]]


async def ours(task: Task, on_line: OnLine) -> None:
    """Follow with ``SandboxClient.follow``, each entry's text."""
    from blaxel_jupyter import SandboxClient

    async with SandboxClient(url=task.url) as sandbox:
        if not task.started:
            await sandbox.exec(task.command, name=task.name)
        async with sandbox.follow(task.name) as entries:
            async for entry in entries:
                if entry.kind == "line":
                    on_line(entry.text)
                if task.ended.is_set():
                    return


async def sdk_stream(task: Task, on_line: OnLine) -> None:
    """Follow with the SDK's ``stream_logs`` and on_log; it never ends by itself."""
    process = official(task.url)
    if not task.started:
        await process.exec({"name": task.name, "command": task.command})
    handle = process.stream_logs(task.name, {"on_log": on_line})
    await task.ended.wait()
    handle.close()


async def sdk_exec(task: Task, on_line: OnLine) -> None:
    """Start with the SDK's ``exec`` and on_log, which gets chunks; they are joined and split."""
    rest = ""

    def on_log(chunk: str) -> None:
        nonlocal rest
        *lines, rest = (rest + chunk).split("\n")
        for line in lines:
            on_line(line)

    request = {"name": task.name, "command": task.command, "wait_for_completion": True}
    execution = asyncio.ensure_future(official(task.url).exec(request | {"on_log": on_log}))
    waiter = asyncio.ensure_future(task.ended.wait())
    await asyncio.wait((execution, waiter), return_when=asyncio.FIRST_COMPLETED)
    for pending in (execution, waiter):
        pending.cancel()
    await asyncio.gather(execution, waiter, return_exceptions=True)
    if rest:
        on_line(rest)


def official(url: str) -> Any:
    """Return the process API of an official ``SandboxInstance`` named ``bench``."""
    os.environ |= {"BL_WORKSPACE": "x", "BL_API_KEY": "x", "DO_NOT_TRACK": "1"}
    os.environ["BL_SANDBOX_BENCH_URL"] = url
    from blaxel.core import SandboxInstance
    from blaxel.core.client.models import Metadata, Sandbox, SandboxSpec

    sandbox = Sandbox(metadata=Metadata(name="bench"), spec=SandboxSpec())
    return SandboxInstance(sandbox).process


def warm(contender: str) -> None:
    """Import what a contender needs, so that imports do not count as its work."""
    if contender.startswith("SDK"):
        official("http://127.0.0.1:1")
    else:
        import blaxel_jupyter

        _ = blaxel_jupyter.SandboxClient


def raw_url(url: str, name: str, stream: str = "stdout") -> str:
    """Return where a process's log file can be downloaded."""
    return f"{url}/filesystem/{LOGS}%2F{name}.{stream}.log"


RAW = {"Accept": "application/octet-stream"}
"""Headers of that download: the bytes as they are, no JSON around them."""


async def until_ended(client: httpx.AsyncClient, name: str, pause: float) -> None:
    """Ask the server each ``pause`` seconds until a process has ended."""
    while True:
        answer = await client.get(f"/process/{name}")
        if answer.status_code == 200 and answer.json()["completedAt"]:
            return
        await asyncio.sleep(pause)


def compare(lines: list[str], expected: list[str]) -> str:
    """Say ``exact``, or how many lines were lost, came twice, and were never written."""
    if lines == expected:
        return "exact"
    got, want = Counter(lines), Counter(expected)
    lost = sum((want - got).values())
    extra = got - want
    twice = sum(number for line, number in extra.items() if line in want)
    invented = sum(extra.values()) - twice
    words = {"lost": lost, "twice": twice, "never written": invented}
    told = ", ".join(f"{number:,} {word}" for word, number in words.items() if number)
    return told or "out of order"
