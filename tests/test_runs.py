"""A run: facts, text and table; waited for from threads, loops and again after a timeout."""

from __future__ import annotations

import asyncio
import concurrent.futures
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from blaxel_jupyter import FollowError, SandboxClient, SandboxRun, TransportError, bridge
from blaxel_jupyter.columns import Spill
from blaxel_jupyter.ledger import Ledger
from blaxel_jupyter.panel.rows import Rows
from blaxel_jupyter.spool import Spool
from blaxel_jupyter.table import LOGS, Table
from tests.imitation import Fault, Habits, Imitation, imitation
from tests.local_service import until


@pytest.fixture(scope="module")
def server() -> Iterator[Imitation]:
    with imitation(Habits(keepalive=0.2)) as running:
        yield running


@pytest.fixture
def sandbox(server: Imitation) -> Iterator[SandboxClient]:
    """A client of the bridge's loop, as the magics have it."""
    client = SandboxClient(url=server.url)
    yield client
    bridge.call(client.aclose)


def start(sandbox: SandboxClient, command: str, **options: object) -> SandboxRun:
    """Start a process from synchronous code."""

    async def go() -> SandboxRun:
        return await sandbox.exec(command, **options)  # type: ignore[arg-type]

    return bridge.call(go)


def test_facts_of_a_run(sandbox: SandboxClient) -> None:
    """Identity, status, times, text, bytes and table, before and after."""
    run = start(sandbox, "printf 'a\\n\\377'; echo e >&2; exit 3", name="facts")
    assert (run.name, run.status, run.exit_code, run.integrity) == (
        "facts",
        "running",
        None,
        "following",
    )
    assert run.ended is None
    assert "following" in repr(run)
    assert run.wait() is run
    assert run.command.startswith("printf")
    assert (run.status, run.exit_code, run.integrity) == ("failed", 3, "complete")
    assert (run.stdout_bytes, run.stderr_bytes) == (b"a\n\xff", b"e\n")
    assert (run.stdout, run.stderr) == ("a\n\ufffd", "e\n")
    assert run.started is not None
    assert run.ended is not None
    assert run.started <= run.ended
    assert run.ended.tzinfo is UTC
    assert datetime.now(UTC) - run.started < timedelta(seconds=30)
    assert sorted(row["text"] for row in run.logs) == ["a", "e", "\ufffd"]
    assert repr(run) == f"<SandboxRun facts in {run.sandbox}: failed, exit 3, 3 lines, complete>"
    header = run.header()
    assert (header["status"], header["exit_code"], header["final"]) == ("failed", 3, True)
    assert (header["lines"], header["bytes"]) == (3, 5)


def test_attributes_never_touch_the_network() -> None:
    """A run answers from memory when its server is gone."""
    with imitation() as server:
        client = SandboxClient(url=server.url)
        run = start(client, "seq 1 3")
        run.wait()
        requests = sum(server.requests.values())
        assert run.stdout == "1\n2\n3\n"
        assert (run.integrity, run.exit_code, len(run.logs)) == ("complete", 0, 3)
        assert run.wait(1) is run
        assert sum(server.requests.values()) == requests
        bridge.call(client.aclose)
    assert (run.stdout, run.logs.records()[0]["text"]) == ("1\n2\n3\n", "1")


def test_wait_times_out_and_goes_on(sandbox: SandboxClient) -> None:
    """After a timeout the process goes on, what came is there, and waiting again loses nothing."""
    run = start(sandbox, "for i in 1 2 3 4 5 6; do echo $i; sleep .25; done")
    before = time.monotonic()
    with pytest.raises(TimeoutError):
        run.wait(0.4)
    assert time.monotonic() - before < 1.2
    assert run.status == "running"
    assert run.stdout.startswith("1\n")
    assert not run.final
    with pytest.raises(TimeoutError):
        run.wait(timeout=0.2)
    run.wait(30)
    assert (run.stdout, run.integrity) == ("1\n2\n3\n4\n5\n6\n", "complete")
    assert [row["text"] for row in run.logs] == list("123456")


def test_wait_of_many_threads(sandbox: SandboxClient) -> None:
    """Many may wait for one run: one of them records, all return, each line is there once."""
    run = start(sandbox, "for i in 1 2 3 4; do echo $i; sleep .1; done")
    with concurrent.futures.ThreadPoolExecutor(6) as pool:
        waits = [pool.submit(run.wait, 30) for _ in range(6)]
        assert all(wait.result() is run for wait in waits)
    assert [row["text"] for row in run.logs] == list("1234")


