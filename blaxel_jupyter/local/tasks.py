"""Run agent tasks: queue them, keep what they do, stop them, and tell their logs.

While a run goes on, its live buffer answers; when it has ended, the database does, also after a restart
of the service (protocol 3.5). Knows no HTTP; the agents are in ``agent`` and ``replay``.
"""

from __future__ import annotations

import asyncio
import secrets
import uuid
from collections import deque
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from blaxel_jupyter.clock import Clock
from blaxel_jupyter.local.agent import LocalAgent, step_prefix
from blaxel_jupyter.local.live_run import (
    BLOCK,
    MAX_BYTES,
    MAX_EVENTS,
    Encoded,
    LiveRun,
    Outcome,
    Place,
    Source,
    encode,
)
from blaxel_jupyter.local.refusals import NotRunningError
from blaxel_jupyter.local.replay import Recording, Replay
from blaxel_jupyter.local.sandboxes import DEFAULT, Sandboxes
from blaxel_jupyter.local.task_store import INTERRUPTED, Message, Run, StoreError, TaskStore
from blaxel_jupyter.parts import Event, each_event

MOST_RUNNING = 8
"""Runs that go on at once; others wait as ``queued``."""
KEEPALIVE = 15.0
"""Seconds of silence after which a stream's reader is told that all is well."""
SAVE_TEXT = 0.5
"""Seconds that new text waits to be saved: what a crash may lose."""
SAVE_CALL = 0.02
"""Seconds that a replayed call's beginning or end waits, so that a burst of them is one transaction."""
STOPPING = 6.0
"""Seconds that a cancel waits for the run's end: longer than a step has from SIGTERM to its death."""
BURST = 500
"""Stored events that are encoded before others get a turn."""


@dataclass(frozen=True, slots=True)
class Replayed:
    """What a run of the agent ``replay`` sends, and how many times as fast as recorded (0: at once)."""

    recording: Recording
    speed: float


@dataclass(frozen=True, slots=True)
class Asked:
    """What a client asks for: a prompt for the local agent, or a recording to replay."""

    prompt: str
    model: str | None = None
    agent: str | None = None
    github: dict[str, Any] | None = None
    replay: Replayed | None = None


