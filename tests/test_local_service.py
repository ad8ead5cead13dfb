"""The local service's life: found, shared, private, replaced after a crash, gone when idle."""

from __future__ import annotations

import json
import os
import re
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.local_service import LocalService, program, raw, run, until


@pytest.fixture
def service(tmp_path: Path) -> Iterator[LocalService]:
    """A service of this test's own."""
    service = LocalService(tmp_path).start()
    yield service
    service.end()


def said(child: subprocess.Popen[str]) -> str:
    """Wait for a program and return what it printed."""
    text, _ = child.communicate(timeout=30)
    assert child.returncode == 0, text
    return text.strip()


def test_runtime_file_is_private_and_says_where(service: LocalService) -> None:
    """Mode 0600, and everything that a client needs; gone after the exit."""
    assert stat.S_IMODE(service.runtime.stat().st_mode) == 0o600
    assert stat.S_IMODE(service.runtime.parent.stat().st_mode) == 0o700
    keys = {"url", "port", "token", "other_token", "pid", "dir", "started", "version"}
    assert set(service.facts) == keys
    assert service.process is not None
    assert service.facts["pid"] == service.process.pid
    service.end()
    assert not service.runtime.exists()


def test_announcement_warns_and_keeps_the_token(service: LocalService) -> None:
    """It says that nothing is isolated and how to use the SDK, but not the token."""
    assert "WITHOUT ISOLATION" in service.announced
    assert f"BL_SANDBOX_LOCAL_URL={service.url}/sandboxes/local" in service.announced
    assert service.facts["token"] not in service.announced
    command = re.findall(r"export BL_API_KEY=(.*)", service.announced)[0]
    shown = subprocess.run(["/bin/sh", "-c", f"echo {command}"], capture_output=True, text=True)
    assert shown.stdout.strip() == service.facts["token"]


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({"Authorization": ""}, 401, "AUTHENTICATION_REQUIRED"),
        ({"Authorization": "Bearer wrong"}, 401, "AUTHENTICATION_REQUIRED"),
        ({"Origin": "http://localhost:8888"}, 403, "FORBIDDEN"),
        ({"Host": "evil.example"}, 403, "FORBIDDEN"),
        ({"Host": "127.0.0.1"}, 403, "FORBIDDEN"),
    ],
)
def test_refuses_strangers(
    service: LocalService, headers: dict[str, str], status: int, code: str
) -> None:
    """No token, a web page or another host name: refused in the gateway's shape, everywhere."""
    for path in ("/health", "/sandboxes/local/process", "/v0/sandboxes", "/nope"):
        answer = httpx.get(service.url + path, headers=service.headers | headers)
        assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
        assert answer.headers["x-blaxel-error-code"] == code


def test_token_in_the_url_is_not_accepted(service: LocalService) -> None:
    """Only headers carry it; both of the platform's do."""
    token = service.facts["token"]
    for query in ("token", "bl_preview_token"):
        assert httpx.get(f"{service.url}/health?{query}={token}").status_code == 401
    for header in ("Authorization", "X-Blaxel-Authorization"):
        answer = httpx.get(f"{service.url}/health", headers={header: f"Bearer {token}"})
        assert answer.status_code == 200
        assert answer.json()["status"] == "ok"


def test_body_size_is_bounded(service: LocalService) -> None:
    """A body over the limit is refused while it is sent, not kept."""
    block = b" " * (1 << 20)
    with service.client() as client:
        answer = client.post("/process", content=(block for _ in range(65)))
    assert answer.status_code == 413


def test_kernels_that_start_at_once_share_one(tmp_path: Path) -> None:
    """Four starters, one service; it outlives them; ``stop`` ends it."""
    service = LocalService(tmp_path)
    starters = [program(service, "print(local.ensure().pid)") for _ in range(4)]
    pids = {said(each) for each in starters}
    assert len(pids) == 1
    assert said(program(service, "print(local.find().pid)")) in pids
    assert said(program(service, "print(local.stop(), local.find(), local.stop())")) == (
        "True None False"
    )


