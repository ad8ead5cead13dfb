"""Run a function in a fresh interpreter and measure there what it costs.

What it imports before it begins to measure is not counted: a contender warms up first. Memory is the peak
of resident memory above what was resident then. Linux only.
"""

from __future__ import annotations

import asyncio
import gc
import importlib
import inspect
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil

ROOT = Path(__file__).parents[2]

Sample = dict[str, Any]
"""What one run of a contender found: ``seconds`` (None: not in time), ``cpu`` (seconds), ``peak`` (MB) …"""


def fresh(function: Callable[..., Any], **options: Any) -> Sample:
    """Call a function of a module, plain or async, in an interpreter of its own; tell a failure as one."""
    order = [function.__module__, function.__name__, json.dumps(options)]
    command = [sys.executable, "-m", "tests.bench.fresh", *order]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, check=False)
    if done.returncode:
        print(done.stderr.decode(), file=sys.stderr)
        return {"seconds": None, "verdict": "failed: see what it said on stderr"}
    found: Sample = json.loads(done.stdout.splitlines()[-1])
    return found


class Meter:
    """Measure a process from now on: seconds, CPU seconds (user and system), peak memory above now's.

    Args:
        pid: Which; this one unless told.
        resident: MB that count as nothing, if not what is resident now.
    """

    def __init__(self, pid: int | None = None, resident: float | None = None) -> None:
        gc.collect()
        self._process = psutil.Process(pid)
        clear = Path(f"/proc/{self._process.pid}/clear_refs")
        clear.write_text("5")  # the system forgets the peak so far
        now = memory("VmRSS", self._process.pid)
        self._resident = now if resident is None else resident
        self._cpu = self._worked()
        self._began = time.perf_counter()

    def figures(self) -> Sample:
        """Return what was spent since the start."""
        return {
            "seconds": time.perf_counter() - self._began,
            "cpu": self._worked() - self._cpu,
            "peak": memory("VmHWM", self._process.pid) - self._resident,
        }

    def _worked(self) -> float:
        if self._process.pid == os.getpid():
            return time.process_time()  # exact to the microsecond, others' to a hundredth
        times = self._process.cpu_times()
        return times.user + times.system


def memory(member: str, process: int) -> float:
    """Return a figure of a process's memory as the system tells it, in MB."""
    lines = Path(f"/proc/{process}/status").read_text("utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{member}:")) / 1000


def main(module: str, name: str, options: str) -> None:
    """Call what was asked for and print what it found, as one line of JSON."""
    found = getattr(importlib.import_module(module), name)(**json.loads(options))
    if inspect.iscoroutine(found):
        found = asyncio.run(found)
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
