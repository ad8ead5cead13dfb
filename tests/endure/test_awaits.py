"""Whatever is cancelled or closed leaves nothing behind, and can be taken up again.

``python -m tests.endure awaits`` does this at every await; here it is done at some of them.
"""

from __future__ import annotations

import asyncio
import gc
import socket
import threading
from collections.abc import Iterator

import pytest

from tests.endure.awaits import WAYS, Operation, Way, trial, trials
from tests.endure.left import descriptors, kinds
from tests.endure.operations import world
from tests.local_service import LocalService, until

STEP = 19
"""Of so many awaits one is tried, another one in each operation."""


@pytest.fixture(scope="module")
def given(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[LocalService, list[Operation]]]:
    """One service for this file."""
    with world(tmp_path_factory.mktemp("awaits")) as running:
        gc.collect()
        gc.freeze()  # what is collected after each trial is that trial's
        yield running
        gc.unfreeze()


@pytest.mark.parametrize("way", WAYS)
def test_ended_anywhere_nothing_is_left(
    given: tuple[LocalService, list[Operation]], way: Way
) -> None:
    """No task, socket, thread or file of the client's, and none of the service's."""
    service, operations = given
    assert service.process is not None
    before = kinds(descriptors(service.process.pid))["socket"]
    found = [
        one
        for i, operation in enumerate(operations)
        for one in trials(operation, way, first=1 + i % STEP, step=STEP)
    ]
    assert [str(one) for one in found if one.problems] == []
    assert len(found) > 2 * len(operations)
    pid = service.process.pid
    until(lambda: kinds(descriptors(pid))["socket"] <= before, 30)


class Careless:
    """A client whose operation leaves all that there is to leave."""

    async def act(self) -> None:
        loop = asyncio.get_running_loop()
        self.task = loop.create_task(asyncio.sleep(3600))
        self.socket = socket.create_connection(self.address)
        self.thread = threading.Thread(target=self.go_on.wait)
        self.thread.start()
        await asyncio.sleep(0)

    async def aclose(self) -> None:
        """Close nothing."""

    def __init__(self, address: tuple[str, int]) -> None:
        self.address = address
        self.go_on = threading.Event()


def test_what_is_left_is_found(
    given: tuple[LocalService, list[Operation]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The check can fail: a careless client is told all that it left."""
    monkeypatch.setattr("tests.endure.awaits.PATIENCE", 1.0)
    host, _, port = given[0].url.partition("//")[2].partition(":")
    careless = Careless((host, int(port)))

    async def nothing(_client: Careless) -> None:
        pass

    operation = Operation("careless", lambda: careless, Careless.act, nothing)
    found = str(trial(operation, "cancel", 1000))
    careless.go_on.set()
    careless.thread.join()
    careless.socket.close()
    for said in ("a task is left", "open when the client was closed", "threads left"):
        assert said in found