def test_service_never_shows_its_token(service: LocalService) -> None:
    """Not in the repr either."""
    shown = said(program(service, "print(local.find())"))
    assert service.url in shown
    assert service.facts["token"] not in shown


def test_a_dead_services_file_is_replaced(tmp_path: Path) -> None:
    """A runtime file whose process is gone, or whose port is another's, does not count."""
    service = LocalService(tmp_path).start()
    old = service.facts
    service.end(signal.SIGKILL)
    assert service.facts == old  # left behind
    assert said(program(service, "print(local.find())")) == "None"
    service.start()
    assert service.facts["token"] != old["token"]
    service.end()


def test_second_service_is_refused(service: LocalService) -> None:
    """``serve`` says that one is running, and exits with 1."""
    command = [sys.executable, "-m", "blaxel_jupyter.cli", "serve"]
    second = subprocess.run(command, env=service.environment(), capture_output=True, text=True)
    assert second.returncode == 1
    assert f"already running at {service.url}" in second.stderr
    other = service.environment(JUPYTER_RUNTIME_DIR=str(service.folder / "other"))
    command += ["--dir", str(service.folder / "dir")]
    third = subprocess.run(command, env=other, capture_output=True, text=True)
    assert third.returncode == 1
    assert "Give another --dir" in third.stderr


def test_exits_when_idle_but_not_before(tmp_path: Path) -> None:
    """A process that runs and an open stream keep it; then it goes, and its file."""
    service = LocalService(tmp_path).start("--idle", "0.4")
    assert service.process is not None
    with service.client() as client:
        started = client.post("/process", json={"command": "echo on; sleep 1.5"}).json()
        text = client.get(f"/process/{started['name']}/logs/stream").text
    assert text == "stdout:on\n"
    assert service.process.wait(10) == 0
    assert not service.runtime.exists()
    service.end()


def test_kill_9_loses_nothing(tmp_path: Path) -> None:
    """A replacement adopts what runs and what ended meanwhile: output, order, exit code, stop."""
    service = LocalService(tmp_path).start()
    with service.client() as client:
        for name, command in (
            ("counts", "for i in 1 2 3; do echo $i; sleep 0.3; done; echo e >&2; exit 7"),
            ("stays", "trap 'echo bye; exit 5' TERM; echo up; while :; do sleep 0.02; done"),
            ("silent", "sleep 0.1; kill -9 $$"),
        ):
            client.post("/process", json={"name": name, "command": command})
        until(lambda: raw(client, "counts") and raw(client, "stays"))
        pid = client.get("/process/stays").json()["pid"]
    service.end(signal.SIGKILL)
    logs = tmp_path / "dir" / "sandboxes" / "local" / "logs"
    until(lambda: (logs / "counts.stderr.log").read_bytes() == b"e\n")
    service.start()
    with service.client() as client:
        counts = until(lambda: _ended(client, "counts"))
        assert (counts["status"], counts["exitCode"]) == ("failed", 7)
        text = client.get("/process/counts/logs/stream").text
        assert text == "stdout:1\nstdout:2\nstdout:3\nstderr:e\n"
        silent = until(lambda: _ended(client, "silent"))
        assert (silent["status"], silent["exitCode"]) == ("failed", -1)
        stays = client.get("/process/stays").json()
        assert (stays["status"], stays["pid"]) == ("running", pid)
        assert client.delete("/process/stays").status_code == 200
        stays = until(lambda: _ended(client, "stays"))
        assert (stays["status"], stays["exitCode"]) == ("stopped", 5)
        assert raw(client, "stays") == b"up\nbye\n"
    service.end()


def _ended(client: httpx.Client, name: str) -> dict[str, object] | None:
    facts: dict[str, object] = client.get(f"/process/{name}").json()
    return facts if facts["completedAt"] else None


