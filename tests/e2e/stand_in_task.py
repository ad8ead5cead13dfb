"""A run without a service, for the panel's tests in a kernel: events are put in, the panel shows them."""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

from blaxel_jupyter.fold import Fold
from blaxel_jupyter.panel import LogPanel
from blaxel_jupyter.recording import read_recording
from blaxel_jupyter.task_events import read_event

RECORDINGS = Path(__file__).parents[1] / "blackbox"


class Run:
    """A fold of events and the facts a panel shows; ``verbs`` is what its button asked for."""

    def __init__(self, **facts: Any) -> None:
        self.fold = Fold()
        self.seq = 0
        self.facts: dict[str, Any] = {
            "view": "task",
            "run_id": "5f0c2a1e-7b34-4c8d-9a51-0d2e6f7a8b90",
            "status": "running",
            "source": "stream",
            "error": None,
            "prompt": "Fix the year parsing and run the tests",
            "target": "BLACKBOX",
            "model": None,
            "started": time.time(),
            "ended": None,
            "warnings": 0,
            "local": False,
            "final": False,
            "message": None,
            **facts,
        }
        self.verbs: list[str] = []
        self.asked = threading.Event()

    def header(self) -> dict[str, Any]:
        """Return the facts now."""
        calls = list(self.fold.calls.values())
        usage = ("input_tokens", "output_tokens", "total_cost_usd")
        return {
            **self.facts,
            "events": self.seq,
            "tool_calls": len(calls),
            "tool_errors": sum(call.is_error is True for call in calls),
            "unfinished": sum(call.end_seq is None for call in calls),
            "text_chars": self.fold.text_chars,
            **{name: self.fold.usage[name] for name in usage},
        }

    def add(self, *events: dict[str, Any], received: int | None = None) -> None:
        """Take events."""
        for event in events:
            read = read_event(json.dumps(event).encode())
            self.fold.add(self.seq, read, received or time.time_ns() // 1000)
            self.seq += 1

    def replay(self, name: str) -> None:
        """Take a recorded run."""
        for event, received in read_recording((RECORDINGS / name).read_bytes(), Counter()):
            self.fold.add(self.seq, event, received)
            self.seq += 1

    def end(self, status: str = "completed", error: str | None = None) -> None:
        """Say that nothing more will come."""
        self.facts |= {"status": status, "error": error, "ended": time.time(), "final": True}

    def obey(self, verb: str) -> None:
        """Take a command of the panel."""
        self.verbs.append(verb)
        self.asked.set()


def shown(run: Run) -> LogPanel:
    """Return a panel for a run, its commands kept in ``run.verbs``."""
    panel = LogPanel(run)
    panel.on_command(run.obey)
    return panel


def bash(
    number: int, command: str, stdout: str = "", exit_code: int | None = 0, tool: str = "bash"
) -> list[dict[str, Any]]:
    """Return the events of one call; without its end where ``exit_code`` is None."""
    facts = {"toolCallId": f"tc_{number:03d}", "toolName": tool}
    events = [
        {"type": "tool-call-start", **facts},
        {"type": "tool-input-available", **facts, "input": {"command": command}},
    ]
    if exit_code is not None:
        output = {"stdout": stdout, "exitCode": exit_code}
        events.append({"type": "tool-output-available", **facts, "output": output})
    return events


def said(text: str, block: str = "msg") -> dict[str, Any]:
    """Return one piece of text."""
    return {"type": "text-delta", "id": block, "delta": text}
