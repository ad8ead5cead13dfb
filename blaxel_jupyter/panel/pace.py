"""Decide whether a page can take more: how much was pushed to it that it has not told to have.

It knows counts and a clock, and nothing of rows or messages. Imported by the widget.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

WINDOW = 1 << 24
"""Bytes under way to the page at most: about half a second's worth."""

PATIENCE = 2.0
"""Seconds without a word after which a page is given another window.

While a cell runs, some kernels hear nothing of what a page says, and it must get its rows all the same.
"""

LAG = 4.0
"""Seconds that a page may lag behind: a burst gets through in that time, what goes on does not."""


class Pace:
    """Keep account of what is under way to a page.

    A page that was never heard is pushed to without a limit, as is one that no kernel listens to.
    ``heard`` may be called on any thread, the rest on the one that pushes.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._pushed: deque[tuple[int, int]] = deque()
        self._under_way = 0
        self._have = 0
        self._heard: float | None = None
        self._lagging: float | None = None  # since when

    def pushed(self, end: int, size: int) -> None:
        """Take note of ``size`` bytes that bring a page to position ``end``."""
        self._pushed.append((end, size))
        self._under_way += size

    def heard(self, have: int) -> None:
        """Take note that a page has seen what was pushed up to position ``have``."""
        self._have = max(self._have, have)
        self._heard = self._clock()

    def open(self) -> bool:
        """Tell whether more may be pushed."""
        while self._pushed and self._pushed[0][0] <= self._have:
            self._under_way -= self._pushed.popleft()[1]
        if self._heard is None:
            return True
        if self._under_way >= WINDOW and self._clock() - self._heard > PATIENCE:
            self._pushed.clear()
            self._under_way = 0
            self._heard = self._clock()
        is_open = self._under_way < WINDOW
        if not is_open and self._lagging is None:
            self._lagging = self._clock()
        return is_open

    def caught_up(self) -> None:
        """Take note that there is nothing left to push."""
        self._lagging = None

    def behind(self) -> bool:
        """Tell whether a page has lagged for so long that it had better fetch what it shows."""
        return self._lagging is not None and self._clock() - self._lagging > LAG
