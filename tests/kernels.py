"""Drive a real ipykernel as a notebook does: send cells, read what they show, interrupt, kill."""

from __future__ import annotations

import ast
import os
import queue
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jupyter_client.blocking import BlockingKernelClient
from jupyter_client.manager import KernelManager

PATIENCE = 60.0


class Shown:
    """One execution: what it has shown so far, by kind, and how it ended."""

    def __init__(self, client: BlockingKernelClient, message_id: str) -> None:
        self._client = client
        self._id = message_id
        self.stdout = ""
        self.stderr = ""
        self.displays: list[dict[str, Any]] = []
        self.updates: list[dict[str, Any]] = []
        self.comms: list[tuple[dict[str, Any], list[bytes]]] = []  # what widgets are sent
        self.error: dict[str, Any] | None = None
        self.ended = False

    @property
    def text(self) -> str:
        """All text of stdout and stderr."""
        return self.stdout + self.stderr

    @property
    def lines(self) -> list[str]:
        """The lines that the cell shows for its error: IPython's traceback, or a usage error's text."""
        told = "\n".join(self.error["traceback"]) if self.error else self.stderr.strip("\n")
        return told.split("\n")

    def until(self, text: str) -> Shown:
        """Wait until stdout or stderr has the text."""
        deadline = time.monotonic() + PATIENCE
        while text not in self.text:
            assert not self.ended, f"{text!r} never came: {self.text!r} {self.error}"
            self._take(deadline)
        return self

    def finish(self, seconds: float = PATIENCE) -> Shown:
        """Wait until the kernel is idle again."""
        deadline = time.monotonic() + seconds
        while not self.ended:
            self._take(deadline)
        return self

    def _take(self, deadline: float) -> None:
        try:
            message = self._client.get_iopub_msg(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            raise AssertionError(f"the cell did not go on: {self.text!r}") from None
        content, kind = message["content"], message["header"]["msg_type"]
        if kind == "update_display_data":
            self.updates.append(content["data"])
        elif kind.startswith("comm_"):
            self.comms.append((content, [bytes(part) for part in message["buffers"]]))
        if message["parent_header"].get("msg_id") != self._id:
            return
        if kind == "stream":
            setattr(self, content["name"], getattr(self, content["name"]) + content["text"])
        elif kind in {"display_data", "execute_result"}:
            self.displays.append(content["data"])
        elif kind == "error":
            self.error = content
        elif kind == "status" and content["execution_state"] == "idle":
            self.ended = True


class Kernel:
    """A running kernel. ``widgets`` says whether cells come from a front end that shows widgets."""

    def __init__(self, manager: KernelManager, client: BlockingKernelClient) -> None:
        self._manager = manager
        self._client = client

    def start(self, code: str, *, widgets: bool = False) -> Shown:
        """Send a cell and return at once."""
        content = {
            "code": code,
            "silent": False,
            "store_history": True,
            "user_expressions": {},
            "allow_stdin": False,
            "stop_on_error": False,
        }
        metadata = {"cellId": "x"} if widgets else {}
        message = self._client.session.msg("execute_request", content, metadata=metadata)
        self._client.shell_channel.send(message)
        return Shown(self._client, message["header"]["msg_id"])

    def run(self, code: str, *, widgets: bool = False) -> Shown:
        """Send a cell and wait for its end."""
        return self.start(code, widgets=widgets).finish()

    def value(self, expression: str) -> Any:
        """Return an expression's value, made of numbers, texts, tuples, lists and dicts."""
        shown = self.run(f"print(repr(({expression})))")
        assert shown.error is None, shown.lines
        return ast.literal_eval(shown.stdout)

    def comm(self, comm_id: str, data: dict[str, Any]) -> None:
        """Send a comm message, as a view of a widget does."""
        message = self._client.session.msg("comm_msg", {"comm_id": comm_id, "data": data})
        self._client.shell_channel.send(message)

    def interrupt(self) -> None:
        """Do what the stop button of a notebook does."""
        self._manager.interrupt_kernel()

    def kill(self) -> None:
        """End it as the out-of-memory killer does."""
        pid = self._manager.provisioner.pid
        os.kill(pid, signal.SIGKILL)


@contextmanager
def kernel(cwd: Path, *cells: str) -> Iterator[Kernel]:
    """Start a kernel in this process's environment, run cells in it, and end it with the block."""
    manager = KernelManager(kernel_name="python3")
    manager.start_kernel(cwd=str(cwd))
    client = manager.blocking_client()
    try:
        client.start_channels()
        client.wait_for_ready(timeout=PATIENCE)
        running = Kernel(manager, client)
        for cell in cells:
            shown = running.run(cell)
            assert shown.error is None, shown.lines
        yield running
    finally:
        client.stop_channels()
        manager.shutdown_kernel(now=True)
        manager.cleanup_resources()
