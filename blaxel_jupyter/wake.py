"""Tell a follow when a log file may have grown, without asking more often than it pays.

The log folder's watch wakes while output is sparse, the clock while it is dense or there is no watch.
Only what may have grown is told, never what is in it. Imports process, wire and errors; follow uses it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager

import msgspec

from blaxel_jupyter.ending import end
from blaxel_jupyter.errors import BlaxelError
from blaxel_jupyter.process import Stream
from blaxel_jupyter.wire import LineSplitter

DENSE = 0.025
"""Seconds between two reads while output is dense: nobody sees more than 40 changes a second."""

FLOOD = 300
"""Events a second at which the watch costs more than polling (protocol 4.9: 6 MB in one flood)."""


Open = Callable[[], AbstractAsyncContextManager[AsyncIterator[bytes]]]


class Wake:
    """Tell which files may have grown: by the watch while output is sparse, else by the clock."""

    SAFETY = 15.0
    """Seconds after which both files are read although the watch was silent: it may be half-open."""

    def __init__(
        self, watch: Open, name: str, streams: Iterable[Stream], clock: Callable[[], float]
    ) -> None:
        self._open = watch
        self._all = set(streams)
        self._clock = clock
        self._files = {f"{name}.{stream}.log": stream for stream in self._all}
        self._grown: set[Stream] = set()
        self._event = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._watching = False
        self._watch_from = clock() + 0.15  # a quick command is over before a watch would pay
        self._hold_off = 2.0
        self._poll = 0.0
        self._safety_at = clock() + self.SAFETY
        self._last_data = 0.0
        self._safety_read = False

    async def wait(self, until: float) -> set[Stream]:
        """Wait until a file may have grown or the clock says ``until``; return the streams to read."""
        now = self._clock()
        if not self._watching:
            await asyncio.sleep(max(0.0, min(self._poll, until - now)))
            return set(self._all)
        if not self._event.is_set():
            try:
                async with asyncio.timeout(max(0.0, min(until, self._safety_at) - now)):
                    await self._event.wait()
            except TimeoutError:
                pass
        dense = self._last_data + DENSE - self._clock()
        if self._event.is_set() and dense > 0:
            await asyncio.sleep(dense)
        self._event.clear()
        grown, self._grown = self._grown, set()
        self._safety_read = False
        if self._clock() >= self._safety_at:
            self._safety_at = self._clock() + self.SAFETY
            self._safety_read = not grown
            return set(self._all)
        return grown

    def report(self, got: bool) -> None:
        """Learn whether the last read found anything, and choose how to wait next."""
        now = self._clock()
        if got and self._safety_read and self._watching:
            self._stop()  # it did not tell: open another
            self._watch_from = now
        if got:
            self._last_data = now
            self._poll = DENSE
        if got or self._watching:
            return
        # The server answers a watch with its first event: one that is silent is likely there already.
        slowest = 0.2 if self._task is None else 1.0
        self._poll = min(max(self._poll * 1.5, 0.01), slowest)
        if now >= self._watch_from and self._task is None:
            self._task = asyncio.create_task(self._watch())

    async def aclose(self) -> None:
        """End the watch and wait until its connection is closed."""
        task = self._task
        self._stop()
        if task is not None:
            await end(task)

    def _stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
        self._task = None
        self._watching = False

    async def _watch(self) -> None:
        """Read the watch until it floods or breaks; then polling goes on until it is tried again."""
        lines = LineSplitter()
        began, events = self._clock(), 0
        try:
            async with self._open() as chunks:
                self._watching = True
                self._wake(set(self._all))
                async for chunk in chunks:
                    for line in lines.feed(chunk):
                        stream = self._files.get(_file_name(line))
                        if stream:
                            self._wake({stream})
                        events += 1
                    if self._clock() - began > 1.0:
                        began, events = self._clock(), 0
                    if events > FLOOD:
                        break
        except BlaxelError:
            pass  # the reads will tell, if it stays
        if self._task is asyncio.current_task():
            self._watching, self._task = False, None
            self._wake(set(self._all))
            self._watch_from = self._clock() + self._hold_off
            self._hold_off = min(self._hold_off * 2, 30.0)
            self._poll = DENSE

    def _wake(self, streams: set[Stream]) -> None:
        self._grown |= streams
        self._event.set()


class _FileEvent(msgspec.Struct):
    name: str = ""


_read_event = msgspec.json.Decoder(_FileEvent).decode


def _file_name(line: bytes) -> str:
    """Read the file's name of one watch event; ``""`` for keepalives and anything else."""
    try:
        return _read_event(line).name
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""
