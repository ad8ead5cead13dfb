"""Call back once for each line of a follow, in the background.

Which line goes to whom, and the handle that ends it; the follow itself is the client's.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable

from blaxel_jupyter.ending import end
from blaxel_jupyter.process import LogEntry
from blaxel_jupyter.runs import SandboxRun

Callback = Callable[[str], object]


class LogStream:
    """A follow with callbacks that runs in the background, on the loop that started it."""

    def __init__(self, task: asyncio.Task[SandboxRun]) -> None:
        self._task = task

    async def wait(self) -> SandboxRun | None:
        """Wait until every line was called back; None if it was closed before.

        Raises:
            FollowError: the server could not be reached for too long.
            Exception: whatever a callback raised.
        """
        await asyncio.wait({self._task})
        return None if self._task.cancelled() else self._task.result()

    def close(self) -> None:
        """End it; no callback comes after. The process goes on."""
        self._task.cancel()

    async def __aenter__(self) -> LogStream:
        """Return itself."""
        return self

    async def __aexit__(self, *exc: object) -> None:
        """Close it and wait until it is closed."""
        await end(self._task)


class Callbacks:
    """Call the right callbacks for a line."""

    def __init__(self, log: Callback | None, out: Callback | None, err: Callback | None) -> None:
        self._for = {
            "stdout": [call for call in (log, out) if call],
            "stderr": [call for call in (log, err) if call],
        }
        self.any = any(self._for.values())

    async def __call__(self, entry: LogEntry) -> None:
        """Hand the line to whoever wants its stream, and wait for those that are async."""
        for callback in self._for.get(entry.stream, ()):
            result = callback(entry.text)
            if inspect.isawaitable(result):
                await result
