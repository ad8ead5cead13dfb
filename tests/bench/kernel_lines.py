"""Measure what following a long log costs the kernel: resident memory above the start, time and CPU.

Run ``python tests/bench/kernel_lines.py [LINES …]`` (100,000 and 1,000,000 unless told; 10,000,000 take
a minute and 3 GB of disk). The local service runs in one process, its command in another, and in a third,
measured, are a ``SandboxRun`` that is followed to its end and a panel that sends each of its rows. It
exits with 1 if a target was missed or a byte was. Linux only: the peak is the system's own (``VmHWM``).
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
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from tests.local_service import LocalService

COMMAND = (
    "seq -f '%08.0f INFO worker 07 step finished in 123 ms, loss=0.004217, "
    "all is well so far, nothing to do at all' 1 {lines}"
)
MEGABYTES = 400
"""What the kernel's memory may grow by, at any length."""

LINES = (100_000, 1_000_000)


def main() -> int:
    """Follow logs of several lengths, each in a process of its own; return 1 if a target was missed."""
    failed = 0
    print(
        f"{'lines':>11}{'MB':>8}{'seconds':>9}{'CPU s':>8}{'peak MB':>9}{'end MB':>8}"
        f"{'panel rows':>12}{'page ms':>9}  bytes",
        flush=True,
    )
    with tempfile.TemporaryDirectory() as folder:
        service = LocalService(Path(folder)).start()
        try:
            for lines in map(int, sys.argv[1:] or LINES):
                command = [sys.executable, __file__, "--measure", str(lines)]
                failed |= subprocess.run(command, env=service.environment(), check=False).returncode
        finally:
            service.end()
    return failed


def measure(lines: int) -> int:
    """Follow one log in this process and print what it took."""
    from blaxel_jupyter import LogPanel, SandboxClient, SandboxRun, bridge
    from blaxel_jupyter.panel.rows import Rows

    client = SandboxClient("local")

    async def begun(lines: int) -> SandboxRun:
        return await client.exec(COMMAND.format(lines=lines))

    bridge.call(lambda: begun(10)).wait(60)  # what loads at first use is no cost of the lines
    before, cpu, start = memory("VmRSS"), cpu_seconds(), time.perf_counter()
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    run = bridge.call(lambda: begun(lines))
    panel = LogPanel(run)
    sent = 0

    def count(content: dict[str, object], _buffers: object = None) -> None:
        nonlocal sent
        sent += int(str(content.get("n", 0)))

    panel.send = count
    shown = bridge.spawn(panel.pump)
    run.wait(1800)
    seconds, cpu = time.perf_counter() - start, cpu_seconds() - cpu
    shown.result(600)
    pages = sorted(timed_page(Rows(run), lines) for _ in range(25))
    peak, end = memory("VmHWM") - before, memory("VmRSS") - before
    assert sum(1 for text in run.logs.column("text") if text) == len(run.logs)
    exact = hashlib.sha256(run.stdout_bytes).hexdigest() == expected(lines)
    met = exact and peak <= MEGABYTES and len(run.logs) == sent == lines
    print(
        f"{len(run.logs):>11,}{len(run.stdout_bytes) / 1e6:>8.0f}{seconds:>9.1f}{cpu:>8.1f}{peak:>9.0f}"
        f"{end:>8.0f}{sent:>12,}{pages[-2]:>9.0f}  {'exact' if exact else 'WRONG'}, {run.integrity}",
        flush=True,
    )
    bridge.call(client.aclose)
    return 0 if met else 1


def timed_page(rows: object, lines: int) -> float:
    """Ask for a page of the panel somewhere in the log; return the milliseconds."""
    first = random.randrange(max(1, lines - 32_768))
    start = time.perf_counter()
    rows.page(first, 32_768)  # type: ignore[attr-defined]
    return (time.perf_counter() - start) * 1000


def expected(lines: int) -> str:
    """Return the hash of what the command prints."""
    printed = subprocess.run(
        f"{COMMAND.format(lines=lines)} | sha256sum", shell=True, stdout=subprocess.PIPE, check=True
    )
    return printed.stdout.split()[0].decode()


def memory(name: str) -> float:
    """Return a figure of this process's memory, in MB."""
    status = Path("/proc/self/status").read_text()
    [line] = [line for line in status.splitlines() if line.startswith(name)]
    return int(line.split()[1]) * 1024 / 1e6


def cpu_seconds() -> float:
    """Return the CPU seconds of this process so far."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


if __name__ == "__main__":
    os.environ.setdefault("PYTHONPATH", str(Path(__file__).resolve().parents[2]))
    sys.exit(measure(int(sys.argv[2])) if sys.argv[1:2] == ["--measure"] else main())
