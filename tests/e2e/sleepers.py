"""Find the real processes that a test started, by a mark in their command lines."""

from __future__ import annotations

import time

import psutil


def sleepers(mark: str) -> list[psutil.Process]:
    """Return the processes of this machine whose command line holds ``mark``."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        if mark in " ".join(process.info["cmdline"] or ()):
            found.append(process)
    return found


def gone(mark: str) -> None:
    """Wait until no process with the mark is left."""
    deadline = time.monotonic() + 15
    while sleepers(mark):
        assert time.monotonic() < deadline, "the remote process is still there"
        psutil.wait_procs(sleepers(mark), timeout=0.2)
