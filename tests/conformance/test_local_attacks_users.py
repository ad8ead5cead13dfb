"""Another user of the machine: reads nothing of the service's, and plants nothing that is trusted."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from blaxel_jupyter.local import private
from tests.local_service import LocalService, program, run, until

NOBODY = 65534

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0, reason="only root can give files to another user"
)


def open_to_others(folder: Path) -> list[str]:
    """Return what below a folder others could read or write, were the folders above it open."""
    found = []
    for where, _, files in os.walk(folder):
        for path in (Path(where), *(Path(where) / name for name in files)):
            mode = path.lstat().st_mode
            if mode & 0o077 and not stat.S_ISLNK(mode):
                found.append(f"{path.relative_to(folder)} {stat.S_IMODE(mode):o}")
    return found


def under_umask(service: LocalService, umask: int, code: str) -> str:
    """Run Python that finds the service, under a umask; return what it printed."""
    child = subprocess.run(
        [
            sys.executable,
            "-c",
            f"import os\nos.umask({umask})\nfrom blaxel_jupyter import local\n{code}",
        ],
        env=service.environment(),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert child.returncode == 0, child.stderr
    return child.stdout


@pytest.mark.parametrize("umask", [0o000, 0o777])
def test_nothing_is_readable_by_others_whatever_the_umask(tmp_path: Path, umask: int) -> None:
    """State, logs, database with its journal, runtime file, locks, drafts; while running and after."""
    service = LocalService(tmp_path)
    under_umask(service, umask, "local.ensure()")
    try:
        with service.client() as client:
            run(client, "echo out; echo err >&2", name="said")
            client.put("/filesystem/up/load", json={"content": "x"})
        with service.client("") as control:
            control.post("/v0/sandboxes", json={"metadata": {"name": "more"}})
            made = control.post("/api/v1/tasks", json={"prompt": "hi\n$ echo step"}).json()
            path = f"/api/v1/tasks/{made['runId']}"
            until(lambda: control.get(path).json()["status"] == "completed", 30)
        names = {path.name for path in tmp_path.rglob("*")}
        assert {"tasks.sqlite3", "tasks.sqlite3-wal", "tasks.sqlite3-shm", "serve.log"} <= names
        assert {"blaxel-local.json", "blaxel-local.lock", "serve.lock", "said.stdout.log"} <= names
        for folder in (tmp_path / "state", tmp_path / "runtime"):
            assert open_to_others(folder) == []
    finally:
        under_umask(service, umask, "local.stop()")
    for folder in (tmp_path / "state", tmp_path / "runtime"):
        assert open_to_others(folder) == []


def test_an_open_state_folder_of_ours_is_closed(tmp_path: Path) -> None:
    """One that an unlucky umask or another program had left open."""
    service = LocalService(tmp_path)
    inner = tmp_path / "dir" / "sandboxes" / "local" / "logs"
    inner.mkdir(parents=True, mode=0o777)
    for folder in (inner, inner.parent, inner.parent.parent):
        folder.chmod(0o777)
    service.start()
    with service.client() as client:
        run(client, "true")
    assert open_to_others(tmp_path / "dir" / "sandboxes") == []
    service.end()


@pytest.fixture
def strangers_port(tmp_path: Path) -> Iterator[tuple[int, list[bytes]]]:
    """A port of somebody else's, who answers every request with 200, and notes what he was sent."""
    heard: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.1)
        done = threading.Event()

        def answer() -> None:
            while not done.is_set():
                try:
                    connection, _ = listener.accept()
                except TimeoutError:
                    continue
                with connection:
                    connection.settimeout(2)
                    heard.append(connection.recv(65536))
                    body = json.dumps({"status": "ok", "pid": os.getpid(), "url": "x"}).encode()
                    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body))
                    connection.sendall(body)

        thread = threading.Thread(target=answer)
        thread.start()
        yield listener.getsockname()[1], heard
        done.set()
        thread.join()


def test_the_token_is_never_sent_to_a_stranger(
    tmp_path: Path, strangers_port: tuple[int, list[bytes]]
) -> None:
    """The service was killed and its port is another's: found out before anything secret is sent."""
    port, heard = strangers_port
    service = LocalService(tmp_path).start()
    facts = service.facts
    service.end(signal.SIGKILL)
    facts |= {"port": port, "url": f"http://127.0.0.1:{port}", "pid": os.getpid()}
    private.write_own(service.runtime, json.dumps(facts))
    code = (
        "from blaxel_jupyter import SandboxClient, TaskClient, run\n"
        "print(local.find())\n"
        "async def use():\n"
        "    async with SandboxClient('local') as sandbox:\n"
        "        print((await sandbox.exec('echo ours', wait=True)).stdout)\n"
        "    async with TaskClient('local') as tasks:\n"
        "        print(len((await tasks.list()).tasks) if hasattr(await tasks.list(), 'tasks') else 0)\n"
        "run(use())\n"
        "local.stop()\n"
    )
    child = program(service, code)
    text, _ = child.communicate(timeout=90)
    assert child.returncode == 0, text
    assert text.splitlines()[:2] == ["None", "ours"]
    assert heard  # he was asked, and for nothing but a proof
    for request in heard:
        assert request.startswith(b"GET /proof?challenge=")
        for word in (facts["token"].encode(), b"authorization", b"echo ours"):
            assert word.lower() not in request.lower()


