"""Sync to async: one loop thread, results, errors, interrupts, and the user's own running loop."""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Awaitable

import anyio
import pytest

from blaxel_jupyter import bridge


async def who() -> tuple[int, int]:
    """Tell thread and loop."""
    return threading.get_ident(), id(asyncio.get_running_loop())


def test_one_loop_thread() -> None:
    """Every call runs on the same loop, in a thread that is not the caller's."""
    seen = {bridge.call(who) for _ in range(3)}
    other = concurrent.futures.ThreadPoolExecutor(1)
    with other:
        seen.add(other.submit(bridge.call, who).result())
    assert len(seen) == 1
    assert seen.pop()[0] != threading.get_ident()


def test_call_passes_arguments_results_and_errors() -> None:
    """What the function returns or raises is what the caller gets."""

    async def divide(one: int, other: int) -> float:
        await asyncio.sleep(0)
        return one / other

    assert bridge.call(divide, 6, 3) == 2
    with pytest.raises(ZeroDivisionError):
        bridge.call(divide, 1, 0)


def test_timeout_cancels() -> None:
    """A call that takes too long is cancelled, and says so."""
    ended = threading.Event()

    async def forever() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    before = time.monotonic()
    with pytest.raises(TimeoutError, match=r"0\.2"):
        bridge.call(forever, timeout=0.2)
    assert time.monotonic() - before < 5
    assert ended.wait(5)


def test_spawn_goes_on_until_it_is_cancelled() -> None:
    """A spawned function runs by itself; cancelling its future ends it."""
    begun, ended = threading.Event(), threading.Event()

    async def forever() -> None:
        begun.set()
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    future = bridge.spawn(forever)
    assert begun.wait(5)
    assert not future.done()
    future.cancel()
    assert ended.wait(5)
    with pytest.raises(concurrent.futures.CancelledError):
        bridge.wait(future)


def test_many_callers_at_once() -> None:
    """Calls of many threads wait side by side on the one loop."""

    async def echo(value: int) -> int:
        await asyncio.sleep(0.2)
        return value

    before = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        assert list(pool.map(lambda i: bridge.call(echo, i), range(20))) == list(range(20))
    assert time.monotonic() - before < 2


def test_interrupt_ends_the_wait_and_cancels() -> None:
    """Ctrl-C in a waiting call raises at once and cancels what it waited for."""
    ended = threading.Event()

    async def forever() -> None:
        try:
            threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT)).start()
            await asyncio.sleep(60)
        finally:
            ended.set()

    with pytest.raises(KeyboardInterrupt):
        bridge.call(forever)
    assert ended.wait(5)


# run() ----------------------------------------------------------------------------------------------


def test_run_without_a_loop() -> None:
    """In a script it runs on the loop thread; any awaitable will do."""
    assert bridge.run(who()) == bridge.call(who)

    class Wait:
        def __await__(self):  # type: ignore[no-untyped-def]
            yield from asyncio.sleep(0.01).__await__()
            return "waited"

    thing: Awaitable[str] = Wait()
    assert bridge.run(thing) == "waited"


IN_A_LOOP = """
import asyncio, sys
import blaxel_jupyter
assert "nest_asyncio2" not in sys.modules

async def main():
    loop = asyncio.get_running_loop()
    future = loop.create_future()
    async def tick():
        for _ in range(5):
            await asyncio.sleep(0.01)
        future.set_result("of this loop")
    other = loop.create_task(tick())
    print(blaxel_jupyter.run(future), asyncio.get_running_loop() is loop)
    try:
        blaxel_jupyter.run(fail())
    except ZeroDivisionError as error:
        print("raised", error)
    print(await asyncio.sleep(0.01, "still running"))
    await other

async def fail():
    1 / 0

asyncio.run(main())
"""


def test_run_while_the_loop_runs() -> None:
    """Under a running loop it waits on that loop, whose other tasks go on; only then is it patched."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", IN_A_LOOP],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stderr == ""
    assert done.stdout == "of this loop True\nraised division by zero\nstill running\n"


AT_EXIT = """
import asyncio
from blaxel_jupyter import bridge
async def forever():
    try:
        await asyncio.sleep(3600)
    finally:
        print("cancelled", flush=True)
bridge.spawn(forever)
bridge.call(asyncio.sleep, 0.05)
print("end", flush=True)
"""


def test_the_interpreter_ends() -> None:
    """What still runs on the loop thread is cancelled when the interpreter ends: it never hangs."""
    done = subprocess.run(
        [sys.executable, "-c", AT_EXIT], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "end\ncancelled\n"


def test_in_loop() -> None:
    """It tells whether this thread's loop runs."""

    async def ask() -> bool:
        return bridge.in_loop()

    assert not bridge.in_loop()
    assert bridge.call(ask)


# settle() -------------------------------------------------------------------------------------------


def test_settled_what_was_begun_is_returned() -> None:
    """An interrupt that comes too late to cancel loses nothing: the result is there."""
    presses: list[int] = []

    async def begin() -> str:
        with anyio.CancelScope(shield=True):
            presses.append(1)  # it comes in mid-start, and is seen before the end of it
            await asyncio.sleep(4 * bridge.SLICE)
        return "begun"

    assert bridge.settle(begin, lambda: len(presses)) == "begun"


def test_settled_an_interrupt_cancels_and_waits_for_the_cleaning() -> None:
    """It raises when what was cancelled has cleaned up; one that may not be cancelled goes on."""
    presses, cleaned = [], []

    async def begin() -> str:
        presses.append(1)
        try:
            await asyncio.sleep(60)
        finally:
            with anyio.CancelScope(shield=True):
                await asyncio.sleep(2 * bridge.SLICE)
            cleaned.append(True)
        return "never"

    with pytest.raises(KeyboardInterrupt):
        bridge.settle(begin, lambda: len(presses))
    assert cleaned == [True]

    async def short() -> str:
        presses[:] = [1]
        await asyncio.sleep(3 * bridge.SLICE)
        return "done"

    presses.clear()
    assert bridge.settle(short, lambda: len(presses), cancelled=False) == "done"


def test_settled_a_second_interrupt_gives_up() -> None:
    """Then it does not wait for the end, which comes all the same."""
    presses: list[int] = []
    ended = threading.Event()

    async def begin() -> None:
        presses.extend([1, 1])
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    with pytest.raises(KeyboardInterrupt):
        bridge.settle(begin, lambda: len(presses), cancelled=False)
    assert ended.wait(5)