def test_a_waiter_that_gives_up_hands_over(sandbox: SandboxClient) -> None:
    """When the one that records times out, another goes on where it was."""
    run = start(sandbox, "for i in 1 2 3 4; do echo $i; sleep .2; done")
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        first = pool.submit(run.wait, 0.3)
        until(lambda: run.busy)
        run.wait(30)
        assert isinstance(first.exception(), TimeoutError)
    assert (run.stdout, run.integrity) == ("1\n2\n3\n4\n", "complete")
    assert len(run.logs) == 4


def test_await_on_another_loop(sandbox: SandboxClient) -> None:
    """A run that the bridge follows is awaited on any loop, and one that nobody follows, too."""
    followed = start(sandbox, "sleep .3; echo x", name="followed")
    work = bridge.spawn(followed.finish)
    alone = start(sandbox, "sleep .3; echo y", name="alone")

    async def both() -> list[str]:
        runs = await asyncio.gather(followed, alone)
        await sandbox.aclose()
        return [run.stdout for run in runs]

    assert asyncio.run(both()) == ["x\n", "y\n"]
    assert work.result(10) is followed


async def test_wait_in_a_thread_of_a_loop(server: Imitation) -> None:
    """``wait`` in a thread follows on the bridge; the loop that started the run may await it, too."""
    async with SandboxClient(url=server.url) as sandbox:
        run = await sandbox.exec("sleep .2; echo x")
        await asyncio.to_thread(run.wait, 30)
        assert run.stdout == "x\n"
        assert (await run) is run
        await asyncio.to_thread(bridge.call, sandbox.aclose)  # what ``wait`` opened on the bridge


def test_stop_and_kill_are_synchronous(sandbox: SandboxClient) -> None:
    """``stop`` asks, ``kill`` ends; the end is known after ``wait``."""
    run = start(sandbox, "trap 'echo bye; exit 5' TERM; echo up; while :; do sleep .05; done")
    with pytest.raises(TimeoutError):
        run.wait(0.3)
    run.stop()
    run.wait(30)
    assert (run.status, run.exit_code, run.stdout) == ("stopped", 5, "up\nbye\n")
    run = start(sandbox, "trap '' TERM; echo up; while :; do sleep .05; done")
    run.stop()
    with pytest.raises(TimeoutError):
        run.wait(0.4)
    run.kill()
    run.wait(30)
    assert (run.status, run.exit_code) == ("killed", -1)


