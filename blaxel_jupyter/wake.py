"""Tell a follow when a log file may have grown, without asking more often than it pays.

The log folder's watch wakes while output is sparse, the clock while it is dense or there is no watch.
Only what may have grown is told, never what is in it. Imports folder and process; follow uses it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable

from blaxel_jupyter.folder import Folder
from blaxel_jupyter.process import Stream

DENSE = 0.025
"""Seconds between two reads while output is dense: nobody sees more than 40 changes a second.

Where many follow, each reads less often (``Folder.shared``).
"""


class Wake:
    """Tell which files may have grown: by the watch while output is sparse, else by the clock."""

    SAFETY = 15.0
    """Seconds after which both files are read although the watch was silent: it may be half-open."""

    def __init__(
        self, folder: Folder, name: str, streams: Iterable[Stream], clock: Callable[[], float]
    ) -> None:
        self._folder = folder
        self._all = set(streams)
        self._clock = clock
        self._files = {f"{name}.{stream}.log": stream for stream in self._all}
        self._grown: set[Stream] = set()
        self._event = asyncio.Event()
        self._listens = False
        self._listen_from = clock() + 0.15  # a quick command is over before a watch would pay
        self._poll = 0.0
        self._poll_at = clock()
        self._safety_at = clock() + self.SAFETY
        self._last_data = 0.0
        self._safety_read = False
        folder.enter(self)

    @property
    def _watching(self) -> bool:
        return self._listens and self._folder.watching

    async def wait(self, until: float) -> set[Stream]:
        """Wait until a file may have grown or the clock says ``until``; return the streams to read."""
        now = self._clock()
        if not self._watching:
            await asyncio.sleep(max(0.0, min(self._poll_at, until) - now))
            return set(self._all) if self._clock() >= self._poll_at else set()
        if not self._event.is_set():
            try:
                async with asyncio.timeout(max(0.0, min(until, self._safety_at) - now)):
                    await self._event.wait()
            except TimeoutError:
                pass
        dense = self._last_data + self._folder.shared(DENSE) - self._clock()
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

    def report(self, read: bool, got: bool) -> None:
        """Learn whether anything was read and found, and choose how to wait next."""
        now = self._clock()
        if got and self._safety_read and self._watching:
            self._folder.reopen()  # it did not tell
        if got:
            self._last_data = now
            self._poll = self._folder.shared(DENSE)
        elif read and not self._watching:
            # The server answers a watch with its first event: one that is silent is likely there already.
            slowest = 1.0 if self._listens else 0.2
            self._poll = min(max(self._poll * 1.5, self._folder.shared(0.01)), slowest)
        if read:
            self._poll_at = now + self._poll
        if not got and not self._listens and now >= self._listen_from:
            self._listens = True
            self._folder.listen(self)

    def told(self, name: str | None) -> None:
        """Take the name of a file that has grown; None when any may have, unseen by the watch."""
        if name is None:
            self._grown |= self._all
            self._poll = self._folder.shared(DENSE)
            self._poll_at = self._clock() + self._poll
        elif name in self._files:
            self._grown.add(self._files[name])
        else:
            return
        self._event.set()

    async def aclose(self) -> None:
        """Stop listening; wait until the watch's connection is closed, if nobody else follows."""
        await self._folder.leave(self)
