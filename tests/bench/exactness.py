"""Ten scenarios of output, from bursts to cut characters: in how many is every line delivered, once?

It takes two minutes, most of them quiet on purpose, and is run when it is named.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import httpx

from tests.bench.commands import SCENARIOS
from tests.bench.followers import (
    RAW,
    Follower,
    Task,
    compare,
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

FOLLOWERS: dict[str, Follower] = {
    "`follow`": ours,
    "SDK `exec(on_log)`": sdk_exec,
    "SDK `stream_logs`": sdk_stream,
}
RACE = Race(
    "exactness",
    "scenarios that were not exact",
    tuple(FOLLOWERS),
    {"of 10": list(SCENARIOS)},
    tiny=["hello", "burst_20k"],
    unit="number",
    shown="wrong",
    together=3,
    most=1,
)


@contextmanager
def world() -> Iterator[Sampler]:
    """Give each run a server of its own, in a process of its own."""
    yield _sample


def _sample(race: Race, contender: str, names: list[str]) -> Sample:
    with imitation(own_process=True) as server:
        return fresh(contend, contender=contender, url=server.url, names=names)


async def contend(contender: str, url: str, names: list[str]) -> Sample:
    """Run all scenarios at once in this process; say of each that is not exact what is wrong."""
    warm(contender)
    meter = Meter()
    verdicts = await asyncio.gather(*(_verdict(FOLLOWERS[contender], url, name) for name in names))
    figures = meter.figures()
    wrong = [
        f"{name}: {said}" for name, said in zip(names, verdicts, strict=True) if said != "exact"
    ]
    return figures | {"wrong": len(wrong), "verdict": "; ".join(wrong) or "exact"}


async def _verdict(follow: Follower, url: str, name: str) -> str:
    lines: list[str] = []
    task = Task(url, name, SCENARIOS[name])
    await asyncio.gather(follow(task, lines.append), _end(task))
    return compare(lines, await _written(task))


async def _end(task: Task) -> None:
    """Tell the follower that it is over, a second after the process's end."""
    async with httpx.AsyncClient(base_url=task.url, trust_env=False) as client:
        await asyncio.sleep(0.5)
        await until_ended(client, task.name, 0.5)
        await asyncio.sleep(1.0)
    task.ended.set()


async def _written(task: Task) -> list[str]:
    lines: list[str] = []
    async with httpx.AsyncClient(trust_env=False) as client:
        for stream in ("stdout", "stderr"):
            answer = await client.get(raw_url(task.url, task.name, stream), headers=RAW)
            whole = answer.content.split(b"\n")
            whole = whole if whole[-1] else whole[:-1]
            lines += [line.decode("utf-8", "replace") for line in whole]
    return lines


ROW = Row((RACE,), world)
