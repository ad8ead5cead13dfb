"""Know what is under way, so that it can be ended together: such as the requests of a client that is closed.

Each call is cancelled where it is and cleans up after itself, which closing its connection from outside does
not ensure. Knows nothing of what the calls do.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

import anyio

T = TypeVar("T")


class EndedError(Exception):
    """A call was ended from outside."""


class UnderWay:
    """The calls of one event loop that have not come to their end."""

    def __init__(self) -> None:
        self._calls: dict[anyio.CancelScope, asyncio.Future[None]] = {}

    async def call(self, awaitable: Awaitable[T]) -> T:
        """Await something until it is over, or until ``end``.

        Raises:
            EndedError: it was ended.
        """
        over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        try:
            with anyio.CancelScope() as scope:
                self._calls[scope] = over
                return await awaitable
        finally:
            del self._calls[scope]
            over.set_result(None)
        raise EndedError

    async def end(self) -> None:
        """End all calls; they are over when it returns."""
        calls = dict(self._calls)
        for scope in calls:
            scope.cancel()
        if calls:
            await asyncio.wait(calls.values())
