"""The public names as a user's type checker sees them; never run, always checked."""

from __future__ import annotations

from typing import assert_type

from blaxel_jupyter import LogEntry, LogPanel, Process, SandboxClient, SandboxRun, Table, run


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
