"""Give up what takes too long and cannot be told to stop: a regular expression that never ends.

It needs the main thread, where cells run, and a system with alarms; elsewhere there is no limit. The one
clock that pure modules may use.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def patience(seconds: float, error: Exception) -> Iterator[None]:
    """Raise ``error`` in the block when it has taken ``seconds``; an alarm of somebody else's goes on."""
    running = True

    def over(_signal: int, _frame: object) -> None:
        if running:
            raise error

    try:
        handler = signal.signal(signal.SIGALRM, over)
    except (AttributeError, ValueError):  # no alarms here, or not the main thread
        yield
        return
    left, interval = signal.setitimer(signal.ITIMER_REAL, seconds)
    start = time.monotonic()
    try:
        yield
    finally:
        running = False
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
        if left:
            due = max(0.001, left - (time.monotonic() - start))
            signal.setitimer(signal.ITIMER_REAL, due, interval)
