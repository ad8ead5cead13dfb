"""Follow a plan's process through its proxy, and compare what arrived with what was written."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from blaxel_jupyter import BlaxelError, SandboxClient, SandboxRun
from tests.faults.plans import Plan, plan
from tests.faults.proxy import proxy

PATIENCE = 120.0
"""Seconds for one plan; a hang costs the client about five."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a plan ended: ``problem`` is empty where the run is exact."""

    seed: int
    problem: str
    integrity: str
    size: int
    faults: list[str]


async def outcome(url: str, seed: int) -> Outcome:
    """Carry out one plan against a server."""
    todo = plan(seed)
    async with proxy(url, todo.faults) as between, SandboxClient(url=between.url) as sandbox:
        integrity = "none"
        try:
            async with asyncio.timeout(PATIENCE):
                run = await sandbox.exec(todo.command, name=f"plan-{seed}")
                await run
            integrity, problem = run.integrity, compared(run, todo)
        except TimeoutError:
            problem = f"not over after {PATIENCE:.0f} s"
        except BlaxelError as error:
            problem = f"{type(error).__name__}: {error}"
        return Outcome(seed, problem, integrity, len(todo.stdout) + len(todo.stderr), between.done)


def compared(run: SandboxRun, todo: Plan) -> str:
    """Say in what a run differs from what its process wrote; nothing where it is exact."""
    rows = run.logs.records()
    if [row["seq"] for row in rows] != list(range(len(rows))):
        return "seq is not the position"
    for stream, data, expected in (
        ("stdout", run.stdout_bytes, todo.stdout),
        ("stderr", run.stderr_bytes, todo.stderr),
    ):
        gaps = [
            row["missing_bytes"] for row in rows if row["stream"] == stream and row["kind"] == "gap"
        ]
        if run.integrity == "gap" and gaps and None not in gaps:
            if len(data) + sum(gaps) != len(expected):
                return f"{stream}: {len(data)} bytes and gaps of {gaps}, of {len(expected)}"
        elif data != expected:
            return f"{stream}: {len(data)} bytes of {len(expected)}, integrity {run.integrity}"
        elif not gaps and _lines(rows, stream) != _split(expected):
            return f"{stream}: the table's lines are not those of the bytes"
    return ""


def _lines(rows: list[dict[str, object]], stream: str) -> list[object]:
    return [row["text"] for row in rows if row["stream"] == stream and row["kind"] == "line"]


def _split(data: bytes) -> list[str]:
    lines = [line.decode("utf-8", "replace") for line in data.split(b"\n")]
    return lines[:-1] if not lines[-1] else lines


async def outcomes(
    url: str,
    seeds: Iterable[int],
    at_once: int,
    tell: Callable[[int, Outcome], object] = lambda done, outcome: None,
) -> list[Outcome]:
    """Carry out plans, several at once; ``tell`` is called after each with how many are done."""
    room = asyncio.Semaphore(at_once)
    found: list[Outcome] = []

    async def one(seed: int) -> None:
        async with room:
            found.append(await outcome(url, seed))
            tell(len(found), found[-1])

    async with asyncio.TaskGroup() as group:
        for seed in seeds:
            group.create_task(one(seed))
    return sorted(found, key=lambda each: each.seed)
