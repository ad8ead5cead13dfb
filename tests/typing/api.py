"""The public names as a user's type checker sees them; never run, always checked."""

from __future__ import annotations

from datetime import datetime
from typing import Any, assert_type

from blaxel_jupyter import (
    BlaxelError,
    LogEntry,
    LogPanel,
    Process,
    SandboxClient,
    SandboxRun,
    Table,
    Task,
    TaskClient,
    TaskEvent,
    TaskRun,
    TaskRuns,
    TaskStatus,
    run,
)


async def client() -> None:
    async with SandboxClient("local") as sandbox:
        started = await sandbox.exec("echo hi", name="hello", env={"A": "1"}, timeout=5)
        assert_type(started, SandboxRun)
        assert_type(started.stdout, str)
        assert_type(started.stdout_bytes, bytes)
        assert_type(started.exit_code, int | None)
        assert_type(started.logs, Table)
        assert_type(await started, SandboxRun)
        async with sandbox.follow("hello") as entries:
            async for entry in entries:
                assert_type(entry, LogEntry)
        assert_type(await sandbox.logs("hello", stream="stderr"), str)
        assert_type(await sandbox.process("hello"), Process)
        assert_type(await sandbox.processes(), list[Process])
        assert_type(await sandbox.wait("hello", timeout=60), Process)
        assert_type(await sandbox.stream_logs("hello", on_log=print).wait(), SandboxRun | None)


def synchronous(one: SandboxRun) -> None:
    assert_type(one.wait(timeout=1.5), SandboxRun)
    assert_type(run(one), SandboxRun)
    LogPanel(one).flush()


async def tasks() -> None:
    async with TaskClient() as blackbox, TaskClient("local") as tasks:
        assert_type(blackbox.name, str)
        started = await tasks.create("$ ls", model="m", agent="local", repo_url=None, branch="main")
        assert_type(started, TaskRun)
        async with tasks.follow(started.run_id) as events:
            async for event in events:
                assert_type(event, TaskEvent)
                assert_type(event.received, int | None)
                assert_type(event.data, Any)
        assert_type(await started, TaskRun)
        assert_type(await tasks.logs("id", include_deltas=False, raw=True), TaskRun)
        assert_type(await tasks.logs_many(["a", "b"], concurrency=4, progress=print), TaskRuns)
        assert_type(await tasks.status("id"), TaskStatus)
        assert_type(await tasks.cancel("id"), TaskStatus)
        assert_type(await tasks.follow_up("id", "$ ls"), TaskRun)
        page = await tasks.list(page=2, limit=50, status="failed")
        assert_type(page.has_more, bool)
        assert_type(page[0], Task)
        assert_type(page[0].created, datetime | None)


def told(one: TaskRun, several: TaskRuns, error: BlaxelError) -> None:
    assert_type(one.text, str)
    assert_type(one.error, str | None)
    assert_type(one.source, str | None)
    assert_type(one.warnings, list[str])
    assert_type(one.raw_events, list[str] | None)
    for table in (one.events, one.tool_calls, several.text_blocks, several.summary):
        assert_type(table, Table)
    assert_type(one.wait(timeout=1.5), TaskRun)
    assert_type(one.cancel(), None)
    assert_type(several[0], TaskRun)
    assert_type(error.partial, object)
    LogPanel(one).flush()
    assert_type(LogPanel(*several, one).logs.filter("source:x"), Table)