def test_a_client_that_is_kept_asks_again_before_it_runs_anything(
    tmp_path: Path, strangers_port: tuple[int, list[bytes]]
) -> None:
    """Its service was killed meanwhile, and a stranger listens in its place: the command is not his."""
    port, heard = strangers_port
    service = LocalService(tmp_path).start()
    code = (
        "import json, os, signal\n"
        "from blaxel_jupyter import SandboxClient, TaskClient, run\n"
        "import signal\n"
        "from blaxel_jupyter.local import private\n"
        "async def use():\n"
        "    async with SandboxClient('local') as sandbox, TaskClient('local') as tasks:\n"
        "        await sandbox.exec('true', wait=True)\n"
        "        await tasks.create('hello')\n"
        "        found = local.find()\n"
        "        os.kill(found.pid, signal.SIGKILL)\n"
        "        facts = json.loads(private.read_own(local.runtime_file()))\n"
        f"        facts |= {{'port': {port}, 'url': 'http://127.0.0.1:{port}'}}\n"
        "        private.write_own(local.runtime_file(), json.dumps(facts))\n"
        "        print((await sandbox.exec('echo s3cret', wait=True)).stdout)\n"
        "        await tasks.create('s3cret')\n"
        "run(use())\n"
        "local.stop()\n"
    )
    child = program(service, code)
    text, _ = child.communicate(timeout=90)
    service.end()
    assert child.returncode == 0, text
    assert "s3cret" in text
    assert heard
    assert all(request.startswith(b"GET /proof?challenge=") for request in heard)


def told(service: LocalService, code: str) -> str:
    """Run Python that finds the service; return the last line of what it printed."""
    child = program(service, code)
    text, _ = child.communicate(timeout=60)
    return text.strip().splitlines()[-1]


def test_a_planted_runtime_file_is_not_trusted(tmp_path: Path) -> None:
    """Another user's, one that others can write, a link to one, a pipe: an error that says what to do."""
    service = LocalService(tmp_path)
    service.runtime.parent.mkdir(mode=0o777)
    service.runtime.parent.chmod(0o1777)
    facts = {"url": "http://127.0.0.1:9", "token": "x", "pid": 1, "port": 9}
    planted = tmp_path / "planted.json"
    planted.write_text(json.dumps(facts))
    planted.chmod(0o600)

    def refused() -> None:
        for code in ("local.find()", "local.ensure()"):
            said = told(service, code)
            assert said.startswith("blaxel_jupyter.errors.ProtocolError"), said
            assert "Delete it and try again" in said
        service.runtime.unlink()

    service.runtime.symlink_to(planted)
    refused()
    service.runtime.write_text(json.dumps(facts))
    service.runtime.chmod(0o666)
    refused()
    service.runtime.write_text(json.dumps(facts))
    service.runtime.chmod(0o600)
    os.chown(service.runtime, NOBODY, NOBODY)
    refused()
    os.mkfifo(service.runtime, 0o600)
    refused()


def test_planted_links_are_not_written_through(tmp_path: Path) -> None:
    """The lock, the log and the draft of the runtime file are our own files, or nothing is written."""
    victim = tmp_path / "victim"
    victim.write_text("precious")
    service = LocalService(tmp_path)
    service.runtime.parent.mkdir()
    lock = service.runtime.with_suffix(".lock")
    lock.symlink_to(victim)
    assert "ProtocolError" in told(service, "local.ensure()")
    lock.unlink()
    state = Path(told(service, "print(local.state_dir())"))
    private.own_folder(state)
    for name in ("serve.log", "serve.lock"):
        (state / name).symlink_to(victim)
        assert "TransportError" in told(service, "local.ensure()")
        (state / name).unlink()
    assert victim.read_text() == "precious"
    (state / "sandboxes").symlink_to(tmp_path)
    assert "is not a folder of yours" in told(service, "local.ensure()")
    (state / "sandboxes").unlink()
    draft = service.runtime.with_name(f".{service.runtime.name}.{os.getpid()}")
    draft.symlink_to(victim)
    private.write_own(service.runtime, "{}")
    assert victim.read_text() == "precious"
    assert stat.S_IMODE(service.runtime.lstat().st_mode) == 0o600
    service.runtime.unlink()
    assert told(service, "local.ensure(); print(local.stop())") == "True"


def test_files_of_another_user_are_not_taken_over(tmp_path: Path) -> None:
    """A lock, a log or a folder that is there already and not ours."""
    for name, mode in (("theirs", 0o600), ("open", 0o666)):
        path = tmp_path / name
        path.write_text("x")
        path.chmod(mode)
        if name == "theirs":
            os.chown(path, NOBODY, NOBODY)
        with pytest.raises(PermissionError, match="only you can write"):
            private.open_own(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC)
        assert path.read_text() == "x"
    folder = tmp_path / "folder"
    folder.mkdir()
    os.chown(folder, NOBODY, NOBODY)
    with pytest.raises(PermissionError, match="not a folder of yours"):
        private.own_folder(folder)


def test_two_notebooks_that_start_it_at_once_share_one(
    tmp_path: Path, strangers_port: tuple[int, list[bytes]]
) -> None:
    """Also after a crash that left a runtime file, whose port is somebody else's by now."""
    port, heard = strangers_port
    service = LocalService(tmp_path).start()
    facts = service.facts | {"port": port}
    service.end(signal.SIGKILL)
    private.write_own(service.runtime, json.dumps(facts))
    starters = [program(service, "print(local.ensure(60).pid)") for _ in range(2)]
    said = [each.communicate(timeout=120)[0].strip() for each in starters]
    assert len(set(said)) == 1, said
    assert said[0].isdigit()
    assert heard
    assert told(service, "print(local.stop())") == "True"
