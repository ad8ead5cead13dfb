"""The machine's clock is set by hours, forwards and back, on the kernel's side or the service's.

A small library between Python and the system makes it so; it needs a C compiler.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from blaxel_jupyter import SandboxClient
from blaxel_jupyter.clock import Clock
from tests.endure.clock_child import STEPS
from tests.local_service import LocalService

HERE = Path(__file__).parent
LINES = "".join(f"line {i}\n" for i in range(1, 41))


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library."""
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None or sys.platform != "linux":
        pytest.skip("there is no C compiler, or no LD_PRELOAD")
    made = tmp_path_factory.mktemp("clock") / "clock.so"
    command = [compiler, "-shared", "-fPIC", "-O1", "-o", str(made), str(HERE / "clock.c"), "-ldl"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"the library cannot be made here: {done.stderr[:200]}")
    return made


def facts(service: LocalService, **environment: str) -> dict[str, Any]:
    """Run the child; return what it found."""
    done = subprocess.run(
        [sys.executable, "-m", "tests.endure.clock_child"],
        env=service.environment(**environment),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("side", ["kernel", "service"])
def test_a_clock_that_is_set_breaks_nothing(library: Path, tmp_path: Path, side: str) -> None:
    """Bytes, order, timeouts and durations are those of a clock that nobody sets."""
    file = tmp_path / "set"
    file.write_text("0")
    changed = {"LD_PRELOAD": str(library), "SET_CLOCK_FILE": str(file)}
    service = LocalService(tmp_path).start(**(changed if side == "service" else {}))
    try:
        found = facts(service, **(changed if side == "kernel" else changed | {"LD_PRELOAD": ""}))
    finally:
        service.end()
    assert (found["stdout"], found["integrity"]) == (LINES, ["complete", "complete"])
    assert (found["status"], found["timed_out"]) == (["completed", "killed", "completed"], True)
    assert 2 <= found["lasted"] <= found["seconds"] < 100
    assert any(abs(found["off"] - by) < 60 for by in STEPS)
    for times in (found["received"], found["events"]):
        assert all(one <= other for one, other in pairwise(times))
        assert 0 < times[-1] - times[0] < found["seconds"] * 1e6
    assert len(found["durations"]) == 6
    assert all(200 <= ms <= found["seconds"] * 1000 for ms in found["durations"] if ms is not None)
    assert any(ms is not None for ms in found["durations"])
    assert found["run_lasted"] is None or 1200 <= found["run_lasted"] <= found["seconds"] * 1000


async def test_names_stay_in_order_when_the_clock_is_set_back(
    library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The newest process of a name is that which was started last, also for the next service."""
    file = tmp_path / "set"
    file.write_text("36000")
    changed = {"LD_PRELOAD": str(library), "SET_CLOCK_FILE": str(file)}
    service = LocalService(tmp_path).start(**changed)
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(service.runtime.parent))
    try:
        async with SandboxClient("local") as sandbox:
            await sandbox.exec("echo former", name="twice", wait=True)
            file.write_text("-36000")
            await sandbox.exec("echo latter", name="twice", wait=True)
            kept = await sandbox.exec("sleep 300", name="kept", timeout=600)
            service.end()
            file.write_text("72000")
            service.start(**changed)
            assert (await sandbox.process("twice")).command == "echo latter"
            assert (await sandbox.process("kept")).status == "running"
            await sandbox.kill("kept")
            assert (await kept).status == "killed"
            assert not kept.timed_out
    finally:
        service.end()


def test_a_clock_begins_with_the_machines(library: Path) -> None:
    """It says what the machine says, and goes on."""
    code = (
        "import os, time\n"
        "from blaxel_jupyter.clock import Clock\n"
        "def put(by): open(os.environ['SET_CLOCK_FILE'], 'w').write(str(by))\n"
        "put(0); clock = Clock(); first = clock.now()\n"
        "assert abs(first / 1e6 - time.time()) < 5\n"
        "put(-7200); assert time.time() < first / 1e6 - 7000; assert first <= clock.now() < first + 5e6\n"
        "put(7200); assert time.time() > first / 1e6 + 7000; assert first <= clock.now() < first + 5e6\n"
    )
    file = library.with_name("set")
    subprocess.run(
        [sys.executable, "-c", code],
        env={
            "PATH": "",
            "PYTHONPATH": str(HERE.parents[1]),
            "LD_PRELOAD": str(library),
            "SET_CLOCK_FILE": str(file),
        },
        check=True,
    )
    assert Clock().moment().tzinfo is not None
