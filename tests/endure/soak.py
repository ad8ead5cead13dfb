"""Follow a process that writes 2,000 lines a second through a network that breaks every 20 s, for hours.

The service, the proxy and the client are three processes: what is measured is the client's alone.
"""

from __future__ import annotations

import asyncio
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.endure.soak_client import Figures
from tests.faults.answers import PASSING
from tests.faults.plans import Fault
from tests.faults.proxy import Proxy, proxy
from tests.local_service import LocalService

RATE = 2000
"""Lines a second."""

CUT = 20.0
"""Seconds from one cut to the next."""


def main(hours: float, *, rate: int = RATE, every: float = CUT, tell: float = 60.0) -> int:
    """Soak for some hours; print a line a minute and the verdict; return 1 if anything was wrong."""
    with tempfile.TemporaryDirectory() as folder:
        service = LocalService(Path(folder)).start()
        try:
            figures = asyncio.run(soak(service, hours * 3600, rate, every, tell))
        finally:
            service.end()
    print(figures.verdict(), flush=True)
    return 0 if not figures.problems() else 1


async def soak(
    service: LocalService, seconds: float, rate: int, every: float, tell: float
) -> Figures:
    """Run proxy and client until the process has written for ``seconds``; return what was measured."""
    key = str(service.facts["token"])
    async with proxy(service.url, []) as between:
        between.starts = 1  # it knows a start by its path, which is another one here
        client = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "tests.endure.soak_client", f"{between.url}/sandboxes/local"),
            *(str(seconds), str(rate), str(tell)),
            env=service.environment(BL_API_KEY=key, BL_WORKSPACE="local"),
            stdout=subprocess.PIPE,
        )
        breaking = asyncio.create_task(_break(between, every))
        assert client.stdout is not None
        figures = Figures(cuts=0)
        try:
            async for line in client.stdout:
                if not figures.take(line.decode()):
                    print(f"{line.decode().rstrip()}  {len(between.done):>5} faults", flush=True)
            figures.code = await client.wait()
        finally:
            breaking.cancel()
            await asyncio.gather(breaking, return_exceptions=True)
            if client.returncode is None:
                client.kill()
                await client.wait()
        figures.cuts = len(between.done)
        return figures


async def _break(between: Proxy, every: float) -> None:
    """End every connection, again and again, and let the next requests go wrong each time in another way."""
    dice = random.Random("soak")
    while True:
        await asyncio.sleep(every)
        await between.drop()
        between.done.append(f"drop at {time.monotonic():.0f}")
        kind = dice.choice(["cut", "reset", "shorter", "twice", "answer", "away", "slow"])
        after = dice.choice([0, 100, 1000, 30_000])
        if kind == "answer":
            between.add(Fault("answer", 0, answer=dice.choice(PASSING)))
        else:
            seconds = {"away": 1.0, "slow": 0.005}.get(kind, 0.0)
            between.add(Fault(kind, 0, after, seconds=seconds))  # type: ignore[arg-type]
