"""Let several waiters share one follow: whoever comes first follows, the others wait for it.

A run of either kind is one; it may be awaited on any loop and waited for from synchronous code, which
goes through the bridge, as does what a panel's button asks of it. Knows nothing of what is followed.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Generator
from typing import Any, Self

from blaxel_jupyter import bridge
from blaxel_jupyter.errors import BlaxelError


class Followed(ABC):
    """What can be followed to its end, by one at a time."""

    def __init__(self) -> None:
        self._final = False
        self._broken = False
        self._following: concurrent.futures.Future[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._work: tuple[asyncio.Task[Any], asyncio.AbstractEventLoop] | None = None
        self.left = False  # whether a reader stopped following; what is followed goes on
        self.message: str | None = None  # what became of the last verb, for the panel's header

    @abstractmethod
    async def _follow(self) -> None:
        """Follow to the end, on the running loop; claims and releases."""

    @abstractmethod
    async def _send(self, verb: str) -> str:
        """Carry a verb to what is followed, on the running loop; return what was sent."""

    @property
    def busy(self) -> bool:
        """Whether a follow records in it just now."""
        return self._following is not None

    @property
    def final(self) -> bool:
        """Whether nothing more will come."""
        return self._final

    def wait(self, timeout: float | None = None) -> Self:
        """Wait until it has ended and everything of it is here, or until somebody stops following it.

        Args:
            timeout: seconds; None waits for ever. The run goes on when it is over.

        Raises:
            TimeoutError: it did not end in time.
            FollowError: the server could not be reached for too long; call again to go on.
        """
        if self._loop is not None and bridge.in_loop() and self._loop is asyncio.get_running_loop():
            bridge.run(asyncio.wait_for(self.finish(), timeout))
        else:
            bridge.call(self.finish, timeout=timeout)
        return self

    def __await__(self) -> Generator[Any, None, Self]:
        """Follow to the end."""
        return self.finish().__await__()

    def obey(self, verb: str) -> None:
        """Do what a panel's button asks for, without waiting.

        ``detach`` stops following, ``follow`` goes on with it; ``stop``, ``kill`` and ``cancel`` are sent.
        ``message``, which the panel's header shows, says what becomes of it.
        """

        async def send() -> None:
            try:
                self.message = await self._send(verb)
            except BlaxelError as error:
                self.message = f"{verb} failed: {error}"
            else:
                if self.left:
                    await self._go_on()  # its end is to be seen

        if verb == "detach":
            self.leave()
        elif verb == "follow":
            self.message = None
            self.go_on()
        else:
            self.message = f"sending {verb}"  # a service may answer only when it has had its effect
            bridge.spawn(send)

    def go_on(self) -> None:
        """Follow to the end in the background, unless somebody does already."""
        if not self._final:
            bridge.spawn(self._go_on)

    async def _go_on(self) -> None:
        try:
            await self.finish()
        except BlaxelError as error:
            self.message = str(error)

    def in_background(self, function: Callable[[], Awaitable[object]]) -> None:
        """Start an async function where runs are followed, such as a panel's ``pump``."""
        bridge.spawn(function)

    def leave(self) -> None:
        """Stop following, from any thread: who waits for it returns; what is followed goes on."""
        if self._final or self._work is None:
            return
        work, loop = self._work
        self.left = True
        self.message = self._goes_on()

        def cancel() -> None:
            if self._work is not None and self._work[0] is work:  # still in it
                work.cancel()

        loop.call_soon_threadsafe(cancel)

    @abstractmethod
    def _goes_on(self) -> str:
        """Say that what is not followed any more goes on, and how to end it."""

    def verbs(self, *ends: str) -> list[str]:
        """Return what can be asked now: to leave or to go on, and what ends it."""
        if self._final:
            return []
        if (self.left or self._broken) and self._following is None:
            return ["follow", *ends]
        return ["detach", *ends] if self._work is not None else [*ends]

    async def finish(self) -> Self:
        """Follow to the end, or wait for the follow that is under way, on whatever loop.

        Returns before the end when ``leave`` is called.
        """
        self.left = False
        while not self.left and (not self._final or self._following is not None):
            if self._following is None:
                await self._until_left()
            else:
                await asyncio.shield(asyncio.wrap_future(self._following))
        return self

    async def _until_left(self) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._work = task, asyncio.get_running_loop()
        try:
            await self._follow()
        except asyncio.CancelledError:
            if not self.left or task.uncancel() > 0:  # cancelled by somebody else, too
                raise
        finally:
            self._work = None

    def claim(self) -> concurrent.futures.Future[None]:
        """Take the right to record; whoever else waits for the run waits for the returned future."""
        self._following = concurrent.futures.Future()
        self._loop = asyncio.get_running_loop()
        self._broken = False
        return self._following

    def release(self, error: BlaxelError | None) -> None:
        """Give the right to record back, with the error that ended the follow early."""
        future, self._following, self._loop = self._following, None, None
        self._broken = error is not None
        if future is not None:
            future.set_result(None)
