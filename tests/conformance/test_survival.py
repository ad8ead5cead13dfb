"""What survives ``kill -9``: of the local service in mid-run, and of the kernel that started a run."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from blaxel_jupyter import SandboxClient, local
from tests.kernels import kernel
from tests.local_service import until
from tests.notebook_runs import own_folders

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")  # jupyter_client's sockets

LOAD = "%load_ext blaxel_jupyter\n%sandbox use local"
COUNT = "for i in $(seq 1 40); do echo line $i; echo e$i >&2; sleep .05; done; printf end; exit 7"
STDOUT = "".join(f"line {i}\n" for i in range(1, 41)) + "end"
STDERR = "".join(f"e{i}\n" for i in range(1, 41))


@pytest.fixture(autouse=True)
def folder(tmp_path: Path) -> Iterator[Path]:
    """Folders of the test's own; the service that runs at its end is stopped."""
    with own_folders(tmp_path):
        yield tmp_path


def crash() -> None:
    """End the local service as a crash does."""
    service = local.find()
    assert service is not None
    os.kill(service.pid, signal.SIGKILL)
    until(lambda: local.find() is None)


async def test_service_dies_under_a_follow() -> None:
    """A follow finds the service that takes its place and goes on: every line once, and the end."""
    async with SandboxClient("local") as sandbox:
        run = await sandbox.exec(COUNT, name="count")
        entries = []
        async with SandboxClient("local") as other, other.follow("count") as lines:
            async for entry in lines:
                entries.append(entry)
                if len(entries) == 8:
                    await asyncio.to_thread(crash)
        await run
    assert [e.text for e in entries if e.stream == "stdout"] == STDOUT.split("\n")
    assert [e.text for e in entries if e.stream == "stderr"] == STDERR.split("\n")[:-1]
    assert [e.seq for e in entries] == list(range(81))
    assert {e.kind for e in entries} == {"line"}
    assert (run.stdout, run.stderr, run.integrity) == (STDOUT, STDERR, "complete")
    assert (run.status, run.exit_code) == ("failed", 7)


@pytest.mark.parametrize("times", [1, 2])
def test_service_dies_under_a_cell(folder: Path, times: int) -> None:
    """A cell that waits shows every line once, then the real exit code."""
    with kernel(folder, LOAD) as running:
        shown = running.start(f"%%sandbox_exec -n count\n{COUNT}")
        for turn in range(times):
            shown.until(f"line {5 + 15 * turn}\n")
            crash()
        shown.finish()
        assert shown.error is not None
        assert shown.lines[0].startswith("ProcessError: count failed with exit code 7.")
        assert shown.stdout == STDOUT + "\n"
        assert shown.stderr == STDERR
        assert running.value("_sandbox.integrity, _sandbox.exit_code") == ("complete", 7)
        assert running.value("_sandbox.stdout") == STDOUT
        assert running.value("_sandbox.stderr") == STDERR
        assert running.value("[r['seq'] for r in _sandbox.logs] == list(range(81))")


def test_service_dies_while_nobody_looks(folder: Path) -> None:
    """A process that ended while no service was there has its lines; its fate is told, not invented."""
    with kernel(folder, LOAD) as running:
        running.run("%%sandbox_exec -n quick --bg\necho a; sleep .5; echo b")
        until(lambda: running.value("_sandbox.stdout") == "a\n")
        crash()
        waited = running.run("_ = _sandbox.wait(60)")
        assert waited.error is None, waited.lines
        assert running.value("_sandbox.stdout, _sandbox.integrity") == ("a\nb\n", "complete")


def test_kernel_dies_and_a_new_one_has_everything(folder: Path) -> None:
    """A ``--bg`` run outlives its kernel; ``%sandbox_logs -f`` in a new one has every line once."""
    with kernel(folder, LOAD) as first:
        first.run(f"%%sandbox_exec -n count --bg\n{COUNT}")
        until(lambda: "line 5" in first.value("_sandbox.stdout"))
        first.kill()
    with kernel(folder, LOAD) as second:
        shown = second.run("%sandbox_logs count -f")
        assert shown.error is None, shown.lines
        assert shown.stdout == STDOUT + "\n"
        assert shown.stderr == STDERR
        facts = "_sandbox.integrity, _sandbox.status, _sandbox.exit_code, _sandbox.stdout"
        assert second.value(facts) == ("complete", "failed", 7, STDOUT)
        assert second.value("[r['origin'] for r in _sandbox.logs][0]") == "backfill"


def test_kernel_and_service_die(folder: Path) -> None:
    """Both gone in mid-run: a new kernel starts a service that knows the run, and has it all."""
    with kernel(folder, LOAD) as first:
        first.run(f"%%sandbox_exec -n count --bg\n{COUNT}")
        until(lambda: "line 5" in first.value("_sandbox.stdout"))
        first.kill()
        crash()
    with kernel(folder, LOAD) as second:
        shown = second.run("%sandbox_logs count -f")
        assert shown.error is None, shown.lines
        assert (shown.stdout, shown.stderr) == (STDOUT + "\n", STDERR)
        assert second.value("_sandbox.integrity, _sandbox.exit_code") == ("complete", 7)
