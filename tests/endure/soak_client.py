"""Be the client of a soak: follow one run with a panel that shows it, and say what that costs.

A program of its own, so that nothing else's memory or descriptors are counted; it prints a line a minute
and, at its end, the figures as JSON. Its process writes lines that tell their own number.
"""

from __future__ import annotations

import hashlib
import json
import sys
import time
from collections.abc import Iterator
from concurrent.futures import wait
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from tests.endure.left import descriptors, resident, thread_count

if TYPE_CHECKING:
    from blaxel_jupyter import SandboxRun
    from blaxel_jupyter.process import Stream

WRITER = """
import os, sys, time
rate, total = int(sys.argv[1]), int(sys.argv[2])
began, n = time.monotonic(), 0
while n < total:
    due = min(total, int((time.monotonic() - began) * rate) + 1)
    lines = "".join(f"line {i:09d} of the soak, loss={i % 9973 / 9973:.4f}\\n" for i in range(n, due))
    sys.stdout.write(lines); sys.stdout.flush()
    for i in range(n, due):
        if i % 1000 == 0:
            os.write(2, f"at {i:09d}\\n".encode())
    n = due
    time.sleep(0.01)
"""

GROWTH = 250.0
"""MB by which the client may have grown: 32 MB of each stream stay in memory, and of the table's columns."""

SPREAD = 12
"""Descriptors that may come and go with requests under way."""


@dataclass
class Figures:
    """What a soak was measured to have cost."""

    cuts: int
    code: int | None = None
    lines: int = 0
    bytes: int = 0
    exact: bool = False
    integrity: str = ""
    seconds: float = 0.0
    cpu: float = 0.0
    first: float = 0.0
    memory: list[float] = field(default_factory=list)
    descriptors: list[int] = field(default_factory=list)
    threads: list[int] = field(default_factory=list)

    def look(self) -> None:
        """Take the measures of this moment."""
        self.memory.append(resident())
        self.descriptors.append(len(descriptors()))
        self.threads.append(thread_count())
        del self.memory[:-4000], self.descriptors[:-4000], self.threads[:-4000]

    def now(self, lines: int, late: float) -> str:
        """Say how it stands."""
        return (
            f"{lines:>12,} lines, {max(0.0, late):>7,.0f} behind, {self.memory[-1]:>5.0f} MB, "
            f"{self.descriptors[-1]:>3} descriptors, {self.threads[-1]} threads"
        )

    def take(self, line: str) -> bool:
        """Take the client's last line; tell whether it was that."""
        if not line.startswith("{"):
            return False
        for name, value in json.loads(line).items():
            if name not in {"cuts", "code"}:
                setattr(self, name, value)
        return True

    def problems(self) -> list[str]:
        """Say what is not as it should be."""
        found = []
        if self.code != 0:
            found.append(f"the client ended with {self.code}")
        if not self.exact or self.integrity != "complete":
            found.append(f"the bytes are not exact ({self.integrity})")
        if self.memory and max(self.memory) - self.first > GROWTH:
            found.append(f"memory grew from {self.first:.0f} to {max(self.memory):.0f} MB")
        if self.descriptors and max(self.descriptors) - min(self.descriptors) > SPREAD:
            found.append(f"descriptors: {min(self.descriptors)} to {max(self.descriptors)}")
        if self.threads and self.threads[-1] > self.threads[0]:
            found.append(f"threads: {self.threads[0]} to {self.threads[-1]}")
        return found

    def verdict(self) -> str:
        """Say it in two lines."""
        peak = max(self.memory, default=0.0)
        return (
            f"{self.seconds:.0f} s, {self.lines:,} lines, {self.bytes:,} bytes "
            f"{'exact' if self.exact else 'NOT EXACT'}, integrity {self.integrity}, {self.cuts} faults\n"
            f"memory {self.first:.0f} MB at the start, {peak:.0f} at most; descriptors "
            f"{min(self.descriptors, default=0)} to {max(self.descriptors, default=0)}; "
            f"threads {self.threads[-1:]}; {self.cpu:.0f} CPU s; {self.problems() or 'all is well'}"
        )


def main(url: str, seconds: float, rate: int, tell: float) -> int:
    """Follow to the end, telling how it goes; return 1 if a byte is wrong."""
    from blaxel_jupyter import LogPanel, SandboxClient, bridge

    total = int(seconds * rate)
    client = SandboxClient(url=url)
    command = f"python3 - {rate} {total} <<'PYTHON'\n{WRITER}PYTHON"
    run = bridge.call(lambda: client.exec(command, name="soak"))
    began = time.monotonic()
    panel: Any = LogPanel(run)
    panel.send = lambda content, _buffers=None: None  # to nobody
    bridge.spawn(panel.pump)
    following = bridge.spawn(run.finish)
    figures, told = Figures(cuts=0), began + min(5.0, tell)  # imports and first answers are over
    while not following.done():
        wait([following], timeout=1.0)
        figures.look()
        if time.monotonic() >= told:
            figures.first = figures.first or resident()
            told = time.monotonic() + tell
            late = (time.monotonic() - began) * rate - len(run.logs)
            print(
                f"{time.monotonic() - began:>7.0f} s  {figures.now(len(run.logs), late)}",
                flush=True,
            )
    following.result()
    figures.seconds, figures.lines = time.monotonic() - began, len(run.logs)
    figures.bytes = run.ledgers["stdout"].size + run.ledgers["stderr"].size
    figures.integrity, figures.cpu = run.integrity, time.process_time()
    figures.exact = all(
        digest(pieces) == digest(written(stream, total))
        for stream, pieces in (("stdout", read(run, "stdout")), ("stderr", read(run, "stderr")))
    )
    bridge.call(client.aclose)
    print(json.dumps(asdict(figures)), flush=True)
    return 0


def written(stream: str, total: int) -> Iterator[bytes]:
    """Yield what the process writes to a stream."""
    if stream == "stdout":
        for i in range(total):
            yield f"line {i:09d} of the soak, loss={i % 9973 / 9973:.4f}\n".encode()
    else:
        for i in range(0, total, 1000):
            yield f"at {i:09d}\n".encode()


def read(run: SandboxRun, stream: Stream) -> Iterator[bytes]:
    """Yield what a run has of a stream, in pieces: all at once may be more than there is memory."""
    store = run.ledgers[stream].store
    for start in range(0, store.size, 1 << 20):
        yield store.read(start, min(start + (1 << 20), store.size))


def digest(pieces: Iterator[bytes]) -> str:
    """Return the hash of pieces that follow one another."""
    found = hashlib.sha256()
    for piece in pieces:
        found.update(piece)
    return found.hexdigest()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], float(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4])))
