"""Keep strangers from holding the service up: connections that ask nothing, or take nothing, go.

Anybody on the machine can connect, and only a whole request shows who it is. So few connections may be
without one, each for some seconds; and what waits to be taken by slow readers is bounded altogether.
Knows no token and no route: it is the server's protocol, with limits.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any, cast

from uvicorn.protocols.http.h11_impl import H11Protocol

MOST_WAITING = 256
"""Connections that have not sent the head of a request; one more, and the oldest goes."""
HEAD = 10.0
"""Seconds that the head of a request may take to come."""
MOST_UNTAKEN = 256 * 1024 * 1024
"""Bytes of answers that wait for slow readers, all together; beyond, the one that waits longest goes."""
STALLED = 300.0
"""Seconds in which a reader takes nothing at all after which it is given up; clients resume."""


class Door:
    """The connections of one server that are waited for, oldest first."""

    def __init__(self) -> None:
        self.silent: dict[Visitor, None] = {}
        """Those whose request has not come."""
        self.slow: dict[Visitor, None] = {}
        """Those that do not take their answer as fast as it is there."""

    def protocol(self) -> type[asyncio.Protocol]:
        """Return what makes a connection's protocol, for the server's configuration."""
        return cast(type[asyncio.Protocol], partial(Visitor, self))

    def relieve(self) -> None:
        """Part with the oldest where there are too many, or too much."""
        while len(self.silent) > MOST_WAITING:
            next(iter(self.silent)).leave()
        while len(self.slow) > 1 and sum(each.untaken for each in self.slow) > MOST_UNTAKEN:
            next(iter(self.slow)).leave()


class Visitor(H11Protocol):
    """One connection."""

    def __init__(self, door: Door, **given: Any) -> None:
        super().__init__(**given)
        self._door = door
        self._due: asyncio.TimerHandle | None = None

    @property
    def untaken(self) -> int:
        """Bytes of answers that wait to be taken."""
        return self.transport.get_write_buffer_size()

    def leave(self) -> None:
        """Close the connection now, whatever is unsent."""
        self._forget()
        self.transport.abort()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for a request."""
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget it."""
        self._forget()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take what came; what is not a whole head makes nothing longer."""
        super().data_received(data)
        if self in self._door.slow:
            return
        asked = self.cycle is not None and not self.cycle.response_complete
        if asked:
            self._forget()
        elif self._due is None and not self.transport.is_closing():
            self._await_head()

    def pause_writing(self) -> None:
        """Note that the reader is slow."""
        super().pause_writing()
        self._forget()
        self._door.slow[self] = None
        self._watch(self.untaken)
        self._door.relieve()

    def resume_writing(self) -> None:
        """Note that it is not."""
        super().resume_writing()
        self._forget()

    def _await_head(self) -> None:
        self._door.silent[self] = None
        self._due = self.loop.call_later(HEAD, self.leave)
        self._door.relieve()

    def _watch(self, untaken: int) -> None:
        self._due = self.loop.call_later(STALLED, self._look, untaken)

    def _look(self, former: int) -> None:
        """Give up on a reader that took nothing since the last look."""
        if self.untaken < former:
            self._watch(self.untaken)
        else:
            self.leave()

    def _forget(self) -> None:
        if self._due is not None:
            self._due.cancel()
            self._due = None
        self._door.silent.pop(self, None)
        self._door.slow.pop(self, None)
