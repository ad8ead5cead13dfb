"""To stop following a run and to go on with it: on a real local service, with processes that never stop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator

import pytest

from blaxel_jupyter import SandboxClient, bridge
from blaxel_jupyter.runs import SandboxRun
from tests.local_service import until
from tests.notebook_runs import own_folders

TICKS = "i=0; while :; do i=$((i+1)); echo $i; sleep .02; done"
Start = Callable[[], SandboxRun]


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SandboxClient]:
    """A client of a local service with folders of its own."""
    with own_folders(tmp_path_factory.mktemp("following")):
        client = SandboxClient("local")
        yield client
        bridge.call(client.aclose)


@pytest.fixture
def start(sandbox: SandboxClient) -> Iterator[Start]:
    """Return what starts a process that prints numbers for ever; it is killed afterwards."""
    started: list[SandboxRun] = []

    def ticking() -> SandboxRun:
        started.append(bridge.call(sandbox.exec, TICKS))
        return started[-1]

    yield ticking
    for run in started:
        if not run.final:
            run.kill()


def numbers(run: SandboxRun) -> list[int]:
    return [int(text) for text in run.logs.column("text")]


def test_who_waits_returns_and_what_comes_later_is_not_lost(start: Start) -> None:
    """All waiters return, the process goes on, and a follow begun again has every line once."""
    run = start()
    waiters = [threading.Thread(target=run.wait) for _ in range(3)]
    for waiter in waiters:
        waiter.start()
    until(lambda: len(run.logs) > 5)
    assert run.header()["verbs"] == ["detach", "stop", "kill"]
    run.leave()
    for waiter in waiters:
        waiter.join(10)
        assert not waiter.is_alive()
    assert (run.status, run.final, run.busy, run.integrity) == (
        "running",
        False,
        False,
        "following",
    )
    assert run.header()["verbs"] == ["follow", "stop", "kill"]
    assert "still runs" in run.header()["message"]
    n = len(run.logs)
    run.obey("follow")
    until(lambda: len(run.logs) > n + 20)
    run.stop()
    run.wait(20)
    assert numbers(run) == list(range(1, len(run.logs) + 1))
    assert (run.integrity, run.header()["verbs"]) == ("complete", [])


def test_a_stop_without_a_follow_is_followed_to_the_end(start: Start) -> None:
    """The end of a run that nobody followed when it was stopped is seen, with all lines."""
    run = start()
    run.go_on()
    until(lambda: len(run.logs) > 3)
    run.obey("detach")
    until(lambda: not run.busy)
    run.obey("stop")
    until(lambda: run.final, 20)
    assert run.status == "stopped"
    assert numbers(run) == list(range(1, len(run.logs) + 1))


def test_leaving_what_nobody_follows_changes_nothing(start: Start) -> None:
    """Neither before a follow nor while another's iteration goes on does leaving do anything."""
    run = start()
    run.leave()
    assert (run.left, run.header()["verbs"]) == (False, ["stop", "kill"])
    run.go_on()
    until(lambda: len(run.logs) > 3)
    run.leave()
    run.leave()
    until(lambda: not run.busy)


async def test_leaving_cancels_no_more_than_the_follow(
    sandbox: SandboxClient, start: Start
) -> None:
    """Code after the await runs on as ever; a cancellation of the waiting task is still one."""
    run = await asyncio.to_thread(start)
    waiting = asyncio.create_task(_then_sleep(run))
    await asyncio.to_thread(until, lambda: len(run.logs) > 3)
    run.leave()
    assert await waiting == "slept"
    n = len(run.logs)
    waiting = asyncio.create_task(_then_sleep(run))
    await asyncio.to_thread(until, lambda: len(run.logs) > n + 3)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert not run.left
    await sandbox.aclose()


async def _then_sleep(run: SandboxRun) -> str:
    await run
    await asyncio.sleep(0.05)
    return "slept"


def test_both_at_once_is_a_cancellation(start: Start) -> None:
    """A waiter that is cancelled while somebody stops following is cancelled."""
    run = start()
    waiter = bridge.spawn(run.finish)
    until(lambda: len(run.logs) > 3)
    waiter.cancel()
    run.leave()
    until(lambda: not run.busy)
    assert waiter.cancelled()
