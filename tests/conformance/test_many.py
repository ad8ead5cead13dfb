"""Many follows at once, against the imitation of the real server: one watch, few requests, every byte."""

from __future__ import annotations

import asyncio

from blaxel_jupyter import SandboxClient
from blaxel_jupyter.folder import UNDISTURBED, Folder
from tests.imitation import Habits, imitation

WATCH = "GET /watch/filesystem/%2Fvar%2Flog%2Fsandbox-api"
TICKS = "for i in $(seq 20); do echo $i; echo e$i >&2; sleep .1; done"


async def test_follows_share_one_watch() -> None:
    """Eight runs at once are exact, and open one watch, not eight."""
    with imitation(Habits(keepalive=0.2)) as server:
        async with SandboxClient(url=server.url) as sandbox:
            runs = await asyncio.gather(*(sandbox.exec(TICKS) for _ in range(8)))
            await asyncio.gather(*(run.finish() for run in runs))
        assert server.requests[WATCH] == 1
    assert all(run.integrity == "complete" for run in runs)
    assert {run.stdout for run in runs} == {"".join(f"{i}\n" for i in range(1, 21))}
    assert {run.stderr for run in runs} == {"".join(f"e{i}\n" for i in range(1, 21))}


async def test_the_watch_ends_with_the_last_follow() -> None:
    """A watch goes on for the follow that is left, and its connection is closed with that."""
    before = asyncio.all_tasks()
    with imitation(Habits(keepalive=0.2)) as server:
        async with SandboxClient(url=server.url) as sandbox:
            short = await sandbox.exec("sleep .6; echo a")
            long = await sandbox.exec("for i in $(seq 30); do echo $i; sleep .1; done")
            await asyncio.gather(short.finish(), long.finish())
            assert asyncio.all_tasks() == before
            again = await sandbox.exec("sleep .6; echo b", wait=True)
        assert server.requests[WATCH] == 2
    assert (short.stdout, again.stdout) == ("a\n", "b\n")
    assert long.logs.column("text")[-1] == "30"


async def test_a_broken_watch_is_opened_again_for_all() -> None:
    """A watch that the server cuts loses nobody a line."""
    with imitation(Habits(cut_after=0.4, keepalive=0.2)) as server:
        async with SandboxClient(url=server.url) as sandbox:
            runs = await asyncio.gather(*(sandbox.exec(f"{TICKS}; {TICKS}") for _ in range(4)))
            await asyncio.gather(*(run.finish() for run in runs))
        assert server.requests[WATCH] > 1
    assert all(run.integrity == "complete" and len(run.logs) == 80 for run in runs)


def test_many_wait_longer() -> None:
    """A few follows are as quick as one; of many, each waits so long that together they ask the same."""

    class Nobody:
        def told(self, name: str | None) -> None: ...

    folder = Folder(lambda: None)  # type: ignore[arg-type, return-value]
    waits = []
    for _ in range(10 * UNDISTURBED):
        folder.enter(Nobody())
        waits.append(folder.shared(0.025))
    assert waits[:UNDISTURBED] == [0.025] * UNDISTURBED
    assert waits[-1] == 0.25
