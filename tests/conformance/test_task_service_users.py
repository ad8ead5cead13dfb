"""Who may do what in the local service's task API: two users, their keys, and everybody else."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator

import httpx
import pytest

from tests.local_service import LocalService
from tests.local_tasks import OF_A_RUN, UNKNOWN, create, details, tasks


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalService]:
    """One service for this file."""
    service = LocalService(tmp_path_factory.mktemp("users")).start()
    yield service
    service.end()


@pytest.mark.parametrize("key", ["", "Bearer wrong", "Basic x", "Bearer"])
@pytest.mark.parametrize("path", ["/tasks", f"/tasks/{UNKNOWN}/logs", "/agent/status", "/nope"])
def test_unknown_keys(service: LocalService, path: str, key: str) -> None:
    """401 with the documented body, whatever is asked."""
    answer = httpx.get(f"{service.url}/api/v1{path}", headers={"Authorization": key})
    assert (answer.status_code, answer.json()) == (401, {"error": "Unauthorized"})


@pytest.mark.parametrize("header", [{"Origin": "http://localhost"}, {"Host": "evil.example"}])
def test_web_pages_are_refused(service: LocalService, header: dict[str, str]) -> None:
    """A key is not enough for a web page, nor under another host name."""
    answer = httpx.get(f"{service.url}/api/v1/tasks", headers=service.headers | header)
    assert (answer.status_code, list(answer.json())) == (403, ["error"])


@pytest.mark.parametrize("mine", ["token", "other_token"])
def test_runs_of_another_user(service: LocalService, mine: str) -> None:
    """Each of the two users sees their own runs; the other's are a 403, changed by nobody."""
    theirs = "other_token" if mine == "token" else "token"
    with tasks(service, theirs) as other, tasks(service, mine) as client:
        run_id = create(other, "$ sleep 60")
        for method, path in OF_A_RUN:
            answer = client.request(method, f"/tasks/{run_id}{path}", json={"action": "cancel"})
            assert (answer.status_code, list(answer.json())) == (403, ["error"]), path
        for path in ("/agent/status", "/agent/stream"):
            assert client.get(path, params={"runId": run_id}).status_code == 403
        listed = client.get("/tasks", params={"limit": 100}).json()["tasks"]
        assert run_id not in [task["runId"] for task in listed]
        assert details(other, run_id)["status"] in ("queued", "running")
        other.patch(f"/tasks/{run_id}", json={"action": "cancel"})


def test_second_key_opens_nothing_else(service: LocalService) -> None:
    """Sandboxes, their control plane and the health route refuse it."""
    headers = {"Authorization": f"Bearer {service.facts['other_token']}"}
    headers |= {"X-Blaxel-Authorization": headers["Authorization"]}
    for path in (
        "/health",
        "/sandboxes/local/process",
        "/v0/sandboxes",
        "//api/v1/tasks",
        "/api/v1",
    ):
        assert httpx.get(service.url + path, headers=headers).status_code == 401, path


def test_second_key_is_found_and_not_shown(service: LocalService) -> None:
    """``find`` reads it from the runtime file, also from one that has none; no repr shows it."""
    code = "from blaxel_jupyter import local; s = local.find(); print(s, s.other_token, sep='\\n')"

    def found() -> list[str]:
        command = [sys.executable, "-c", code]
        environment = service.environment()
        return subprocess.check_output(command, env=environment, text=True).splitlines()

    written = service.runtime.read_text()
    facts = service.facts
    shown, key = found()
    assert key == facts["other_token"] != facts["token"]
    assert key not in shown
    try:
        del facts["other_token"]
        service.runtime.write_text(json.dumps(facts))
        assert found()[1:] == [""]
    finally:
        service.runtime.write_text(written)
