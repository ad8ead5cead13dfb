"""The clients that are measured: ours, the official SDK, a plain download. Each runs alone in a process.

``python -m tests.bench.contenders '{"contender": …, "race": …, "url": …}'`` prints one JSON object with
what the race found, its CPU seconds (after the imports) and the peak RSS of the process (with them).
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import resource
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any
from urllib.parse import quote

import httpx

from tests.bench.commands import DELAY, FLOOD, FLOOD_LINES, QUIET, SCENARIOS, flood_lines
from tests.imitation.habits import Habits

LOGS = quote(Habits().log_dir, safe="")
GIVE_UP = 75.0
"""Seconds after which a contender of the flood has lost."""

OnLine = Callable[[str], None]
Lines = Callable[["Task", OnLine], Awaitable[None]]


class Task:
    """A process to start and to follow: what a contender gets to do."""

    def __init__(self, url: str, name: str, command: str, *, started: bool = False) -> None:
        self.url = url
        self.name = name
        self.command = command
        self.started = started
        self.ended = asyncio.Event()
        """Set by the referee when nothing more is wanted."""


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


LINES: dict[str, Lines] = {"ours": ours, "sdk stream": sdk_stream, "sdk exec": sdk_exec}


async def flood(contender: str, url: str, **_: Any) -> dict[str, Any]:
    """20 MB written at once: seconds until as many lines are there, and whether they are the lines."""
    if contender == "ours, bytes":
        return await _flood_bytes(url)
    lines: list[str] = []
    task = Task(url, "flood", FLOOD)
    return await _timed_lines(LINES[contender], task, lines)


async def _timed_lines(follow: Lines, task: Task, lines: list[str]) -> dict[str, Any]:
    complete = asyncio.Event()
    began = time.monotonic()
    arrived = began

    def on_line(line: str) -> None:
        nonlocal arrived
        lines.append(line)
        if len(lines) == FLOOD_LINES:
            arrived = time.monotonic()
            complete.set()
            task.ended.set()

    following = asyncio.ensure_future(follow(task, on_line))
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(GIVE_UP):
            await complete.wait()
    spent = costs()
    task.ended.set()
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)
    expected = flood_lines()
    seconds = arrived - began if complete.is_set() else None
    verdict = compare(lines, expected)
    if verdict == "exact" and lines != expected:
        verdict = "out of order"
    return spent | {"seconds": seconds, "verdict": verdict}


async def _flood_bytes(url: str, *, started: bool = False) -> dict[str, Any]:
    from blaxel_jupyter import SandboxClient

    async with SandboxClient(url=url) as sandbox:
        began = time.monotonic()
        if started:
            run = await sandbox.attach("flood")
        else:
            run = await sandbox.exec(FLOOD, name="flood")
        following = asyncio.ensure_future(_finish(run))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GIVE_UP):
                while len(run.logs) < FLOOD_LINES:  # noqa: ASYNC110  # rows come without an event
                    await asyncio.sleep(0.005)
        data = run.stdout_bytes
        seconds = time.monotonic() - began
        spent = costs()
        following.cancel()
        await asyncio.gather(following, return_exceptions=True)
    exact = data == _flood_data()
    return spent | {"seconds": seconds, "verdict": "exact" if exact else "≠"}


def _flood_data() -> bytes:
    return "".join(f"{line}\n" for line in flood_lines()).encode()


async def _finish(run: Any) -> None:
    await run


async def download(contender: str, url: str, **_: Any) -> dict[str, Any]:
    """20 MB that are there already: a plain httpx download, or a follow of the backlog."""
    if contender == "httpx download":
        path = f"{url}/filesystem/{LOGS}%2Fflood.stdout.log"
        headers = {"Accept": "application/octet-stream"}
        began = time.monotonic()  # like ours with the client's own start
        async with httpx.AsyncClient(trust_env=False) as client:
            data = (await client.get(path, headers=headers)).content
            seconds = time.monotonic() - began
        spent = costs()
        return spent | {"seconds": seconds, "verdict": "exact" if data == _flood_data() else "≠"}
    if contender == "ours, bytes":
        return await _flood_bytes(url, started=True)
    return await _timed_lines(LINES[contender], Task(url, "flood", "", started=True), [])


async def delay(contender: str, url: str, seconds: float, **_: Any) -> dict[str, Any]:
    """10 lines a second, each the time at which it was printed: how late each arrives."""
    delays: list[float] = []
    count = int(seconds * 10)
    task = Task(url, "delay", DELAY.format(count=count))

    def on_line(line: str) -> None:
        delays.append(time.time() - float(line))
        if len(delays) == count:
            task.ended.set()

    async with asyncio.timeout(seconds + 60):
        await LINES[contender](task, on_line)
    delays.sort()
    return {"median": delays[len(delays) // 2] * 1e3, "p99": delays[int(len(delays) * 0.99)] * 1e3}


async def quiet(contender: str, url: str, seconds: float, **_: Any) -> dict[str, Any]:
    """10 MB of backlog, then a line a second: follow it to the last line."""
    lines = 0
    task = Task(url, "quiet", QUIET.format(count=int(seconds)))

    def on_line(line: str) -> None:
        nonlocal lines
        lines += 1
        if line == "the end":
            task.ended.set()

    async with asyncio.timeout(seconds + 60):
        await LINES[contender](task, on_line)
    return {"lines": lines}


async def exactness(contender: str, url: str, **_: Any) -> dict[str, Any]:
    """Run the ten scenarios at once; say of each what was lost, repeated and invented."""
    names = list(SCENARIOS)
    verdicts = await asyncio.gather(*(_verdict(contender, url, name) for name in names))
    return {"verdicts": dict(zip(names, verdicts, strict=True))}


async def _verdict(contender: str, url: str, name: str) -> str:
    lines: list[str] = []
    task = Task(url, name, SCENARIOS[name])
    following = asyncio.ensure_future(LINES[contender](task, lines.append))
    referee = asyncio.ensure_future(_end(task))
    await asyncio.gather(following, referee)
    return compare(lines, await _written(task))


async def _end(task: Task) -> None:
    """Tell the contender that it is over, a second after the process's end."""
    async with httpx.AsyncClient(base_url=task.url, trust_env=False) as client:
        while True:
            await asyncio.sleep(0.5)
            answer = await client.get(f"/process/{task.name}")
            if answer.status_code == 200 and answer.json()["completedAt"]:
                break
    await asyncio.sleep(1.0)
    task.ended.set()


