"""Run notebook cells in remote sandboxes and watch them: every line, once, and as data.

``%load_ext blaxel_jupyter`` registers the magics; the names below are the Python API. Everything is
imported at first use, so that loading costs little.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from IPython.core.interactiveshell import InteractiveShell

    from blaxel_jupyter.bridge import run
    from blaxel_jupyter.client import SandboxClient
    from blaxel_jupyter.errors import (
        AuthError,
        BlaxelError,
        CredentialsError,
        FollowError,
        NotFoundError,
        ProcessError,
        ProtocolError,
        StatusError,
        TaskError,
        TransportError,
    )
    from blaxel_jupyter.panel import LogPanel
    from blaxel_jupyter.process import LogEntry, Process
    from blaxel_jupyter.runs import SandboxRun
    from blaxel_jupyter.table import Table
    from blaxel_jupyter.task import Task, TaskEvent, TaskStatus
    from blaxel_jupyter.task_client import TaskClient
    from blaxel_jupyter.task_runs import TaskRun, TaskRuns

__version__ = "0.1.0"

_HOMES = {
    "SandboxClient": "client",
    "SandboxRun": "runs",
    "LogPanel": "panel",
    "LogEntry": "process",
    "Process": "process",
    "Table": "table",
    "Task": "task",
    "TaskClient": "task_client",
    "TaskEvent": "task",
    "TaskRun": "task_runs",
    "TaskRuns": "task_runs",
    "TaskStatus": "task",
    "run": "bridge",
}
_ERRORS = (
    "AuthError",
    "BlaxelError",
    "CredentialsError",
    "FollowError",
    "NotFoundError",
    "ProcessError",
    "ProtocolError",
    "StatusError",
    "TaskError",
    "TransportError",
)

__all__ = [
    "AuthError",
    "BlaxelError",
    "CredentialsError",
    "FollowError",
    "LogEntry",
    "LogPanel",
    "NotFoundError",
    "Process",
    "ProcessError",
    "ProtocolError",
    "SandboxClient",
    "SandboxRun",
    "StatusError",
    "Table",
    "Task",
    "TaskClient",
    "TaskError",
    "TaskEvent",
    "TaskRun",
    "TaskRuns",
    "TaskStatus",
    "TransportError",
    "load_ipython_extension",
    "run",
    "unload_ipython_extension",
]


def __getattr__(name: str) -> Any:
    """Import a public name at its first use."""
    home = "errors" if name in _ERRORS else _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{home}"), name)
    globals()[name] = value
    return value


def load_ipython_extension(ipython: InteractiveShell) -> None:
    """Register the magics (called by ``%load_ext blaxel_jupyter``)."""
    from blaxel_jupyter import magics  # at first use

    magics.load(ipython)


def unload_ipython_extension(ipython: InteractiveShell) -> None:
    """Remove the magics (called by ``%unload_ext blaxel_jupyter``)."""
    from blaxel_jupyter import magics  # at first use

    magics.unload(ipython)
