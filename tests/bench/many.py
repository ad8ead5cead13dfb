"""Many runs followed at once, against as many of the SDK's streams, from one process.

Each process writes ten lines a second, each line the time at which it was written; exact means every line of
every one, once and in order. Memory and CPU are the follower's; the server counts requests.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from tests.bench.commands import paced
from tests.bench.followers import RAW, OnLine, official, raw_url, warm
from tests.bench.fresh import Meter, Sample, fresh
from tests.bench.races import Race, Row, Sampler
from tests.imitation import imitation

OURS, STREAM = "runs", "SDK streams"
SECONDS = 4
RATE = 10

RACE = Race(
    "many",
    f"runs followed at once, {RATE} lines/s each for {SECONDS} s: CPU of the follower",
    (OURS, STREAM),
    {"5 runs": 5, "15 runs": 15, "50 runs": 50},
    tiny=2,
    shown="cpu",
)


@contextmanager
def world() -> Iterator[Sampler]:
    """Give each run a server of its own, in a process of its own."""
    yield _sample


def _sample(race: Race, contender: str, runs: int) -> Sample:
    with imitation(own_process=True) as server:
        seconds = 1 if runs == race.tiny else SECONDS
        options = {"runs": runs, "seconds": seconds}
        found = fresh(contend, contender=contender, url=server.url, **options)
        if "lines" not in found:
            return found
        written = {name: _written(server.url, name) for name in found["lines"]}
        requests = sum(server.requests.values()) - len(written)
    lines = found.pop("lines")
    wrong = sum(lines[name] != written[name] for name in lines)
    verdict = f"{wrong} of {runs} runs wrong" if wrong else "exact"
    return found | {"requests": requests, "verdict": verdict}


def _written(url: str, name: str) -> list[str]:
    return httpx.get(raw_url(url, name), headers=RAW, trust_env=False).text.splitlines()


async def contend(contender: str, url: str, runs: int, seconds: float) -> Sample:
    """Start the processes and follow them all to their ends in this process."""
    warm(contender)
    command = paced(round(seconds * RATE), RATE)
    lines: dict[str, list[str]] = {f"job-{n}": [] for n in range(runs)}
    delays: list[float] = []

    def taker(name: str) -> OnLine:
        def take(line: str) -> None:
            lines[name].append(line)
            with contextlib.suppress(ValueError):  # a stream may cut lines: told below
                delays.append(time.time() - float(line))

        return take

    follow = _ours if contender == OURS else _sdk
    meter = Meter()
    async with asyncio.timeout(120):
        await follow(url, command, {name: taker(name) for name in lines})
    figures = meter.figures()
    delays.sort()
    late = {
        "median_ms": delays[len(delays) // 2] * 1e3,
        "p99_ms": delays[len(delays) * 99 // 100] * 1e3,
    }
    return figures | late | {"lines": lines}


async def _ours(url: str, command: str, takers: dict[str, OnLine]) -> None:
    from blaxel_jupyter import SandboxClient

    async with SandboxClient(url=url) as sandbox:

        async def follow(name: str, take: OnLine) -> None:
            await sandbox.exec(command, name=name)
            async with sandbox.follow(name) as entries:
                async for entry in entries:
                    take(entry.text)

        await asyncio.gather(*(follow(*each) for each in takers.items()))


async def _sdk(url: str, command: str, takers: dict[str, OnLine]) -> None:
    process = official(url)

    async def follow(name: str, take: OnLine) -> None:
        await process.exec({"name": name, "command": command})
        handle = process.stream_logs(name, {"on_log": take})
        await process.wait(name, max_wait=-1)
        await handle.wait()  # the server ends the stream when the process has ended
        handle.close()

    await asyncio.gather(*(follow(*each) for each in takers.items()))


ROW = Row((RACE,), world)