def test_lost_server_is_a_follow_error_that_can_be_resumed(
    server: Imitation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When the patience is over the run says ``gap``; waiting again goes on and completes it."""
    from blaxel_jupyter import client as module

    monkeypatch.setattr(module, "FOLLOW_PATIENCE", 0.3)
    sandbox = SandboxClient(url=server.url)
    run = start(sandbox, "for i in $(seq 1 20); do echo $i; sleep .1; done", name="lost")
    work = bridge.spawn(run.finish)
    until(lambda: len(run.logs) > 2)
    server.fail(Fault("status", path="lost|stat", method="GET", times=40, status=502))
    with pytest.raises(FollowError, match="lost stopped after") as caught:
        work.result(30)
    assert caught.value.seq == len(run.logs)
    assert run.integrity == "gap"
    assert not run.final
    assert run.header()["verbs"] == ["follow", "stop", "kill"]
    server.reset()
    run.obey("follow")
    run.wait(30)
    assert run.integrity == "complete"
    assert [row["text"] for row in run.logs] == [str(i) for i in range(1, 21)]
    bridge.call(sandbox.aclose)


def test_integrity_of_a_doubtful_stream() -> None:
    """Where only a log stream can be had and it was wrong, the run says ``repaired``."""
    with imitation(Habits(raw_files=False, watch=False)) as server:
        sandbox = SandboxClient(url=server.url)
        run = start(sandbox, "printf 'stdout:a\\nb\\n'; sleep .2")
        run.wait(30)
        bridge.call(sandbox.aclose)
    assert (run.stdout, run.integrity) == ("stdout:a\nb\n", "repaired")


def test_stop_of_an_unreachable_server() -> None:
    """The error comes to the caller of ``stop``; the run stays what it was."""
    with imitation() as server:
        sandbox = SandboxClient(url=server.url)
        run = start(sandbox, "sleep 60")
    with pytest.raises(TransportError):
        run.stop()
    assert run.status == "running"
    bridge.call(sandbox.aclose)


def test_callbacks_and_wait(sandbox: SandboxClient) -> None:
    """A run that callbacks follow on the bridge is waited for from here."""
    lines: list[str] = []
    run = start(sandbox, "echo 1; sleep .3; echo 2", on_log=lines.append)
    run.wait(30)
    assert lines == ["1", "2"]


def test_error_of_a_callback_ends_the_follow_not_the_run(sandbox: SandboxClient) -> None:
    """A callback that raises ends its follow; the run can be waited for all the same."""
    run = start(sandbox, "echo 1; sleep .3; echo 2", on_log=int, name="cb")
    run.wait(30)
    assert run.stdout == "1\n2\n"
    bad = start(sandbox, "echo x; sleep .3; echo 2", on_log=int, name="cb2")
    bad.wait(30)
    assert (bad.stdout, bad.status) == ("x\n2\n", "completed")
    assert [row["text"] for row in bad.logs] == ["x", "2"]


def test_timeout_of_the_server_is_told_as_such(sandbox: SandboxClient) -> None:
    """Whoever was quicker, server or client, a run that was killed after its time says so."""
    early = start(sandbox, "sleep 60", timeout=30)
    early.kill()
    early.wait(30)
    assert (early.status, early.timed_out) == ("killed", False)
    late = start(sandbox, "sleep 60", timeout=30)
    late.asked -= 30  # as if the server had waited that long, and ended it before we did
    bridge.call(sandbox.kill, late.name)
    late.wait(30)
    assert (late.status, late.timed_out) == ("killed", True)
    assert late.logs[-1]["text"] == "killed after 30 s (timeout)"


def test_a_full_disk_is_told_once(
    sandbox: SandboxClient, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Where nothing can be put on disk the run goes on in memory, complete, and one row says so."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "gone"))
    run = start(sandbox, "seq 1 20000; sleep .2; seq 1 5")
    run.ledgers["stdout"] = Ledger("stdout", Spool(1000))
    run.wait(30)
    assert run.stdout == "".join(f"{i}\n" for i in [*range(1, 20_001), *range(1, 6)])
    [notice] = [row["text"] for row in run.logs if row["kind"] == "notice"]
    assert notice.startswith("what is logged stays in memory: ")
    assert (len(run.logs), run.integrity) == (20_006, "complete")


def test_a_run_is_the_same_from_disk(sandbox: SandboxClient) -> None:
    """With next to nothing in memory, bytes, rows, pages, filters and digest are what was written."""
    run = start(
        sandbox,
        "seq -f 'a %06.0f \u00e9' 1 3000; printf '\\377 bad\\n';"
        " for i in 1 2 3; do echo e$i >&2; sleep .05; done;"
        " seq -f 'b %06.0f' 1 5000; echo ERROR x; printf 'no end'; exit 3",
    )
    run.ledgers = {name: Ledger(name, Spool(100)) for name in run.ledgers}
    spill = Spill(lambda: Spool(100), held=0, rows=2)
    run.logs = Table(LOGS, constants={"sandbox": "box", "process": run.name}, spill=spill)
    run.wait(60)
    stdout = [f"a {i:06} \u00e9" for i in range(1, 3001)] + ["\ufffd bad"]
    stdout += [f"b {i:06}" for i in range(1, 5001)] + ["ERROR x", "no end"]
    assert run.stdout_bytes == "\n".join(stdout).encode().replace(b"\xef\xbf\xbd", b"\xff")
    assert run.stderr_bytes == b"e1\ne2\ne3\n"
    rows = run.logs.records()
    assert [row["text"] for row in rows if row["stream"] == "stdout"] == stdout
    assert [row["text"] for row in rows if row["stream"] == "stderr"] == ["e1", "e2", "e3"]
    assert run.logs.to_arrow().to_pylist() == rows
    assert run.logs.to_pandas()["text"].tolist() == [row["text"] for row in rows]
    assert run.logs.filter("/b 00012/").records() == [
        row for row in rows if "b 00012" in row["text"]
    ]
    page, [texts, *_] = Rows(run).page(2_990, 40)
    assert (page["n"], texts.decode().split("\n")) == (40, [row["text"] for row in rows[2990:3030]])
    [error] = [row["seq"] for row in rows if row["text"] == "ERROR x"]
    assert run.header()["digest"] == {"meaning": None, "first": error, "block": [error, error + 1]}
    assert run.error_context(0).records() == [rows[error]]
    assert run.integrity == "complete"
