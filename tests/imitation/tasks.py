"""A test double of BLACKBOX's task API v1 on a real socket: it plays scripted runs and errs as told.

It knows the protocol's text and nothing of the package. Keys are made up for each server.

    with task_imitation(TaskHabits(replay=False)) as server:
        run = server.add(recorded("01-success", pace=0.01))
        server.fail(TaskFault("drop", path=STREAM, after=300))
        ...  # a client at server.url with server.key
        assert server.count("/status") == 1
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import threading
from collections.abc import Coroutine, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any, TypeVar

from tests.imitation.task_habits import LOGS, STREAM, Seen, TaskFault, TaskHabits
from tests.imitation.task_routes import TaskServer
from tests.imitation.task_scripts import HOLD, Script, invented, recorded, scripted

__all__ = [
    "HOLD",
    "LOGS",
    "STREAM",
    "Script",
    "Seen",
    "TaskFault",
    "TaskHabits",
    "TaskImitation",
    "invented",
    "recorded",
    "scripted",
    "task_imitation",
]

T = TypeVar("T")


class TaskImitation:
    """A running imitation, its controls and what it has seen; usable from any thread."""

    def __init__(self, server: TaskServer, loop: asyncio.AbstractEventLoop) -> None:
        self._server = server
        self._loop = loop
        self.key = server.keys["me"]
        """For ``BLACKBOX_API_KEY``."""
        self.other_key = server.keys["other"]
        """Another user's key: everything of ours is forbidden to it."""

    @property
    def url(self) -> str:
        """For ``BLACKBOX_API_URL``."""
        return self._server.url

    def environment(self, monkeypatch: Any, key: str | None = None) -> None:
        """Let a test's environment point here, with our key or another."""
        monkeypatch.setenv("BLACKBOX_API_URL", self.url)
        monkeypatch.setenv("BLACKBOX_API_KEY", key or self.key)

    def add(self, script: Script, *, play: bool = True) -> str:
        """Add a run and return its id; without ``play`` it begins with the first stream."""
        self._do(self._server.add(script, play=play))
        return script.run_id

    def go_on(self, run_id: str) -> None:
        """Let a held run say its next events, up to the next ``HOLD``."""
        self._do(self._server.runs[run_id].go_on())

    def let_go(self, run_id: str) -> None:
        """Let a held run hold no more."""
        self._loop.call_soon_threadsafe(self._server.runs[run_id].let_go)

    def status(self, run_id: str) -> str:
        """Return a run's status in the canonical words."""
        return self._server.runs[run_id].status

    def fail(self, fault: TaskFault) -> None:
        """Let the next matching requests go wrong; faults are tried in the order given."""
        self._server.faults.append(fault)

    @property
    def faults_left(self) -> int:
        """How many requests are still going to fail."""
        return sum(fault.times for fault in self._server.faults)

    def refuse(self, seconds: float) -> None:
        """Break all connections and refuse new ones for ``seconds``; the runs go on meanwhile."""
        self._do(self._server.hang_up())
        asyncio.run_coroutine_threadsafe(self._server.listen_after(seconds), self._loop)

    @property
    def requests(self) -> list[Seen]:
        """Requests so far, in order; a refused connection is none."""
        return list(self._server.seen)

    def count(self, ending: str) -> int:
        """Return how many requests so far were for a path with this ending."""
        return sum(seen.path.endswith(ending) for seen in self._server.seen)

    @property
    def connections(self) -> int:
        """Client connections that are open now."""
        return len(self._server.connections)

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        done: Future[T] = asyncio.run_coroutine_threadsafe(work, self._loop)
        return done.result(30)


@contextmanager
def task_imitation(habits: TaskHabits | None = None) -> Iterator[TaskImitation]:
    """Run an imitation in a thread until the block ends."""
    keys = {"me": f"sk-{secrets.token_hex(20)}", "other": f"sk-{secrets.token_hex(20)}"}
    ready: Future[TaskImitation] = Future()
    stop = asyncio.Event()

    async def main() -> None:
        server = TaskServer(habits or TaskHabits(), keys)
        await server.listen()
        ready.set_result(TaskImitation(server, asyncio.get_running_loop()))
        try:
            await stop.wait()
        finally:
            with contextlib.suppress(asyncio.CancelledError):
                await server.close()

    thread = threading.Thread(target=asyncio.run, args=(main(),), name="task imitation")
    thread.start()
    running = ready.result(30)
    try:
        yield running
    finally:
        running._loop.call_soon_threadsafe(stop.set)
        thread.join()
