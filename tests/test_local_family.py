"""What a command has started is found and ended: also where numbers begin anew, or just when it ends."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

import psutil
import pytest

from blaxel_jupyter.local import family, spawn
from blaxel_jupyter.local.capture import Wakeups
from blaxel_jupyter.local.family import Roots
from blaxel_jupyter.local.processes import Processes


def test_a_child_may_have_a_smaller_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """Numbers begin anew at the kernel's largest: a grandchild may stand before its parents."""
    found = {
        "shell": (9_000_001, 9_000_000),
        "child": (9_000_300, 9_000_001),
        "last": (9, 9_000_300),
    }
    everybody = [
        family._Member(pid, parent, 9_000_001 if name == "shell" else pid, 1)
        for name, (pid, parent) in found.items()
    ]
    monkeypatch.setattr(family, "_everybody", lambda: iter(sorted(everybody)))
    assert family.members(Roots("key", 9_000_001, 9_000_000)) == [9, 9_000_001, 9_000_300]


async def test_killed_just_when_it_has_ended(tmp_path: Path) -> None:
    """What it has left behind is killed, though nobody here has taken note of its end yet."""
    wakeups = Wakeups()
    processes = Processes(tmp_path, wakeups, {})
    process = processes.start("sleep 301 & echo $! > pid; exit 3", name="leaves")
    ending, pid = tmp_path / "state" / f"{process.facts.key}.exit", tmp_path / "work" / "pid"
    deadline = time.monotonic() + 20
    while spawn.read_ending(ending) is None:
        assert time.monotonic() < deadline
        os.sched_yield()  # and nothing that would let the loop see the end
    left = psutil.Process(int(pid.read_text()))
    processes.kill(process)
    while left.is_running() and left.status() != "zombie":
        assert time.monotonic() < deadline
        os.sched_yield()
    async with asyncio.timeout(20):
        await process.final.wait()
    assert (process.facts.status, process.facts.exit_code) == ("failed", 3)
    wakeups.close()
