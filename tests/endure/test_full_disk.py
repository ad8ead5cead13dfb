"""A disk that is full, the service's or the kernel's: what came stays, the rest goes on, and errors say why.

A real disk of two megabytes is mounted for it, in memory; where that may not be done, the tests are skipped.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from blaxel_jupyter import SandboxClient, StatusError, TaskClient
from tests.endure.left import descriptors, kinds
from tests.local_service import LocalService, raw, run, until

FILL = "echo one; yes 0123456789 | head -c 4000000; exit 7"


@contextmanager
def small_disk(folder: Path) -> Iterator[Path]:
    """Mount a disk of 2 MB at a new folder."""
    folder.mkdir()
    options = ["-t", "tmpfs", "-o", "size=2m,mode=700", "tmpfs", str(folder)]
    try:
        done = subprocess.run(["mount", *options], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no mount here")
    if done.returncode != 0:
        pytest.skip(f"no disk may be mounted here: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture
def service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalService]:
    """A service whose state is on a small disk, and this process's ``local``."""
    with small_disk(tmp_path / "dir"):
        running = LocalService(tmp_path).start()
        monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(running.runtime.parent))
        try:
            yield running
        finally:
            running.end()


async def test_a_service_with_a_full_disk_goes_on(service: LocalService) -> None:
    """What fitted is there, the end is known; what needs room is refused in words; room heals it."""
    async with SandboxClient("local") as sandbox, TaskClient("local") as tasks:
        await sandbox.exec("echo before", name="before", wait=True)
        full = await sandbox.exec(FILL, name="full", wait=True)
        assert (full.status, full.exit_code) == ("failed", 7)
        with service.client() as client:
            assert full.stdout_bytes == raw(client, "full")
        assert full.stdout_bytes.startswith(b"one\n0123456789\n0123456789\n")
        assert 1_000_000 < len(full.stdout_bytes) < 4_000_000
        assert await sandbox.logs("before") == "before\n"
        with pytest.raises(StatusError, match=r"no space left on device.* make room there"):
            await sandbox.exec("echo more")
        with pytest.raises(StatusError, match=r"full.* make room there"):
            await tasks.create("$ echo more")
        assert [process.name for process in await sandbox.processes()] == ["before", "full"]
        logs = service.folder / "dir" / "sandboxes" / "local" / "logs"
        os.truncate(logs / "full.stdout.log", 0)
        again = await sandbox.exec("echo again", wait=True)
        assert (again.stdout, again.exit_code) == ("again\n", 0)
        assert (await (await tasks.create("$ echo more"))).status == "completed"
    assert service.process is not None
    assert service.process.poll() is None


async def test_a_full_disk_survives_a_restart(service: LocalService) -> None:
    """What could not be saved is put right by the next service, and no descriptor is left open."""
    assert service.process is not None
    with service.client() as client:
        run(client, "true")
        before = kinds(descriptors(service.process.pid))
        run(client, FILL, name="full")
        pid = service.process.pid
        until(lambda: set(kinds(descriptors(pid))) <= set(before))
    service.end()
    service.start()
    async with SandboxClient("local") as sandbox:
        process = await sandbox.process("full")
        assert (process.status, process.exit_code) == ("failed", 7)


KERNEL = """
import asyncio, sys
from blaxel_jupyter import SandboxClient
async def main():
    async with SandboxClient("local") as sandbox:
        run = await sandbox.exec("seq -f %0100.0f 1 400000", wait=True)
        rows = run.logs.records()
        assert run.stdout_bytes == b"".join(b"%0100d\\n" % i for i in range(1, 400001))
        texts = [row["text"] for row in rows if row["kind"] == "line"]
        assert texts == ["%0100d" % i for i in range(1, 400001)]
        print(run.integrity, [row["text"] for row in rows if row["kind"] == "notice"])
asyncio.run(main())
"""


def test_a_kernel_with_a_full_disk_keeps_the_output_in_memory(tmp_path: Path) -> None:
    """40 MB of output with 2 MB of room for temporary files: exact, and a row says why it is in memory."""
    running = LocalService(tmp_path).start()
    try:
        with small_disk(tmp_path / "tmp") as temp:
            done = subprocess.run(
                [sys.executable, "-c", KERNEL],
                env=running.environment(TMPDIR=str(temp)),
                capture_output=True,
                text=True,
                check=False,
            )
    finally:
        running.end()
    assert done.returncode == 0, done.stderr
    assert done.stdout == ("complete ['what is logged stays in memory: No space left on device']\n")