class Tasks:
    """All agent runs of one state folder; steps run in its sandbox ``local``.

    Runs that an earlier service left unfinished become ``interrupted``, and what still runs of their
    steps is killed.
    """

    def __init__(
        self,
        folder: Path,
        sandboxes: Sandboxes,
        *,
        max_events: int = MAX_EVENTS,
        max_bytes: int = MAX_BYTES,
    ) -> None:
        self._sandboxes = sandboxes
        self._limits = {"max_events": max_events, "max_bytes": max_bytes}
        self._live: dict[str, LiveRun] = {}
        self._queue: deque[tuple[LiveRun, Asked]] = deque()
        self._running = 0
        self._moving: asyncio.Future[None] | None = None
        self._store = TaskStore(folder)
        self._kill_steps(self._store.interrupt())

    def _kill_steps(self, run_ids: list[str]) -> None:
        """Kill the steps that outlived their service; the sandbox's table knows their identity."""
        prefixes = tuple(map(step_prefix, run_ids))
        if not prefixes or DEFAULT not in self._sandboxes:
            return
        table = self._sandboxes.processes(DEFAULT)
        for process in table:
            if process.facts.name.startswith(prefixes):
                with suppress(NotRunningError):
                    table.kill(process)

    @property
    def busy(self) -> bool:
        """Whether any run is queued or running, or ended but not saved."""
        return any(live.run.active or not live.saved for live in self._live.values())

    def create(self, user: str, asked: Asked, chat_id: str | None = None) -> Run:
        """Save and queue a new run, of a new chat or of an existing one.

        Raises:
            StoreError: it cannot be saved; it does not run then.
        """
        clock = Clock()
        run = Run(
            run_id=str(uuid.uuid4()),
            user=user,
            chat_id=chat_id or str(uuid.uuid4()),
            message_id=_message_id(),
            created=clock.now() // 1000,
            model=asked.model,
            agent=asked.agent,
            github=asked.github,
        )
        self._store.create(run, asked.prompt, _message_id())
        live = LiveRun(run, clock=clock, **self._limits)
        self._live[run.run_id] = live
        self._queue.append((live, asked))
        self._start_next()
        return run

    def _start_next(self) -> None:
        while self._queue and self._running < MOST_RUNNING:
            live, asked = self._queue.popleft()
            live.run.status, live.run.started = "running", live.now()
            self._running += 1
            live.task = asyncio.ensure_future(self._agent(live, asked).work())
            live.task.add_done_callback(partial(self._worked, live))
            self._save(live)

    def _agent(self, live: LiveRun, asked: Asked) -> LocalAgent | Replay:
        def emit(event: Event) -> None:
            self._emit(live, event, at_once=asked.replay is None)

        if asked.replay is not None:
            return Replay(live.run, asked.replay.recording, asked.replay.speed, emit)
        return LocalAgent(live.run, asked.prompt, self._sandboxes, emit)

    def _emit(self, live: LiveRun, event: Event, *, at_once: bool) -> None:
        """Take an event; a call of the agent's own is saved before any reader can hear of it."""
        if live.emit(event) is None:
            return
        call = event["type"].startswith("tool-") and event.get("preliminary") is not True
        if call and at_once and event["type"] != "tool-call-start":  # its input follows at once
            self._save(live)
        else:
            self._save_soon(live, SAVE_CALL if call else SAVE_TEXT)

    def _save_soon(self, live: LiveRun, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        if live.save_at is not None:
            if live.save_at.when() <= loop.time() + seconds:
                return
            live.save_at.cancel()
        live.save_at = loop.call_later(seconds, self._save, live)

    def _save(self, live: LiveRun) -> None:
        """Save what has changed; if that cannot be now, all stays in memory and is tried again."""
        if live.save_at is not None:
            live.save_at.cancel()
            live.save_at = None
        changes = live.take_changes()
        try:
            self._store.save(live.run, changes)
            live.saved = True
            self._checkpoint()
        except StoreError:
            live.give_back(changes)
            live.saved = False
            self._save_soon(live, SAVE_TEXT)
        self._release(live)

    def _checkpoint(self) -> None:
        """Have the journal moved into the database now and then, where nobody waits for the disk."""
        if self._store.checkpoint_due and (self._moving is None or self._moving.done()):
            self._moving = asyncio.ensure_future(asyncio.to_thread(self._store.checkpoint()))

    def _release(self, live: LiveRun) -> None:
        """Forget an ended run's buffer as soon as it is saved and nobody reads it."""
        if live.ended.is_set() and live.saved and not live.readers:
            self._live.pop(live.run.run_id, None)

    def _worked(self, live: LiveRun, task: asyncio.Task[Outcome]) -> None:
        """Take note of how an agent's work came to its end."""
        self._running -= 1
        if task.cancelled():
            outcome = _stopped(live)
        elif (problem := task.exception()) is not None:
            text = f"The local agent broke down: {problem}"
            outcome = Outcome("failed", text, {"type": "error", "errorText": text})
            if not isinstance(problem, OSError):
                task.get_loop().call_exception_handler({"message": text, "exception": problem})
        else:
            outcome = task.result()
        self._end(live, outcome)
        self._start_next()

    def _end(self, live: LiveRun, outcome: Outcome) -> None:
        run = live.run
        run.status, run.error, run.completed = outcome.status, outcome.error, live.now()
        if outcome.event is not None:
            live.emit(outcome.event)
        if outcome.status != "interrupted":
            live.parts.close()
        live.ended.set()
        live.waiters.wake()
        self._save(live)

    async def stop(self, run_id: str) -> None:
        """Cancel a run if it is queued or running; return when it has ended."""
        live = self._live.get(run_id)
        if live is not None and live.run.active:
            await self._stop(live, "cancelled")

    async def _stop(self, live: LiveRun, why: Literal["cancelled", "interrupted"]) -> None:
        if live.stopped is None:
            live.stopped = why
            if live.task is not None:
                live.task.cancel()
            else:
                self._queue = deque(each for each in self._queue if each[0] is not live)
                self._end(live, _stopped(live))
        with suppress(TimeoutError):
            async with asyncio.timeout(STOPPING):
                await live.ended.wait()

    async def close(self) -> None:
        """Interrupt what is queued or runs, save it, and close the database."""
        self._queue, waiting = deque(), self._queue
        for live, _ in waiting:
            live.stopped = "interrupted"
            self._end(live, _stopped(live))
        active = [live for live in self._live.values() if live.run.active]
        await asyncio.gather(*(self._stop(live, "interrupted") for live in active))
        for live in self._live.values():
            if live.save_at is not None:
                live.save_at.cancel()
        if self._moving is not None:
            await self._moving
        self._store.close()

    def find(self, run_id: str) -> Run | None:
        """Return a run's facts as they are now; None if there is no such run.

        Raises:
            StoreError: the database cannot be read.
        """
        live = self._live.get(run_id)
        return live.run if live is not None else self._store.find(run_id)

    def page(self, user: str, status: str | None, skip: int, limit: int) -> list[Run]:
        """Return a user's runs, newest first."""
        found = self._store.page(user, status, skip, limit)
        return [live.run if (live := self._live.get(run.run_id)) else run for run in found]

    def active_on(self, chat_id: str) -> bool:
        """Whether any run of a chat is queued or running."""
        return any(live.run.active for live in self._live.values() if live.run.chat_id == chat_id)

    def thread(self, chat_id: str) -> list[Message]:
        """Return a chat's messages, oldest first; of a live run all that it has said so far."""
        messages = self._store.thread(chat_id)
        live = {each.run.message_id: each for each in self._live.values()}
        for message in messages:
            if message.id in live:
                message.parts = live[message.id].parts.parts
        return messages

    def memory(self, run_id: str) -> dict[str, Any] | None:
        """Return the facts about a run's buffer; None if it has none any more."""
        live = self._live.get(run_id)
        return live.facts() if live is not None else None

    def title(self, chat_id: str) -> str | None:
        """Return a chat's title; None if it was given none."""
        return self._store.title(chat_id)

    def rename(self, chat_id: str, title: str) -> None:
        """Give a chat a title."""
        self._store.rename(chat_id, title)

    async def log(self, run: Run) -> tuple[Source, list[Encoded]]:
        """Return a run's events and where they came from.

        ``buffer``: the run goes on. ``merged``: it goes on and the buffer had to drop its beginning, or
        it has ended and the database lacks what the buffer has. ``reconstructed``: all else.
        """
        live = self._live.get(run.run_id)
        if live is not None and live.run.active:
            return live.source, live.events()
        if live is not None and not live.saved:
            return "merged", live.events()
        found: list[Encoded] = []
        async for block in self._stored(run):
            found += block
        return "reconstructed", found

    async def _stored(self, run: Run) -> AsyncIterator[list[Encoded]]:
        """Rebuild an ended run's events, some at a time; an interrupted one never had a last event."""
        found: list[Encoded] = []
        size = 0
        for event in each_event(run.message_id, self._store.each_part(run.message_id)):
            found.append(encode(event))
            size += len(found[-1].data)
            if size >= BLOCK or len(found) >= BURST:
                yield found
                found, size = [], 0
                await asyncio.sleep(0)
        if not run.active and run.status != "interrupted":
            found.append(encode({"type": "finish", "runId": run.run_id, "status": run.status}))
        if found:
            yield found

    async def stream(self, run: Run) -> AsyncIterator[list[Encoded]]:
        """Yield a run's events from its first to its last as they come; ``[]`` after long silence.

        A run whose buffer is gone comes as it is stored, in one burst.
        """
        live = self._live.get(run.run_id)
        if live is None:
            async for block in self._stored(run):
                yield block
            return
        place = Place()
        live.readers += 1
        try:
            while True:
                if found := live.read(place):
                    yield found
                elif live.ended.is_set():
                    return
                elif not await live.waiters.woken(KEEPALIVE):
                    yield []
        finally:
            live.readers -= 1
            self._release(live)


def _stopped(live: LiveRun) -> Outcome:
    if live.stopped == "cancelled":
        finish = {"type": "finish", "runId": live.run.run_id, "status": "cancelled"}
        return Outcome("cancelled", None, finish)
    return Outcome("interrupted", INTERRUPTED, None)


def _message_id() -> str:
    return f"msg_{secrets.token_hex(6)}"
