"""Wait until somebody says that there may be more to read. Knows nothing of what is read."""

from __future__ import annotations

import asyncio


class Waiters:
    """Wakes all who wait, at once; each of them then looks for itself."""

    def __init__(self) -> None:
        self._waiting: set[asyncio.Future[None]] = set()

    def wake(self) -> None:
        """Let them look again."""
        for future in self._waiting:
            if not future.done():
                future.set_result(None)
        self._waiting.clear()

    async def woken(self, seconds: float) -> bool:
        """Wait until ``wake``, at most ``seconds``; tell whether it came."""
        future = asyncio.get_running_loop().create_future()
        self._waiting.add(future)
        try:
            async with asyncio.timeout(seconds):
                await future
        except TimeoutError:
            return False
        finally:
            self._waiting.discard(future)
        return True
