"""Following task runs of an imitated BLACKBOX: a fixture, waits, and what a whole run is."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from blaxel_jupyter import TaskClient, TaskRun
from tests.imitation.task_scripts import truth
from tests.imitation.tasks import Script, TaskHabits, TaskImitation, task_imitation

Serve = Callable[[TaskHabits], TaskImitation]
_DELTAS = ("text-delta", "reasoning-delta")


@pytest.fixture
def serve(monkeypatch: pytest.MonkeyPatch) -> Iterator[Serve]:
    """Start an imitation that the environment's BLACKBOX variables point to."""
    with ExitStack() as stack:

        def start(habits: TaskHabits) -> TaskImitation:
            server = stack.enter_context(task_imitation(habits))
            server.environment(monkeypatch)
            return server

        yield start


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let follows wait 2 ms at most before they connect again: hundreds of cuts take seconds."""
    monkeypatch.setattr("blaxel_jupyter.task_follow.SHORT_PAUSE", 0.002)
    monkeypatch.setattr("blaxel_jupyter.task_follow.LONGEST_PAUSE", 0.002)


async def live(server: TaskImitation, script: Script) -> TaskRun:
    """Follow a run that begins when its stream is opened, to its end."""
    run_id = server.add(script, play=False)
    async with TaskClient() as tasks:
        return await ended(tasks.run(run_id))


async def ended(run: TaskRun) -> TaskRun:
    """Follow a run to its end, which comes soon."""
    async with asyncio.timeout(60):
        return await run


def events(run: TaskRun) -> list[dict[str, Any]]:
    """Return the events as they stand in the table."""
    return [json.loads(row["payload"]) for row in run.events]


def others(told: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [event for event in told if event["type"] not in _DELTAS]


def segments(run: TaskRun) -> list[tuple[Any, ...]]:
    names = ("kind", "block_id", "segment", "text")
    return [tuple(row[name] for name in names) for row in run.text_blocks]


def is_whole(run: TaskRun, script: Script) -> None:
    """Assert that a run holds what the script says: text, reasoning, calls and status."""
    assert truth(events(run)) == truth(script.events)
    assert run.text == truth(script.events)["text"]
    assert run.status == script.status
    assert [row["seq"] for row in run.events] == list(range(len(run.events)))


async def seen(server: TaskImitation, ending: str, n: int = 1) -> None:
    """Wait until the server has seen ``n`` requests for a path."""
    async with asyncio.timeout(20):
        while server.count(ending) < n:  # noqa: ASYNC110  # it is in a thread of its own
            await asyncio.sleep(0.005)


async def gone(server: TaskImitation) -> None:
    """Wait until no client is connected."""
    async with asyncio.timeout(5):
        while server.connections:  # noqa: ASYNC110  # it is in a thread of its own
            await asyncio.sleep(0.01)
