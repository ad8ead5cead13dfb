"""Watch a log folder once for all follows of a loop, and share out what they may ask the server for.

A watch tells of every file in the folder, so that a watch of each follow's own would cost follows times
files. It tells names, never contents. Imports ending, errors and wire; wake joins it, api owns it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Protocol

import msgspec

from blaxel_jupyter.ending import end
from blaxel_jupyter.errors import BlaxelError
from blaxel_jupyter.wire import LineSplitter

FLOOD = 300
"""Events a second and follow at which the watch costs more than polling (protocol 4.9: 6 MB in one flood)."""

UNDISTURBED = 4
"""Follows that are as quick together as one alone; more of them share what so many ask for."""

Open = Callable[[], AbstractAsyncContextManager[AsyncIterator[bytes]]]


class Member(Protocol):
    """A follow's side of it: told of a file by its name, and of all files when the watch begins or ends."""

    def told(self, name: str | None) -> None: ...  # noqa: D102


class Folder:
    """The log folder of one server, as one event loop sees it; its watch goes on while anybody follows.

    Args:
        open_watch: Opens the watch: the folder's events as bytes.
    """

    def __init__(self, open_watch: Open, clock: Callable[[], float] = time.monotonic) -> None:
        self._open = open_watch
        self._clock = clock
        self._members: set[Member] = set()
        self._listeners: set[Member] = set()
        self._task: asyncio.Task[None] | None = None
        self.watching = False

    def enter(self, member: Member) -> None:
        """Count a follow in."""
        self._members.add(member)

    def listen(self, member: Member) -> None:
        """Tell a follow from now on; opens the watch if nobody did."""
        self._listeners.add(member)
        if self._task is None:
            self._task = asyncio.create_task(self._watch(None))
        elif self.watching:
            member.told(None)

    async def leave(self, member: Member) -> None:
        """Count a follow out; after the last one, wait until the watch's connection is closed."""
        self._members.discard(member)
        self._listeners.discard(member)
        if not self._members and (task := self._stop()) is not None:
            await end(task)

    def reopen(self) -> None:
        """Open another watch at once: this one did not tell what there was."""
        self._task = asyncio.create_task(self._watch(self._stop()))

    def shared(self, seconds: float) -> float:
        """Return how long a follow waits that would wait so long if it were alone."""
        return seconds * max(1.0, len(self._members) / UNDISTURBED)

    def _stop(self) -> asyncio.Task[None] | None:
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
        self.watching = False
        return task

    async def _watch(self, before: asyncio.Task[None] | None) -> None:
        """Watch until nobody follows; what floods or breaks is tried again later and later."""
        hold_off = 2.0
        if before is not None:
            await end(before)
        while True:
            try:
                async with self._open() as chunks:
                    self.watching = True
                    self._tell(None)
                    await self._read(chunks)
            except BlaxelError:
                pass  # there may be no watch: its follows ask by the clock
            self.watching = False
            self._tell(None)
            await asyncio.sleep(hold_off)
            hold_off = min(hold_off * 2, 30.0)

    async def _read(self, chunks: AsyncIterator[bytes]) -> None:
        """Tell the names in a watch's events, until it ends or floods."""
        lines = LineSplitter()
        began, events = self._clock(), 0
        async for chunk in chunks:
            for line in lines.feed(chunk):
                self._tell(_file_name(line))
                events += 1
            if self._clock() - began > 1.0:
                began, events = self._clock(), 0
            if events > FLOOD * len(self._members):
                return

    def _tell(self, name: str | None) -> None:
        for member in tuple(self._listeners):
            member.told(name)


class _FileEvent(msgspec.Struct):
    name: str = ""


_read_event = msgspec.json.Decoder(_FileEvent).decode


def _file_name(line: bytes) -> str:
    """Read the file's name of one watch event; ``""`` for keepalives and anything else."""
    try:
        return _read_event(line).name
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return ""
