"""A run without a sandbox, for the panel's tests in a kernel: lines are put in, the panel shows them."""

from __future__ import annotations

import threading
import time
from typing import Any

from blaxel_jupyter.panel import LogPanel
from blaxel_jupyter.table import LOGS, Table


class Run:
    """A table of lines and the facts a panel shows; ``verbs`` is what its buttons asked for."""

    def __init__(self, process: str = "tests", command: str = "pytest -q") -> None:
        self.logs = Table(LOGS, constants={"sandbox": "stand-in", "process": process})
        self.facts: dict[str, Any] = {
            "sandbox": "stand-in",
            "process": process,
            "command": command,
            "status": "running",
            "exit_code": None,
            "started": time.time(),
            "ended": None,
            "lines": 0,
            "bytes": 0,
            "integrity": "following",
            "local": False,
            "final": False,
            "message": None,
        }
        self.verbs: list[str] = []
        self.asked = threading.Event()

    def header(self) -> dict[str, Any]:
        """Return the facts now."""
        return dict(self.facts)

    def add(
        self, *lines: str, stream: str | None = "stdout", kind: str = "line", **more: Any
    ) -> None:
        """Append rows."""
        self.logs.extend(
            len(lines),
            stream=stream,
            text=list(lines),
            kind=kind,
            received=int(time.time() * 1e6),
            origin="live",
            **more,
        )
        self.facts["lines"] += len(lines)
        self.facts["bytes"] += sum(len(line) + 1 for line in lines)

    def end(self, status: str = "completed", exit_code: int | None = 0) -> None:
        """Say that nothing more will come."""
        self.facts |= {
            "status": status,
            "exit_code": exit_code,
            "ended": time.time(),
            "integrity": "complete",
            "final": True,
        }

    def obey(self, verb: str) -> None:
        """Take a command of the panel."""
        self.verbs.append(verb)
        self.asked.set()


def shown(run: Run) -> LogPanel:
    """Return a panel for a run, its commands kept in ``run.verbs``."""
    panel = LogPanel(run)
    panel.on_command(run.obey)
    return panel
