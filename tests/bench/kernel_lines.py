"""Measure what following a long log costs the kernel: resident memory above the start, time and CPU.

Run ``python tests/bench/kernel_lines.py [LINES …]`` (100,000 and 1,000,000 unless told; 10,000,000 take
a minute and 3 GB of disk). The local service runs in one process, its command in another, and in a third,
measured, are a ``SandboxRun`` that is followed to its end and a panel that sends each of its rows; the
command fails, so that the first and the last error are looked for, too. It exits with 1 if a target was
missed or a byte was. Linux only: peaks are the system's own (``VmHWM``).
"""

from __future__ import annotations

import hashlib
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from concurrent.futures import Future
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from tests.local_service import LocalService

COMMAND = (
    "seq -f '%08.0f INFO worker 07 step finished in 123 ms, loss=0.004217, "
    "all is well so far, nothing to do at all' 1 {lines}; exit 3"
)
MEGABYTES = 400
"""What the kernel's memory may grow by, at any length."""

LINES = (100_000, 1_000_000)


def main() -> int:
    """Follow logs of several lengths, each in a process of its own; return 1 if a target was missed."""
    failed = 0
    print(
        f"{'lines':>11}{'MB':>8}{'seconds':>9}{'CPU s':>8}{'peak MB':>9}{'end MB':>8}"
        f"{'service MB':>12}{'panel rows':>12}{'page ms':>9}  bytes",
        flush=True,
    )
    with tempfile.TemporaryDirectory() as folder:
        service = LocalService(Path(folder)).start()
        try:
            for lines in map(int, sys.argv[1:] or LINES):
                assert service.process is not None
                command = [
                    sys.executable,
                    __file__,
                    "--measure",
                    str(lines),
                    str(service.process.pid),
                ]
                failed |= subprocess.run(command, env=service.environment(), check=False).returncode
        finally:
            service.end()
    return failed


def measure(lines: int, service: str) -> int:
    """Follow one log in this process and print what it took."""
    from blaxel_jupyter import LogPanel, SandboxClient, SandboxRun, bridge
    from blaxel_jupyter.panel.rows import Rows

    client = SandboxClient("local")

    async def begun(lines: int) -> SandboxRun:
        return await client.exec(COMMAND.format(lines=lines))

    little = bridge.call(lambda: begun(10))  # what loads at first use is no cost of the lines
    little.wait(60)
    pumped(LogPanel(little))[0].result(60)
    before, others = memory("VmRSS"), memory("VmRSS", service)
    for process in ("self", service):
        Path(f"/proc/{process}/clear_refs").write_text("5")  # forget the peak so far
    cpu, start = cpu_seconds(), time.perf_counter()
    run = bridge.call(lambda: begun(lines))
    shown, sent = pumped(LogPanel(run))
    run.wait(1800)
    assert run.header()["digest"] is not None
    seconds, cpu = time.perf_counter() - start, cpu_seconds() - cpu
    shown.result(600)
    pages = sorted(timed_page(Rows(run), lines) for _ in range(25))
    peak, end = memory("VmHWM") - before, memory("VmRSS") - before
    others = memory("VmHWM", service) - others
    assert sum(1 for text in run.logs.column("text") if text) == len(run.logs)
    exact = hashlib.sha256(run.stdout_bytes).hexdigest() == expected(lines)
    met = exact and peak <= MEGABYTES and len(run.logs) == sum(sent) == lines
    size = len(run.stdout_bytes) / 1e6
    print(
        f"{len(run.logs):>11,}{size:>8.0f}{seconds:>9.1f}{cpu:>8.1f}{peak:>9.0f}{end:>8.0f}{others:>12.0f}"
        f"{sum(sent):>12,}{pages[-2]:>9.0f}  {'exact' if exact else 'WRONG'}, {run.integrity}",
        flush=True,
    )
    bridge.call(client.aclose)
    return 0 if met else 1


def pumped(panel: Any) -> tuple[Future[None], list[int]]:
    """Let a panel send its rows to nobody; return when that is done, and how many each message has."""
    from blaxel_jupyter import bridge

    sent: list[int] = []
    panel.send = lambda content, _buffers=None: sent.append(content.get("n", 0))
    return bridge.spawn(panel.pump), sent


def timed_page(rows: Any, lines: int) -> float:
    """Ask for a page of the panel somewhere in the log; return the milliseconds."""
    first = random.randrange(max(1, lines - 32_768))
    start = time.perf_counter()
    rows.page(first, 32_768)
    return (time.perf_counter() - start) * 1000


def expected(lines: int) -> str:
    """Return the hash of what the command prints."""
    printed = subprocess.run(
        f"({COMMAND.format(lines=lines)}) | sha256sum",
        shell=True,
        stdout=subprocess.PIPE,
        check=True,
    )
    return printed.stdout.split()[0].decode()


def memory(name: str, process: str = "self") -> float:
    """Return a figure of a process's memory, in MB."""
    status = Path(f"/proc/{process}/status").read_text()
    [line] = [line for line in status.splitlines() if line.startswith(name)]
    return int(line.split()[1]) * 1024 / 1e6


def cpu_seconds() -> float:
    """Return the CPU seconds of this process so far."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    os.environ.setdefault("PYTHONPATH", str(Path(__file__).resolve().parents[2]))
    sys.exit(measure(int(sys.argv[2]), sys.argv[3]) if sys.argv[1:2] == ["--measure"] else main())
