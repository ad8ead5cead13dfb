"""Tell what a process holds: memory, threads, descriptors by their kind, temporary files. Linux only."""

from __future__ import annotations

import os
import threading
from collections import Counter
from pathlib import Path


def descriptors(pid: int | str = "self") -> dict[int, str]:
    """Return what each open descriptor of a process is: ``socket:[123]``, ``pipe:[45]``, a path."""
    found = {}
    folder = f"/proc/{pid}/fd"
    for name in os.listdir(folder):
        try:
            found[int(name)] = os.readlink(f"{folder}/{name}")
        except FileNotFoundError:
            continue  # the one that lists them
    return found


def kinds(held: dict[int, str]) -> Counter[str]:
    """Count descriptors by kind: ``socket``, ``pipe``, ``anon_inode``, or a file's path."""
    return Counter(what.partition(":")[0] for what in held.values())


def threads() -> list[str]:
    """Return the names of this process's threads, in order; a pool's are one."""
    return sorted(
        {thread.name.rpartition("_")[0] or thread.name for thread in threading.enumerate()}
    )


def thread_count(pid: int | str = "self") -> int:
    """Count a process's threads."""
    return int(_status(pid, "Threads"))


def resident(pid: int | str = "self") -> float:
    """Return a process's resident memory, in MB."""
    return int(_status(pid, "VmRSS").split()[0]) * 1024 / 1e6


def _status(pid: int | str, name: str) -> str:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{name}:"):
            return line.partition(":")[2].strip()
    raise ValueError(f"/proc/{pid}/status has no {name}")
