"""Repeat a read that failed, and read when a server wants to be asked again.

The only repetition under a follow: what may be repeated is its caller's to say, and clock and sleep are
parameters. Imports errors only; the clients' routes use it.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections.abc import Awaitable, Callable
from email.utils import parsedate_to_datetime
from typing import Any

from blaxel_jupyter.errors import (
    BlaxelError,
    ProtocolError,
    StatusError,
    TransportError,
    is_passing,
)

LONGEST = 60.0
"""Seconds that are waited at most, whatever a server asks for."""


async def retried(
    attempt: Callable[[], Awaitable[Any]],
    *,
    patience: float,
    may_pass: Callable[[BlaxelError], bool] = is_passing,
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    clock: Callable[[], float] = time.monotonic,
) -> Any:
    """Repeat a read until it succeeds, fails for good, or ``patience`` seconds have passed.

    Only for requests that change nothing, or where ``may_pass`` knows that nothing was changed. Delays
    double from 0.1 to 5 s with jitter, or are what the server asked for with Retry-After.
    """
    deadline = clock() + patience
    delay = 0.1
    while True:
        try:
            return await attempt()
        except (ProtocolError, StatusError, TransportError) as error:
            asked = error.retry_after if isinstance(error, StatusError) else 0.0
            wait = max(delay * random.uniform(0.7, 1.3), asked)
            if not may_pass(error) or clock() + wait > deadline:
                raise
        await sleep(wait)
        delay = min(delay * 2, 5.0)


def seconds(value: str | None, date: str | None, now: float) -> float:
    """Return for how many seconds to wait, between 0 and ``LONGEST``; 0 where nothing readable is said.

    A date is measured by the server's own clock where it tells that: ours may be wrong.

    Args:
        value: the Retry-After header, a number of seconds or a date.
        date: the Date header of the same answer.
        now: our time, in seconds since 1970, where the server does not tell its own.
    """
    wait = _number(value)
    if wait is None:
        until = _time(value)
        start = _time(date)
        wait = 0.0 if until is None else until - (now if start is None else start)
    return min(max(wait, 0.0), LONGEST)


def _number(value: str | None) -> float | None:
    try:
        number = float(value or "0")
    except ValueError:
        return None
    return number if math.isfinite(number) else 0.0


def _time(value: str | None) -> float | None:
    try:
        return parsedate_to_datetime(value or "").timestamp()
    except (ValueError, OverflowError):
        return None