def test_keep_alive_deadline_survives_a_crash(tmp_path: Path) -> None:
    """The time limit of a keepAlive process still holds under the replacement."""
    service = LocalService(tmp_path).start()
    with service.client() as client:
        body = {"name": "kept", "command": "sleep 60", "keepAlive": True, "timeout": 1}
        client.post("/process", json=body)
    service.end(signal.SIGKILL)
    service.start()
    with service.client() as client:
        facts = until(lambda: _ended(client, "kept"))
    assert facts["status"] == "killed"
    service.end()


def test_restart_survives_a_crash(tmp_path: Path) -> None:
    """A process that waits for its restart when the service is killed is restarted all the same."""
    service = LocalService(tmp_path).start()
    body = {"name": "again", "command": "echo $V; exit 1", "env": {"V": "run"}}
    with service.client() as client:
        client.post("/process", json={**body, "restartOnFailure": True, "maxRestarts": 1})
        until(lambda: client.get("/process/again").json()["status"] == "failed")
    service.end(signal.SIGKILL)
    service.start()
    with service.client() as client:
        text = client.get("/process/again/logs/stream").text
        facts = client.get("/process/again").json()
    assert text.count("stdout:run\n") == 2
    assert (facts["status"], facts["restartCount"], facts["exitCode"]) == ("failed", 1, 1)
    service.end()


def test_a_killed_keeper_leaves_the_exit_code_unknown(service: LocalService) -> None:
    """Then the process is failed with -1, and only once it is gone."""
    with service.client() as client:
        client.post("/process", json={"name": "lone", "command": "echo on; sleep 0.5; exit 3"})
        states = service.folder / "dir" / "sandboxes" / "local" / "state"
        keeper = json.loads(next(states.glob("*.json")).read_text())["keeper"]
        os.kill(keeper, signal.SIGKILL)
        assert client.get("/process/lone").json()["status"] == "running"
        facts = until(lambda: _ended(client, "lone"))
        assert (facts["status"], facts["exitCode"], facts["stdout"]) == ("failed", -1, "on\n")


def test_commands_get_a_clean_environment(tmp_path: Path) -> None:
    """A scratch folder for home, and no credential of the user's."""
    secrets = {"BL_API_KEY": "s3cret-1", "BLACKBOX_API_KEY": "s3cret-2", "AWS_SECRET": "s3cret-3"}
    service = LocalService(tmp_path).start(**secrets)
    with service.client() as client:
        facts = run(client, "env; pwd", env={"GIVEN": "yes"})
    lines = dict(line.partition("=")[::2] for line in facts["stdout"].splitlines())
    assert "s3cret" not in facts["stdout"]
    assert service.facts["token"] not in facts["stdout"]
    assert lines["HOME"] == str(tmp_path / "dir" / "sandboxes" / "local" / "work")
    assert (lines["GIVEN"], lines["PYTHONUNBUFFERED"]) == ("yes", "1")
    service.end()


def test_sandboxes_survive_a_restart(tmp_path: Path) -> None:
    """Named sandboxes, their files and logs are still there; a deleted one's processes are not."""
    service = LocalService(tmp_path).start()
    with service.client("") as client:
        for name in ("kept", "gone"):
            client.post("/v0/sandboxes", json={"metadata": {"name": name}})
    with service.client("/sandboxes/kept") as kept:
        run(kept, "echo note > note; echo said", name="first")
    with service.client("/sandboxes/gone") as gone:
        pid = int(gone.post("/process", json={"command": "sleep 60"}).json()["pid"])
    with service.client("") as client:
        assert client.delete("/v0/sandboxes/gone").json()["status"] == "DELETING"
        assert client.get("/sandboxes/gone/process").json()["error"]["code"] == "WORKLOAD_NOT_FOUND"
    until(lambda: not Path(f"/proc/{pid}").exists())
    service.end()
    service.start()
    with service.client("") as client:
        names = [each["metadata"]["name"] for each in client.get("/v0/sandboxes").json()["data"]]
        assert names == ["kept", "local"]
    with service.client("/sandboxes/kept") as kept:
        assert kept.get("/process/first").json()["stdout"] == "said\n"
        assert run(kept, "cat note")["stdout"] == "note\n"
    service.end()
