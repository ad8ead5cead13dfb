"""Follow a run and a task while the machine's clock is set by hours, again and again; print what came of it.

A program of its own, whose wall clock a file sets; what it prints is JSON.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from blaxel_jupyter import SandboxClient, TaskClient

COMMAND = "for i in $(seq 1 40); do echo line $i; sleep 0.05; done"
PROMPT = "\n".join(["Begin.", *["$ sleep 0.2; echo done"] * 6, "End."])
STEPS = (0, 36_000, -36_000, 7_200, -90_000)
"""Seconds by which the clock is off, one after the other."""


async def setting(path: str) -> None:
    """Set the clock, ten times a second."""
    for by in itertools.cycle(STEPS):
        draft = Path(f"{path}.new")
        draft.write_text(str(by))  # noqa: ASYNC240  # a few bytes
        draft.replace(path)  # noqa: ASYNC240
        await asyncio.sleep(0.1)


async def main() -> dict[str, Any]:
    """Do all of it at the same time; return the facts."""
    async with SandboxClient("local") as sandbox, TaskClient("local") as tasks:
        changing = asyncio.create_task(setting(os.environ["SET_CLOCK_FILE"]))
        began, wall = time.monotonic(), time.time()
        run = await sandbox.exec(COMMAND)
        late = await sandbox.exec("sleep 60", timeout=2)
        task = await tasks.create(PROMPT)
        await asyncio.gather(run, late, task)
        changing.cancel()
    seconds = time.monotonic() - began
    assert run.started is not None
    assert run.ended is not None
    calls = task.tool_calls
    return {
        "seconds": seconds,
        "stdout": run.stdout,
        "integrity": [run.integrity, late.integrity],
        "status": [run.status, late.status, task.status],
        "timed_out": late.timed_out,
        "lasted": (run.ended - run.started).total_seconds(),
        "off": run.started.timestamp() - wall,
        "received": list(run.logs.column("received")),
        "events": [at for at in task.events.column("received") if at is not None],
        "durations": list(calls.column("duration_ms")),
        "run_lasted": task.summary.records()[0].get("duration_ms"),
    }


if __name__ == "__main__":
    json.dump(asyncio.run(main()), sys.stdout)