async def _written(task: Task) -> list[str]:
    lines: list[str] = []
    async with httpx.AsyncClient(base_url=task.url, trust_env=False) as client:
        for stream in ("stdout", "stderr"):
            path = f"/filesystem/{LOGS}%2F{task.name}.{stream}.log"
            answer = await client.get(path, headers={"Accept": "application/octet-stream"})
            whole = answer.content.split(b"\n")
            lines += [
                line.decode("utf-8", "replace") for line in (whole if whole[-1] else whole[:-1])
            ]
    return lines


def compare(lines: list[str], expected: list[str]) -> str:
    """Say ``exact``, or how many lines were lost, repeated and invented, each with its sign."""
    got, want = Counter(lines), Counter(expected)
    lost = sum((want - got).values())
    extra = got - want
    repeated = sum(count for line, count in extra.items() if line in want)
    invented = sum(extra.values()) - repeated
    signs = {"−": lost, "×": repeated, "≠": invented}
    return " ".join(f"{sign}{count}" for sign, count in signs.items() if count) or "exact"


RACES: dict[str, Callable[..., Coroutine[Any, Any, dict[str, Any]]]] = {
    "flood": flood,
    "download": download,
    "delay": delay,
    "quiet": quiet,
    "exactness": exactness,
}


def _warm(contender: str) -> None:
    """Import what the contender needs, so that imports do not count as its work."""
    if contender.startswith("ours"):
        import blaxel_jupyter

        _ = blaxel_jupyter.SandboxClient
    elif contender.startswith("sdk"):
        official("http://127.0.0.1:1")


def costs() -> dict[str, float]:
    """Return the CPU seconds and the peak RSS (MB) of this process so far."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return {"cpu": usage.ru_utime + usage.ru_stime, "rss": usage.ru_maxrss / 1024}


def main(options: dict[str, Any]) -> dict[str, Any]:
    """Run one race of one contender and add its costs to what it found.

    A race that checks a lot afterwards takes the costs itself, before.
    """
    _warm(options["contender"])
    before = costs()["cpu"]
    found = asyncio.run(RACES[options.pop("race")](**options))
    found = costs() | found
    return found | {"cpu": found["cpu"] - before}


if __name__ == "__main__":
    print(json.dumps(main(json.loads(sys.argv[1]))))
