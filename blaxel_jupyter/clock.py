"""Tell wall time that never steps: what the clock said at first, and how long it has been since then.

A machine's clock may be set by hours while a process is followed. Times of one run are all from one of
these, so that their order is that of arrival and their differences are durations. Pure: time alone.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime

_SINCE_BOOT = getattr(time, "CLOCK_BOOTTIME", getattr(time, "CLOCK_MONOTONIC", None))
"""Counts a laptop's sleep, too, unlike ``time.monotonic``: where there is none, that is taken."""


class Clock:
    """A clock that goes on from what the machine's said when it was made, whatever that says later."""

    def __init__(self) -> None:
        self._wall = time.time_ns()
        self._steady = _steady()

    def now(self) -> int:
        """Return the time, in UTC microseconds."""
        return (self._wall + _steady() - self._steady) // 1000

    def moment(self) -> datetime:
        """Return the time, aware, UTC."""
        return datetime.fromtimestamp(self.now() / 1e6, UTC)


def _steady() -> int:
    if _SINCE_BOOT is None:
        return time.monotonic_ns()
    return time.clock_gettime_ns(_SINCE_BOOT)
