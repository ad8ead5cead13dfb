"""Hold the numbers beyond which the service puts an end to a command, and set those the kernel keeps.

Generous ones: they are there for commands that run away, not for large ones. Two may be changed by the
environment of ``blaxel-jupyter serve``.
"""

from __future__ import annotations

import os
import resource
from contextlib import suppress
from pathlib import Path

DESCRIPTORS = 65536
"""Open files that the service asks for, if the system lets it have them."""

_MiB = 1024 * 1024
_given: tuple[int, int] | None = None


def most_tasks() -> int:
    """Return how many processes and threads one command may have (``BLAXEL_JUPYTER_MAX_TASKS``)."""
    return _number("BLAXEL_JUPYTER_MAX_TASKS", 2000)


def most_log() -> int:
    """Return the bytes of each stream that are kept on disk (``BLAXEL_JUPYTER_MAX_LOG_BYTES``)."""
    return max(_MiB, _number("BLAXEL_JUPYTER_MAX_LOG_BYTES", 2048 * _MiB))


def _number(name: str, default: int) -> int:
    text = os.environ.get(name, "")
    return int(text) if text.isascii() and text.isdigit() else default


def raise_descriptors() -> None:
    """Let the service have more open files; what it starts gets the former limit again."""
    global _given
    _given = soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = DESCRIPTORS if hard == resource.RLIM_INFINITY else min(hard, DESCRIPTORS)
    if soft != resource.RLIM_INFINITY and soft < most:
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def apply() -> None:
    """Set the limits of a command, in its own process before it is executed.

    The kernel counts all that the user runs, and does not bind root; so this is a second line of
    defence behind the service's own count.
    """
    if _given is not None:
        resource.setrlimit(resource.RLIMIT_NOFILE, _given)
    _, hard = resource.getrlimit(resource.RLIMIT_NPROC)
    most = tasks_of_all() + most_tasks()
    if hard == resource.RLIM_INFINITY or most < hard:
        resource.setrlimit(resource.RLIMIT_NPROC, (most, hard))


def tasks_of_all() -> int:
    """Return how many processes and threads the machine has; 1,000,000 where it does not say."""
    try:
        return int(Path("/proc/loadavg").read_text().split()[3].partition("/")[2])
    except (OSError, ValueError, IndexError):
        return 1_000_000
