"""The checklist of the sandbox server's own integration tests (protocol 6.3), over plain HTTP."""

from __future__ import annotations

import json
import socket
import time
import uuid
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from tests.local_service import LocalService, run, until


@pytest.fixture
def client(service: LocalService) -> Iterator[httpx.Client]:
    """A client of the sandbox ``local``."""
    with service.client() as client:
        yield client


def unique(prefix: str = "p") -> str:
    """Return a process name that no other test uses."""
    return f"{prefix}-{uuid.uuid4().hex[:8]}"


def start(client: httpx.Client, command: str, **members: Any) -> dict[str, Any]:
    """Start a command without waiting."""
    response = client.post("/process", json={"command": command, **members})
    assert response.status_code == 200, response.text
    facts: dict[str, Any] = response.json()
    return facts


def status(client: httpx.Client, name: str) -> str:
    """Return a process's status."""
    return str(client.get(f"/process/{name}").json()["status"])


def test_process_operations(client: httpx.Client) -> None:
    """Start, look up by pid and name, list, stop by name."""
    name = unique()
    started = start(client, "sleep 30", name=name)
    assert started["name"] == name
    assert started["logs"] is None
    by_name = client.get(f"/process/{name}").json()
    assert by_name == client.get(f"/process/{started['pid']}").json()
    listed = client.get("/process")
    assert listed.status_code == 200
    entry = next(each for each in listed.json() if each["name"] == name)
    assert entry["completedAt"] is None
    assert client.delete(f"/process/{name}").json() == {"message": "Process stopped successfully"}
    until(lambda: client.get(f"/process/{name}").json()["completedAt"])
    assert status(client, name) == "stopped"


@pytest.mark.parametrize(
    ("command", "expected", "code"),
    [("echo hello world", "completed", 0), ("exit 42", "failed", 42)],
)
def test_process_wait(client: httpx.Client, command: str, expected: str, code: int) -> None:
    """Waiting answers 200 with status, exit code and logs, failed or not."""
    facts = run(client, command)
    assert (facts["status"], facts["exitCode"]) == (expected, code)
    assert facts["logs"] == ("hello world\n" if code == 0 else "")


def test_long_running_process(client: httpx.Client) -> None:
    """Logs answer while it runs; after stop it is not running right away."""
    name = start(client, "echo on; sleep 30")["name"]
    assert client.get(f"/process/{name}/logs").status_code == 200
    assert client.delete(f"/process/{name}").status_code == 200
    assert status(client, name) != "running"


def test_process_kill_by_name(client: httpx.Client) -> None:
    """A generated name can be killed by."""
    name = start(client, "sleep 30")["name"]
    answer = client.delete(f"/process/{name}/kill")
    assert answer.json() == {"message": "Process killed successfully"}
    facts = until(lambda: _ended(client, name))
    assert (facts["status"], facts["exitCode"]) == ("killed", -1)


def _ended(client: httpx.Client, name: str) -> dict[str, Any] | None:
    facts: dict[str, Any] = client.get(f"/process/{name}").json()
    return facts if facts["completedAt"] else None


def test_process_output_by_name(client: httpx.Client) -> None:
    """``/logs`` has both streams apart and together."""
    name = unique()
    run(client, "echo 'test output'; echo 'test error' >&2", name=name)
    assert client.get(f"/process/{name}/logs").json() == {
        "stdout": "test output\n",
        "stderr": "test error\n",
        "logs": "test output\ntest error\n",
    }


def test_process_stream_logs(client: httpx.Client) -> None:
    """Ticks arrive live, each with its marker."""
    name = start(client, "for i in 1 2 3 4 5; do echo tick $i; sleep 0.05; done; sleep 30")["name"]
    with client.stream("GET", f"/process/{name}/logs/stream") as response:
        assert response.headers["content-type"] == "text/plain; charset=utf-8"
        lines = response.iter_lines()
        assert [next(lines) for _ in range(5)] == [f"stdout:tick {i}" for i in (1, 2, 3, 4, 5)]
    client.delete(f"/process/{name}/kill")


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (
            "for i in 1 2 3 4 5; do echo l$i; sleep 0.05; done",
            [f"stdout:l{i}" for i in range(1, 6)],
        ),
        ("echo out; sleep 0.1; echo err >&2", ["stdout:out", "stderr:err"]),
        ("echo fast", ["stdout:fast"]),
    ],
    ids=["slow", "both", "fast"],
)
def test_process_stream_logs_no_duplication(
    client: httpx.Client, command: str, expected: list[str]
) -> None:
    """The whole body, live and replayed, has each line once."""
    name = start(client, command)["name"]
    live = client.get(f"/process/{name}/logs/stream").text
    assert live.splitlines() == expected
    assert client.get(f"/process/{name}/logs/stream").text == live


