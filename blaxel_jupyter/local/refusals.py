"""Say why a sandbox's process is not started, found or signalled, in the words of the sandbox API.

Imported by what keeps the processes, and by the routes and the agent that ask it.
"""

from __future__ import annotations

import os


class StartError(Exception):
    """A process cannot be started; the text is the sandbox API's (protocol 3.3)."""


class NameTakenError(StartError):
    """The name belongs to a process that is running."""


class UnknownProcessError(Exception):
    """No process has this pid or name."""


class NotRunningError(Exception):
    """There is nothing left to send a signal to."""


def check_name(name: str) -> None:
    """Check that a log file can have the process's name.

    Raises:
        StartError: it cannot.
    """
    file = f"{name}.stdout.log"
    for bad, reason in (
        ("\0" in name, "invalid argument"),
        ("/" in name, "no such file or directory"),
        (len(os.fsencode(file)) > 255, "file name too long"),
    ):
        if bad:
            raise StartError(f"failed to start process: open {file}: {reason}")
