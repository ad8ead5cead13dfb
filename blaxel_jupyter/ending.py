"""End tasks that one has started: cancelled, and over when it returns, also where one is being cancelled.

What ``finally`` awaits is cancelled again and again in a scope that was cancelled (on the bridge every
call runs in one), and then the rest of the clean-up would never run. Knows nothing of what the tasks do.
"""

from __future__ import annotations

import asyncio
from typing import Any

import anyio


async def end(*tasks: asyncio.Future[Any]) -> None:
    """Cancel tasks and wait until they have ended, whatever they raise; it is told to nobody."""
    for task in tasks:
        task.cancel()
    with anyio.CancelScope(shield=True):
        await asyncio.gather(*tasks, return_exceptions=True)