def test_process_kill_with_child_processes(client: httpx.Client) -> None:
    """Kill frees the port that a child of a child holds."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    server = f"python3 -m http.server {port} --bind 127.0.0.1"
    name = start(client, f"sh -c '{server} & wait' & wait", waitForPorts=[port])["name"]
    client.delete(f"/process/{name}/kill")

    def refused() -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) != 0

    until(refused)


def test_process_restart_on_failure(client: httpx.Client) -> None:
    """Three restarts, announced in the output, then failed; one pid, one list entry."""
    name = unique()
    facts = run(client, "echo run; exit 1", name=name, restartOnFailure=True, maxRestarts=3)
    assert (facts["status"], facts["restartCount"], facts["exitCode"]) == ("failed", 3, 1)
    for count in (1, 2, 3):
        assert f"Attempting restart {count}/3" in facts["logs"]
    assert facts["stdout"].count("run\n") == 4
    entries = [each for each in client.get("/process").json() if each["name"] == name]
    assert [each["pid"] for each in entries] == [facts["pid"]]
    replay = client.get(f"/process/{name}/logs/stream").text
    assert replay.count("stdout:run\n") == 4  # a restart repeats nothing


def test_process_restart_eventual_success_preserves_environment(client: httpx.Client) -> None:
    """It stops restarting at success; the environment is there each time."""
    mark = unique("mark")
    command = f'echo "v=$V"; [ -e {mark}2 ] && exit 0; [ -e {mark}1 ] && touch {mark}2; touch {mark}1; exit 1'
    facts = run(client, command, restartOnFailure=True, maxRestarts=5, env={"V": "kept"})
    assert (facts["status"], facts["restartCount"]) == ("completed", 2)
    assert facts["stdout"].count("v=kept\n") == 3


def test_process_unlimited_restarts_can_be_stopped_in_the_pause(client: httpx.Client) -> None:
    """-1 means unlimited; a stop between two runs is the end (on the real server it is not)."""
    name = start(client, "exit 1", restartOnFailure=True, maxRestarts=-1)["name"]
    until(lambda: "1/unlimited" in client.get(f"/process/{name}/logs").json()["logs"])
    assert status(client, name) == "failed"
    assert client.delete(f"/process/{name}").status_code == 200
    assert status(client, name) == "stopped"
    assert client.get(f"/process/{name}/logs/stream").text.count("Attempting") == 1


@pytest.mark.parametrize("folder", ["/no/such/dir", "no/such"])
def test_process_non_existent_working_directory(client: httpx.Client, folder: str) -> None:
    """422 names command and folder; NDJSON says the same in an error event."""
    expected = (
        "failed to start process: could not execute command 'echo x' "
        f"because folder '{folder}' does not exist"
    )
    body = {"command": "echo x", "workingDir": folder}
    answer = client.post("/process", json=body)
    assert (answer.status_code, answer.json()) == (422, {"error": expected})
    streamed = client.post("/process", json=body, headers={"Accept": "text/event-stream"})
    assert streamed.status_code == 200
    assert json.loads(streamed.text) == {"type": "error", "data": expected}


def exec_stream(client: httpx.Client, **body: Any) -> tuple[list[dict[str, str]], dict[str, Any]]:
    """Run a command by NDJSON; return the output events and the result."""
    response = client.post("/process", json=body, headers={"Accept": "text/event-stream"})
    assert response.headers["content-type"] == "application/x-ndjson"
    events = [json.loads(line) for line in response.text.splitlines()]
    assert events[-1]["type"] == "result"
    return events[:-1], json.loads(events[-1]["data"])


def joined(events: list[dict[str, str]], stream: str) -> str:
    """Join the events of one stream."""
    return "".join(each["data"] for each in events if each["type"] == stream)


def test_process_execute_with_streaming(client: httpx.Client) -> None:
    """Output comes apart; the result has pid, status, exit code, name and both streams."""
    name = unique()
    command = "echo <one>; printf 'h\\303'; sleep 0.1; printf '\\251\\n'; echo err >&2; exit 42"
    events, result = exec_stream(client, command=command.replace("<one>", "'<one>'"), name=name)
    assert joined(events, "stdout") == "<one>\nhé\n"
    assert joined(events, "stderr") == "err\n"
    assert (result["name"], result["status"], result["exitCode"]) == (name, "failed", 42)
    assert (result["stdout"], result["stderr"]) == ("<one>\nhé\n", "err\n")
    assert result["logs"] == result["stdout"] + result["stderr"]
    assert result["pid"] == client.get(f"/process/{name}").json()["pid"]


def test_process_execute_without_accept_is_json(client: httpx.Client) -> None:
    """Without the header the answer is ordinary JSON."""
    answer = client.post("/process", json={"command": "true"})
    assert answer.headers["content-type"] == "application/json; charset=utf-8"


def test_process_execute_with_streaming_keepalive(client: httpx.Client) -> None:
    """A quiet process gives a keepalive after five seconds, and no bogus output."""
    events, _ = exec_stream(client, command="sleep 5.3")
    assert events == [{"type": "keepalive"}]


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def test_wait_for_ports_multiple(client: httpx.Client) -> None:
    """It waits for both, and both can be called on return."""
    one, two = _free_ports(2)
    program = (
        "import socket,time\n"
        f"a=socket.create_server(('',{one}))\n"
        "time.sleep(0.3)\n"
        f"b=socket.create_server(('',{two}))\n"
        "time.sleep(60)\n"
    )
    name = start(client, f'python3 -c "{program}"', waitForPorts=[one, two], timeout=20)["name"]
    for port in (one, two):
        socket.create_connection(("127.0.0.1", port)).close()
    client.delete(f"/process/{name}/kill")


def test_wait_for_ports_timeout(client: httpx.Client) -> None:
    """422 after the timeout, in both forms; the process goes on."""
    (port,) = _free_ports(1)
    name, body = unique(), {"command": "sleep 30", "waitForPorts": [port], "timeout": 1}
    answer = client.post("/process", json={**body, "name": name})
    text = "process timed out waiting for ports after 1 seconds"
    assert (answer.status_code, answer.json()) == (422, {"error": text})
    assert status(client, name) == "running"
    other = unique()
    headers = {"Accept": "text/event-stream"}
    streamed = client.post("/process", json={**body, "name": other}, headers=headers)
    assert json.loads(streamed.text) == {"type": "error", "data": text}
    for each in (name, other):
        client.delete(f"/process/{each}/kill")


def test_process_timeout_with_wait_for_completion(client: httpx.Client) -> None:
    """422 in time; still running by name; then killed."""
    name, begun = unique(), time.monotonic()
    body = {"command": "sleep 30", "name": name, "waitForCompletion": True, "timeout": 1}
    answer = client.post("/process", json=body)
    assert 1 <= time.monotonic() - begun < 3
    assert (answer.status_code, answer.json()["error"]) == (
        422,
        "process timed out after 1 seconds",
    )
    assert status(client, name) == "running"
    client.delete(f"/process/{name}/kill")
    assert status(client, name) == "killed"


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("cd / && pwd", "/\n"),
        ("export A=1; echo $A", "1\n"),
        ("alias ll=ls; type cd >/dev/null && echo ok", "ok\n"),
        ("echo 'echo sourced' > s.sh; . ./s.sh", "sourced\n"),
        ("echo a b | wc -w | tr -d ' '", "2\n"),
        ("true && echo yes; false || echo no", "yes\nno\n"),
        ('echo "$(echo inner)"', "inner\n"),
        ("(echo back; echo ground) & wait", "back\nground\n"),
        ("""printf '%s|' "a b" 'c"d'""", 'a b|c"d|'),
    ],
)
def test_shell_wrapper(client: httpx.Client, command: str, expected: str) -> None:
    """Commands are the shell's: builtins, pipes, lists, substitution, jobs, quoting."""
    facts = run(client, command)
    assert (facts["exitCode"], facts["stdout"]) == (0, expected)
