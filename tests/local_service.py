"""Run a real ``blaxel-jupyter serve`` for tests: a process, a socket, folders of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx

ROOT = Path(__file__).parent.parent
LOGS = "/filesystem/%2Fvar%2Flog%2Fsandbox-api"


def until(condition: Callable[[], Any], seconds: float = 10.0) -> Any:
    """Return the condition's first true value; fail the test after ``seconds``."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, "the condition did not come true"
        threading.Event().wait(0.01)
    return value


class LocalService:
    """A service with its own runtime and state folders; may be started again after a crash."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.runtime = folder / "runtime" / "blaxel-local.json"
        self.process: subprocess.Popen[str] | None = None
        self.announced = ""

    def environment(self, **more: str) -> dict[str, str]:
        """Return the environment in which programs find this service."""
        return {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "JUPYTER_RUNTIME_DIR": str(self.runtime.parent),
            "XDG_STATE_HOME": str(self.folder / "state"),
            **more,
        }

    def start(self, *options: str, **environment: str) -> LocalService:
        """Start it and wait until it has announced itself."""
        command = [sys.executable, "-m", "blaxel_jupyter.cli", "serve"]
        self.process = subprocess.Popen(
            [*command, "--dir", str(self.folder / "dir"), *options],
            env=self.environment(**environment),
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        lines = iter(self.process.stdout.readline, "")
        self.announced = ""
        for line in lines:
            self.announced += line
            if "BL_API_KEY" in line:
                return self
        raise AssertionError("the service did not start")

    @property
    def facts(self) -> dict[str, Any]:
        """The runtime file's content."""
        facts: dict[str, Any] = json.loads(self.runtime.read_text())
        return facts

    @property
    def url(self) -> str:
        """Where it answers."""
        return str(self.facts["url"])

    @property
    def headers(self) -> dict[str, str]:
        """What its owner sends."""
        return {"Authorization": f"Bearer {self.facts['token']}", "Blaxel-Version": "2026-04-28"}

    def client(self, path: str = "/sandboxes/local") -> httpx.Client:
        """Return a client of one sandbox (or of another path)."""
        return httpx.Client(base_url=self.url + path, headers=self.headers, timeout=60)

    def end(self, number: signal.Signals = signal.SIGTERM) -> None:
        """Send a signal and wait for the exit."""
        if self.process is None:
            return
        self.process.send_signal(number)
        self.process.wait(10)
        assert self.process.stdout is not None
        self.process.stdout.close()
        self.process = None


def program(service: LocalService, code: str) -> subprocess.Popen[str]:
    """Run Python in the environment in which the service is found."""
    return subprocess.Popen(
        [sys.executable, "-c", f"from blaxel_jupyter import local\n{code}"],
        env=service.environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def run(client: httpx.Client, command: str, **members: Any) -> dict[str, Any]:
    """Run a command to its end; return the ProcessResponse."""
    body = {"command": command, "waitForCompletion": True, **members}
    response = client.post("/process", json=body)
    assert response.status_code == 200, response.text
    facts: dict[str, Any] = response.json()
    return facts


def raw(client: httpx.Client, name: str, stream: str = "stdout") -> bytes:
    """Return the bytes of a raw log file."""
    headers = {"Accept": "application/octet-stream"}
    return client.get(f"{LOGS}%2F{name}.{stream}.log", headers=headers).content
