"""Run async code from synchronous code: one loop thread of our own, and ``run()`` for the user's loop.

The only module that touches threads or nested loops. magics, run and local use it; nothing here knows
what it runs.
"""

from __future__ import annotations

import asyncio
import atexit
import concurrent.futures
import contextlib
import math
import threading
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

import anyio
from anyio.from_thread import BlockingPortal, start_blocking_portal

T = TypeVar("T")

SLICE = 0.1
"""Seconds between two looks at a waiting result: a lock wait may not be interruptible everywhere."""

GRACE = 5.0
"""Seconds that what must not be lost may go on after an interrupt, before it is given up."""

_lock = threading.Lock()
_stack = contextlib.ExitStack()
_portal: BlockingPortal | None = None


def portal() -> BlockingPortal:
    """Return the portal of the loop thread, started at the first use and ended with the interpreter."""
    global _portal
    with _lock:
        if _portal is None:
            _portal = _stack.enter_context(start_blocking_portal("asyncio"))
            atexit.register(_close)
        return _portal


def spawn(function: Callable[..., Awaitable[T]], *args: object) -> concurrent.futures.Future[T]:
    """Start an async function on the loop thread; cancelling the future cancels it."""
    return portal().start_task_soon(function, *args)


def call(function: Callable[..., Awaitable[T]], *args: object, timeout: float | None = None) -> T:
    """Run an async function on the loop thread and wait for its result.

    An interrupt (KeyboardInterrupt) cancels the function and goes on.

    Raises:
        TimeoutError: ``timeout`` seconds passed; the function is cancelled.
    """
    return wait(spawn(function, *args), timeout=timeout)


def wait(future: concurrent.futures.Future[T], *, timeout: float | None = None) -> T:
    """Wait for a future in interruptible slices; cancel it when the wait ends early."""
    slices = None if timeout is None else max(1, round(timeout / SLICE))
    try:
        while not future.done():
            concurrent.futures.wait([future], timeout=SLICE)
            if slices is not None:
                slices -= 1
                if slices <= 0 and not future.done():
                    raise TimeoutError(f"not finished after {timeout:g} s")
        return future.result()
    finally:
        if not future.done():
            future.cancel()


def settle(
    function: Callable[..., Awaitable[T]], pressed: Callable[[], int], *, cancelled: bool = True
) -> T:
    """Run an async function and wait for its result, also where interrupts come: they are only counted.

    Nothing of it is lost: the first interrupt cancels it (unless ``cancelled`` is False: then it has
    ``GRACE`` seconds to end), and what it has ended with is still returned. A second one gives it up.

    Args:
        function: what to run.
        pressed: tells how many interrupts there were so far.
        cancelled: whether the first one cancels it.

    Raises:
        KeyboardInterrupt: it was cancelled and has cleaned up, or was given up.
    """
    scopes: list[anyio.CancelScope] = []

    async def work() -> list[T]:
        with anyio.CancelScope() as scope:
            scopes.append(scope)
            return [await function()]
        return []

    def cancel() -> None:
        for scope in scopes:
            scope.cancel()

    future = spawn(work)
    told = 0
    until = math.inf
    try:
        while not future.done() and time.monotonic() < until:
            concurrent.futures.wait([future], timeout=SLICE)
            if pressed() > 1:
                break
            if pressed() > told and scopes:
                told = pressed()
                if cancelled:
                    portal().start_task_soon(cancel)
                else:
                    until = time.monotonic() + GRACE
        if not future.done():
            raise KeyboardInterrupt
        for result in future.result():
            return result
        raise KeyboardInterrupt
    finally:
        if not future.done():
            future.cancel()


def run(awaitable: Awaitable[T]) -> T:
    """Wait for an awaitable from synchronous code, also in a notebook cell whose loop is running.

    In a thread whose loop runs (a plain notebook cell) the loop is re-entered with nest-asyncio2, so
    that objects bound to it work; elsewhere the awaitable runs on our loop thread.
    """

    async def result() -> T:
        return await awaitable

    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return call(result)
    import nest_asyncio2  # patches the loop: only when a user asks for it

    nest_asyncio2.apply(loop)
    return loop.run_until_complete(result())


def in_loop() -> bool:
    """Tell whether an event loop runs in this thread."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


def _close() -> None:
    global _portal
    with _lock:
        current, _portal = _portal, None
    if current is not None:
        with contextlib.suppress(RuntimeError):
            current.call(current.stop, True)
        _stack.close()
