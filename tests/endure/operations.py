"""What users do with a client, each as one operation that can be ended anywhere, on a real local service."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from blaxel_jupyter import SandboxClient, SandboxRun, TaskClient, TaskRun
from blaxel_jupyter.target import control_plane
from blaxel_jupyter.transport import Http
from tests.endure.awaits import Operation
from tests.local_service import LocalService, run
from tests.local_tasks import create, ended, tasks

TICKS = "i=0; while true; do i=$((i+1)); echo tick $i; echo tock $i >&2; sleep 0.02; done"
SHORT = "echo one; echo two >&2; sleep 0.1; printf three"
PROMPT = "Well.\n$ echo one; echo two >&2\n> so\nDone."


@contextmanager
def world(folder: Path) -> Iterator[tuple[LocalService, list[Operation]]]:
    """Run a service with a process that goes on, one that has ended, and a task of either kind."""
    service = LocalService(folder).start()
    try:
        with pytest.MonkeyPatch.context() as patch:
            for name in ("JUPYTER_RUNTIME_DIR", "XDG_STATE_HOME"):
                patch.setenv(name, service.environment()[name])
            with service.client() as sandbox, tasks(service) as agent:
                run(sandbox, SHORT, name="done")
                sandbox.post("/process", json={"command": TICKS, "name": "ticks"})
                over = create(agent, PROMPT)
                ended(agent, over)
            yield service, [*_sandbox(), *_runs(), *_tasks(over)]
    finally:
        with service.client() as sandbox:  # they would outlive the service
            sandbox.delete("/process/ticks/kill")
        for path in Path("/tmp").glob("blaxel-jupyter-endure*"):
            path.unlink(missing_ok=True)
        service.end()


def _local() -> SandboxClient:
    return SandboxClient("local")


def _sandbox() -> list[Operation]:
    async def after(client: SandboxClient) -> None:
        assert await client.logs("done") == "one\nthree"

    acts = (
        _exec,
        _exec_wait,
        _exec_called_back,
        _follow_left,
        _follow_closed,
        _follow_over,
        _logs,
        _wait_over,
        _wait_in_vain,
        _stop,
        _kill,
        _list,
        _stream_logs,
        _upload,
    )
    return [
        Operation(act.__name__.strip("_"), _local, act, after, act is _exec_called_back)
        for act in acts
    ]


async def _exec(client: SandboxClient) -> None:
    await client.exec("true")


async def _exec_wait(client: SandboxClient) -> None:
    run = await client.exec(SHORT, wait=True, timeout=60)
    assert run.stdout == "one\nthree"


async def _exec_called_back(client: SandboxClient) -> None:
    async def take(line: str) -> None:
        await asyncio.sleep(0)

    await (await client.exec(SHORT, on_log=take))


async def _follow_left(client: SandboxClient) -> None:
    async with client.follow("ticks") as entries:
        async for entry in entries:
            if entry.origin == "live" and entry.seq % 7 == 6:
                break


async def _follow_closed(client: SandboxClient) -> None:
    async with client.follow("ticks") as entries:
        await anext(entries)
        await entries.aclose()  # type: ignore[attr-defined]


async def _follow_over(client: SandboxClient) -> None:
    async with client.follow("done") as entries:
        assert len([entry async for entry in entries]) == 3


async def _logs(client: SandboxClient) -> None:
    assert await client.logs("done", stream="all") == "one\nthreetwo\n"


async def _wait_over(client: SandboxClient) -> None:
    assert (await client.wait("done")).exit_code == 0


async def _wait_in_vain(client: SandboxClient) -> None:
    with pytest.raises(TimeoutError):
        await client.wait("ticks", timeout=0.15)


async def _stop(client: SandboxClient) -> None:
    run = await client.exec("sleep 100")
    await client.stop(run.name)


async def _kill(client: SandboxClient) -> None:
    run = await client.exec("sleep 100")
    await client.kill(run.name)


async def _list(client: SandboxClient) -> None:
    http = Http()
    try:
        await (await control_plane(http, local=True)).list()
    finally:
        await http.aclose()


async def _stream_logs(client: SandboxClient) -> None:
    lines: list[str] = []
    async with client.stream_logs("done", on_log=lines.append) as stream:
        closed = await stream.wait() is None
    assert closed or len(lines) == 3


async def _upload(client: SandboxClient) -> None:
    path = f"/tmp/blaxel-jupyter-endure{secrets.token_hex(4)}"
    await client.upload(path, "text")
    await client.remove(path)


# Runs: cut short, they go on where they were ------------------------------------------------------------


class Held:
    """A client with the run that an operation follows, to take it up again afterwards."""

    def __init__(self, client: Any) -> None:
        self.client = client
        self.run: Any = None

    async def aclose(self) -> None:
        """Close the client."""
        await self.client.aclose()


def _runs() -> list[Operation]:
    async def follow(held: Held) -> None:
        held.run = await held.client.exec(SHORT, timeout=60)
        await held.run

    async def exact(held: Held) -> None:
        if held.run is None:
            return
        run: SandboxRun = await held.run
        assert (run.stdout_bytes, run.stderr_bytes) == (b"one\nthree", b"two\n")
        assert (run.integrity, run.busy, len(run.logs)) == ("complete", False, 3)

    async def follow_task(held: Held) -> None:
        held.run = await held.client.create(PROMPT)
        await held.run

    async def whole(held: Held) -> None:
        if held.run is None:
            return
        run: TaskRun = await held.run
        assert (run.status, run.text, run.busy) == ("completed", "Well.\nDone.", False)
        assert run.tool_calls.records()[0]["stdout"] == "one\n"

    return [
        Operation("run", lambda: Held(_local()), follow, exact),
        Operation("task_run", lambda: Held(TaskClient("local")), follow_task, whole),
    ]


def _tasks(over: str) -> list[Operation]:
    async def after(client: TaskClient) -> None:
        assert (await client.status(over)).status == "completed"

    async def start(client: TaskClient) -> None:
        await client.create("Hello")

    async def follow(client: TaskClient) -> None:
        run = await client.create("$ sleep 0.2; echo one\nWell.")
        async with client.follow(run) as events:
            async for _ in events:
                break

    async def follow_over(client: TaskClient) -> None:
        async with client.follow(over) as events:
            assert [event async for event in events][-1].type == "finish"

    async def read(client: TaskClient) -> None:
        assert (await client.logs(over)).text == "Well.\nDone."

    async def read_many(client: TaskClient) -> None:
        assert len(await client.logs_many([over, over])) == 2

    async def listed(client: TaskClient) -> None:
        await client.list()

    async def answer(client: TaskClient) -> None:
        await client.follow_up(over, "And then?")

    async def cancel(client: TaskClient) -> None:
        await client.cancel((await client.create("$ sleep 100")).run_id)

    acts: list[tuple[str, Callable[[TaskClient], Coroutine[Any, Any, object]]]] = [
        ("task_start", start),
        ("task_follow", follow),
        ("task_follow_over", follow_over),
        ("task_read", read),
        ("task_read_many", read_many),
        ("task_list", listed),
        ("task_answer", answer),
        ("task_cancel", cancel),
    ]
    return [Operation(name, lambda: TaskClient("local"), act, after) for name, act in acts]
