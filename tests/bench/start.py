"""What it costs to begin, and to wait: the extension, the first cell, and a follow in which nothing happens.

Extension and first cell run in a fresh kernel, measured from outside: seconds until the kernel is idle
again, its CPU and memory. Of a quiet follow CPU and memory are the follower's while it waits; the server
counts requests and bytes from its start.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.bench.commands import LINE_BYTES
from tests.bench.followers import Follower, Task, ours, sdk_stream, warm
from tests.bench.fresh import Meter, Sample, fresh
from tests.bench.races import Race, Row, Sampler
from tests.bench.reconnect import backlog
from tests.imitation import Imitation, imitation
from tests.kernels import Kernel, kernel

EXTENSION, IMPORT = "`%load_ext blaxel_jupyter`", "importing the SDK"
MAGIC, SDK_CELL = "`%load_ext`, `%sandbox use`, `%%sandbox_exec`", "SDK: import, `exec`, `print`"
OURS, STREAM = "`follow`", "SDK `stream_logs`, replayed each 30 s"
FOLLOWERS: dict[str, Follower] = {OURS: ours, STREAM: sdk_stream}

LOAD = Race("start-load", "loading, in a fresh kernel", (EXTENSION, IMPORT), {"no size": 0}, tiny=0)
CELL = Race(
    "start-cell",
    "the same with a first command, all its output shown",
    (MAGIC, SDK_CELL),
    {"1 line": 1, "1,000 lines": 1_000, "100,000 lines": 100_000},
    tiny=1,
)
IDLE = Race(
    "start-idle",
    "62 s of a quiet follow after a backlog: CPU",  # two replays of the SDK's are in it
    (OURS, STREAM),
    {f"{megabytes} MB": megabytes * 1_000_000 // LINE_BYTES for megabytes in (1, 3, 10)},
    tiny=1_000,
    shown="cpu",
    limit=62.0,
    hurry=4.0,
    together=10,
)

CELLS = {
    EXTENSION: ("%load_ext blaxel_jupyter",),
    IMPORT: ("from blaxel.core import SandboxInstance",),
    MAGIC: ("%load_ext blaxel_jupyter\n%sandbox use {url}", "%%sandbox_exec\nseq {lines}"),
    SDK_CELL: (
        "from tests.bench.followers import official\nprocess = official('{url}')",
        "command = {{'command': 'seq {lines}', 'wait_for_completion': True}}\n"
        "done = await process.exec(command)\nprint(done.stdout)",
    ),
}


@contextmanager
def world() -> Iterator[Sampler]:
    """Give each run a server and a kernel, or a follower, of its own."""
    with tempfile.TemporaryDirectory() as folder:

        def sample(race: Race, contender: str, size: int) -> Sample:
            with imitation(own_process=True) as server:
                if race.name == IDLE.name:
                    return _idle(server, contender, size, race.limit)
                with kernel(Path(folder)) as fresh_kernel:
                    return _cells(fresh_kernel, contender, server.url, size)

        yield sample


def _cells(kernel: Kernel, contender: str, url: str, lines: int) -> Sample:
    """Run the contender's cells in a kernel in which nothing was imported."""
    pid = kernel.value("__import__('os').getpid()")
    meter = Meter(pid)
    for cell in CELLS[contender]:
        shown = kernel.run(cell.format(url=url, lines=lines), widgets=True)
        assert shown.error is None, shown.lines
    figures = meter.figures()
    if not lines:
        return figures
    printed = kernel.value("_sandbox.stdout") if contender == MAGIC else shown.stdout[:-1]
    exact = printed == "".join(f"{n}\n" for n in range(1, lines + 1))
    return figures | {"verdict": "exact" if exact else "not what was written"}


def _idle(server: Imitation, contender: str, lines: int, seconds: float) -> Sample:
    backlog(server, "job", lines, f"sleep {seconds + 30:.0f}")
    server.reset()
    options = {"url": server.url, "lines": lines, "seconds": seconds}
    found = fresh(wait, contender=contender, **options)
    while server.connections:  # an answer counts when it has ended
        pass
    requests = sum(server.requests.values())
    return found | {"requests": requests, "megabytes": server.wire_bytes / 1e6}


async def wait(contender: str, url: str, lines: int, seconds: float) -> Sample:
    """Follow in this process until the backlog is here, then measure the wait."""
    warm(contender)
    task = Task(url, "job", "", started=True)
    seen, all_here = 0, asyncio.Event()

    def on_line(_line: str) -> None:
        nonlocal seen
        seen += 1
        if seen == lines:
            all_here.set()

    following = asyncio.ensure_future(FOLLOWERS[contender](task, on_line))
    await all_here.wait()
    meter = Meter()
    await asyncio.sleep(seconds)
    figures = meter.figures()
    task.ended.set()
    following.cancel()
    await asyncio.gather(following, return_exceptions=True)
    return figures | {"verdict": "exact" if seen == lines else f"{seen - lines:+,} lines"}


ROW = Row((LOAD, CELL, IDLE), world)
