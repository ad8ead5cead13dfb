"""The runs of an imitated BLACKBOX server: they play their scripts and know what is told of them.

No HTTP here: ``tasks.py`` answers requests from these.
"""

from __future__ import annotations

import asyncio
import contextlib
from datetime import UTC, datetime
from random import Random
from typing import Any

from tests.imitation.task_habits import Source, TaskHabits
from tests.imitation.task_scripts import (
    HOLD,
    TERMINAL,
    Event,
    Script,
    merged,
    parts_of,
    rechunked,
    told_again,
)


class Run:
    """One run: its buffer grows as the script is played."""

    def __init__(self, script: Script, habits: TaskHabits) -> None:
        self.script = script
        self.habits = habits
        self.events: list[Event] = []
        """What the buffer holds now."""
        self.said = False
        """Everything is in the buffer: streams end."""
        self.status = "queued"
        self.title: str | None = None
        self.changed = asyncio.Condition()
        self.created = _now()
        self.started: str | None = None
        self.completed: str | None = None
        self._gate = asyncio.Semaphore(0)
        self._open = False
        self._holding = False
        self._random = Random(habits.rechunk)
        self._player: asyncio.Task[None] | None = None
        if script.ended:
            self.events = self._kept(script.events)
            self.said, self.status = True, script.status
            self.started = self.completed = self.created

    @property
    def over(self) -> bool:
        """Whether the status is a final one."""
        return self.completed is not None

    def play(self) -> None:
        """Begin; does nothing for a run that has begun."""
        if self._player is None and not self.script.ended:
            self._player = asyncio.ensure_future(self._play())

    async def _play(self) -> None:
        self.status, self.started = "running", _now()
        for delay, event in self.script.steps:
            if delay == HOLD:
                await self._wait_at_gate()
            elif delay:
                await asyncio.sleep(delay)
            await self._say(*self._kept([event]))
        await self._end(self.script.status)

    async def _wait_at_gate(self) -> None:
        if self._open:
            return
        async with self.changed:
            self._holding = True
            self.changed.notify_all()
        await self._gate.acquire()

    async def go_on(self) -> None:
        """Let a held run say its next events; return when it holds again or has ended."""
        self.play()
        await self._stands()
        self._holding = False
        self._gate.release()
        await self._stands()

    async def _stands(self) -> None:
        async with self.changed:
            await self.changed.wait_for(lambda: self._holding or self.said)

    def let_go(self) -> None:
        """Hold no more."""
        self._open = True
        self._gate.release()

    async def cancel(self) -> None:
        """End as ``PATCH {"action": "cancel"}`` ends a run."""
        if self.said:
            return
        await self.stop()
        finish = {"type": "finish", "runId": self.script.run_id, "status": "cancelled"}
        await self._say(*self._kept([finish]))
        await self._end("cancelled")

    async def stop(self) -> None:
        """Stop playing, say nothing."""
        if self._player is not None:
            self._player.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._player

    async def _say(self, *events: Event) -> None:
        async with self.changed:
            self.events += events
            self.changed.notify_all()

    async def _end(self, status: str) -> None:
        async with self.changed:
            self.said = True
            self.changed.notify_all()
        await asyncio.sleep(self.habits.status_lag)
        self.status, self.completed = status, _now()
        async with self.changed:
            self.changed.notify_all()

    def _kept(self, events: list[Event]) -> list[Event]:
        if self.habits.terminal == "everywhere":
            return events
        return [event for event in events if event["type"] not in TERMINAL]

    # What is told

    @property
    def source(self) -> Source:
        """What a log is made from at present."""
        return self.habits.after_end if self.over else self.habits.live_source

    @property
    def parts(self) -> list[dict[str, Any]]:
        """The message parts stored so far."""
        script = self.script
        return list(script.parts) if self.said and script.parts else parts_of(self.events)

    def log(self) -> list[Event]:
        """Return the events of a batch log now."""
        if self.source == "reconstructed":
            events = self._reconstructed()
        else:
            finish = self._finish() if self.over and self.habits.terminal == "logs" else []
            events = self.events + finish
            if self.source == "merged":
                events = merged(events)
        return self.recut(events)

    def _reconstructed(self) -> list[Event]:
        if self.script.reconstructed is not None:
            events = list(self.script.reconstructed)
        else:
            events = told_again(self.parts, self.script, self.status)
        if self.habits.terminal == "nowhere" or not self.over:
            events = [event for event in events if event["type"] not in TERMINAL]
        if not self.habits.logs_text:
            events = [event for event in events if event["type"] != "text-delta"]
        return events

    def _finish(self) -> list[Event]:
        return [event for event in self.script.events if event["type"] in TERMINAL]

    def burst(self) -> list[Event]:
        """Return what a stream of a run that is over has to say."""
        events = self.log()
        if self.habits.terminal == "everywhere":
            return events
        return [event for event in events if event["type"] not in TERMINAL]

    def recut(self, events: list[Event]) -> list[Event]:
        """Return the events, their deltas cut in a new way if that is the habit."""
        return events if self.habits.rechunk is None else rechunked(events, self._random)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
