"""A test double of the sandbox server that tells the truth about it: real HTTP, real processes, its habits.

Its bytes equal the recordings in ``tests/captures`` (``tests/conformance/test_imitation.py``); what the real
server does wrong, it does wrong. Tests and benchmarks use it; nothing of the package imports it.

    with imitation(Habits(keepalive=0.2)) as server:
        server.fail(Fault("drop", path="stdout.log", after=100))
        ...  # a client at server.url
        assert server.requests["GET /health"] == 1
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import threading
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tests.imitation.habits import Fault, Habits
from tests.imitation.server import serve

__all__ = ["Fault", "Habits", "Imitation", "imitation"]


class Imitation:
    """A running imitation, wherever it runs: its URL, its counters, its controls."""

    def __init__(self, url: str) -> None:
        self.url = url

    @property
    def requests(self) -> Counter[str]:
        """Requests so far by ``"METHOD /raw/path"`` (no query)."""
        return Counter(self._call("counters")["requests"])

    @property
    def sent(self) -> Counter[str]:
        """Body bytes sent so far by raw path; a stream counts when it ends."""
        return Counter(self._call("counters")["sent"])

    @property
    def wire_bytes(self) -> int:
        """Bytes sent so far by answers that have ended, headers and chunk framing included."""
        return int(self._call("counters")["wire_bytes"])

    @property
    def connections(self) -> int:
        """Client connections that are open now."""
        return int(self._call("counters")["connections"])

    @property
    def folder(self) -> Path:
        """Where the log files really are."""
        return Path(self._call("counters")["folder"])

    @property
    def work_dir(self) -> Path:
        """The folder that commands run in; relative paths of ``/filesystem`` start there."""
        return Path(self._call("counters")["work_dir"])

    def reset(self) -> None:
        """Set the counters to zero and forget faults that have not happened."""
        self._call("reset", "")

    def fail(self, fault: Fault) -> None:
        """Let the next matching requests go wrong; faults are tried in the order given."""
        self._call("faults", fault.to_json())

    def restart(self, down: float = 0.0) -> None:
        """Restart the API: connections break, nothing listens for ``down`` seconds, processes live on."""
        self._call("restart", json.dumps(down))

    def _call(self, verb: str, body: str | None = None) -> Any:
        data = None if body is None else body.encode()
        request = urllib.request.Request(
            f"{self.url}/-/{verb}", data=data, headers={"Connection": "close"}
        )
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with opener.open(request) as answer:
            return json.load(answer)


@contextmanager
def imitation(habits: Habits | None = None, *, own_process: bool = False) -> Iterator[Imitation]:
    """Run an imitation until the block ends; then its processes are killed and its folders removed.

    ``own_process`` runs it outside this interpreter, for measurements: it shares no lock with the client.
    """
    runner = _in_process if own_process else _in_thread
    with runner(habits or Habits()) as url:
        yield Imitation(url)


@contextmanager
def _in_thread(habits: Habits) -> Iterator[str]:
    ready = threading.Event()
    state: dict[str, Any] = {}

    async def main() -> None:
        loop = asyncio.get_running_loop()
        url: asyncio.Future[str] = loop.create_future()
        stop = asyncio.Event()
        state["stop"] = lambda: loop.call_soon_threadsafe(stop.set)
        url.add_done_callback(lambda _: state.update(url=url.result()))
        url.add_done_callback(lambda _: ready.set())
        await serve(habits, 0, url, stop)

    thread = threading.Thread(target=asyncio.run, args=(main(),), name="imitation")
    thread.start()
    ready.wait()
    try:
        yield state["url"]
    finally:
        state["stop"]()
        thread.join()


@contextmanager
def _in_process(habits: Habits) -> Iterator[str]:
    command = [sys.executable, "-m", "tests.imitation", "--habits", json.dumps(asdict(habits))]
    child = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=Path(__file__).parents[2]
    )
    assert child.stdin is not None
    assert child.stdout is not None
    try:
        yield child.stdout.readline().decode().strip()
    finally:
        child.stdin.close()  # end of input is the request to stop
        child.wait()
        child.stdout.close()
