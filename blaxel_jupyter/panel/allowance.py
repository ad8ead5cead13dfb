"""Bound how many requests of pages are served a second: what is beyond costs nothing and is asked again.

It knows counts and a clock, and nothing of what is asked. Imported by the widget.
"""

from __future__ import annotations

import time
from collections.abc import Callable

ANSWERS = 300, 600
"""Pages a second, and at once: several times what a panel asks for, a third of what Jupyter lets through."""

ORDERS = 5, 20
"""The same of stop, kill and the like: each is a request to a server."""


class Allowance:
    """So many a second, and so many at once after a pause.

    Threads may race for the last one: one more or less does no harm.
    """

    def __init__(
        self, rate: float, burst: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._rate = rate
        self._burst = self._left = burst
        self._clock = clock
        self._looked = clock()

    def take(self) -> bool:
        """Tell whether one more may be served now, and count it."""
        now = self._clock()
        self._left = min(self._burst, self._left + (now - self._looked) * self._rate)
        self._looked = now
        if self._left < 1:
            return False
        self._left -= 1
        return True
