"""Processes of the local service: exact output, whole groups, names, every error row."""

from __future__ import annotations

import functools
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from tests.local_service import LocalService, raw, run, until


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalService]:
    """One service for this file."""
    service = LocalService(tmp_path_factory.mktemp("processes")).start()
    yield service
    service.end()


@pytest.fixture
def client(service: LocalService) -> Iterator[httpx.Client]:
    """A client of the sandbox ``local``."""
    with service.client() as client:
        yield client


def start(client: httpx.Client, command: str, **members: Any) -> dict[str, Any]:
    """Start a command without waiting."""
    response = client.post("/process", json={"command": command, **members})
    assert response.status_code == 200, response.text
    facts: dict[str, Any] = response.json()
    return facts


def ended(client: httpx.Client, name: str) -> dict[str, Any] | None:
    """Return the facts of a process once it has ended."""
    facts: dict[str, Any] = client.get(f"/process/{name}").json()
    return facts if facts["completedAt"] else None


OUTPUTS = {
    "invalid UTF-8": b"a\xff\xfe\nb\xc3\nc\xe2\x82\n",
    "NUL": b"a\0b\n\0\n",
    "CRLF and lone CR": b"a\r\nb\rc\n",
    "empty lines": b"\n\n\na\n\n",
    "no final newline": b"a\nb",
    "nothing": b"",
    "look-alikes": b"stdout:a\nstderr:b\n[keepalive]\nx[keepalive]\n",
    "line breaks of others": "a\u2028b\x0bc\x85d\n".encode(),
    "5 MB line": b"x" * 5_000_000 + b"\nend\n",
    "70 KB without newline": b"y" * 70_000,
}


@pytest.mark.parametrize("data", OUTPUTS.values(), ids=OUTPUTS)
def test_exact_output(client: httpx.Client, service: LocalService, data: bytes) -> None:
    """What was written is in the raw file, the live stream and the replay, byte by byte."""
    client.get("/process")  # the sandbox is made when it is first asked for
    scratch = service.folder / "dir" / "sandboxes" / "local" / "work"
    (scratch / "data").write_bytes(data)
    name = start(client, "sleep 0.1; cat data")["name"]
    live = client.get(f"/process/{name}/logs/stream").content
    replay = client.get(f"/process/{name}/logs/stream").content
    assert raw(client, name) == data
    assert raw(client, name, "stderr") == b""
    assert unmarked(live) == data
    assert unmarked(replay) == data


def unmarked(body: bytes) -> bytes:
    """Take the marker off the start of each line of a one-stream log."""
    lines = body.split(b"\n")
    assert all(line.startswith(b"stdout:") for line in lines if line)
    return b"\n".join(line.removeprefix(b"stdout:") for line in lines)


def test_partial_lines_of_both_streams(client: httpx.Client) -> None:
    """No marker stands inside a line, and each line has its own stream's."""
    command = (
        "printf par; sleep 0.1; printf err >&2; sleep 0.1; printf 'tial\\n';"
        "sleep 0.1; echo or >&2; printf 'last out'; printf 'last err' >&2"
    )
    name = start(client, command)["name"]
    expected = "stdout:partial\nstderr:error\nstdout:last out\nstderr:last err"
    assert client.get(f"/process/{name}/logs/stream").text == expected
    assert client.get(f"/process/{name}/logs/stream").text == expected


def test_tails_are_cut_and_say_so(client: httpx.Client) -> None:
    """64 KiB in GET, 4 MiB in logs and in the waiting answer, after the truncation line."""
    mark = "[... truncated, see the process log file for the full output ...]\n"
    facts = run(client, "head -c 5000000 /dev/zero | tr '\\0' x; echo end >&2", name="cut")
    for text, size in (
        (facts["stdout"], 4 << 20),
        (client.get("/process/cut/logs").json()["stdout"], 4 << 20),
        (client.get("/process/cut").json()["stdout"], 64 << 10),
    ):
        assert text == mark + "x" * size
    assert client.get("/process/cut").json()["logs"].endswith("x" + "end\n")


def test_order_of_streams_is_kept_for_replay(client: httpx.Client) -> None:
    """A replay has both streams in the order in which they were written."""
    command = "for i in 1 2 3 4 5; do echo o$i; sleep 0.02; echo e$i >&2; sleep 0.02; done"
    name = run(client, command)["name"]
    lines = client.get(f"/process/{name}/logs/stream").text.split()
    assert lines == [f"{s}:{s[3]}{i}" for i in (1, 2, 3, 4, 5) for s in ("stdout", "stderr")]


@pytest.mark.parametrize("verb", ["", "/kill"])
def test_signals_reach_the_whole_group(client: httpx.Client, verb: str) -> None:
    """Children of children go, too."""
    name = start(client, "sh -c 'sleep 60 & echo $!; wait' & echo $!; wait")["name"]
    until(lambda: raw(client, name).count(b"\n") == 2)
    pids = [int(pid) for pid in raw(client, name).split()]
    assert client.delete(f"/process/{name}{verb}").status_code == 200
    facts = until(lambda: ended(client, name))
    assert (facts["status"], facts["exitCode"]) == ("killed" if verb else "stopped", -1)
    for pid in pids:
        until(functools.partial(gone, pid))


def gone(pid: int) -> bool:
    """Whether a process has ended."""
    return not alive(pid)


def alive(pid: int) -> bool:
    """Whether a process runs (a zombie does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_stop_is_not_final_for_one_that_goes_on(client: httpx.Client) -> None:
    """Stopped at once, ended later; a second stop is refused, kill works; the name is free."""
    name = start(client, "trap '' TERM; echo on; while :; do sleep 0.02; done")["name"]
    until(lambda: raw(client, name))
    assert client.delete(f"/process/{name}").status_code == 200
    facts = client.get(f"/process/{name}").json()
    assert (facts["status"], facts["completedAt"], facts["exitCode"]) == ("stopped", "", 0)
    again = client.delete(f"/process/{name}")
    assert (again.status_code, again.json()) == (
        404,
        {"error": f"process with Identifier {name} is not running"},
    )
    assert run(client, "echo new", name=name)["stdout"] == "new\n"
    assert raw(client, name) == b"new\n"
    old = facts["pid"]
    assert client.delete(f"/process/{old}/kill").status_code == 200
    assert until(lambda: ended(client, old))["status"] == "killed"


def test_stop_handled_with_exit_0_is_completed(client: httpx.Client) -> None:
    """As the real server has it."""
    command = "trap 'echo bye; exit 0' TERM; echo on; while :; do sleep 0.02; done"
    name = start(client, command)["name"]
    until(lambda: raw(client, name))
    client.delete(f"/process/{name}")
    facts = until(lambda: ended(client, name))
    assert (facts["status"], facts["exitCode"], facts["stdout"]) == ("completed", 0, "on\nbye\n")


@pytest.mark.parametrize("number", [9, 11, 15])
def test_death_by_signal_is_failed_with_minus_1(client: httpx.Client, number: int) -> None:
    """A signal from elsewhere is a failure."""
    facts = run(client, f"printf part; kill -{number} $$")
    assert (facts["status"], facts["exitCode"], facts["stdout"]) == ("failed", -1, "part")


def test_finished_process_and_what_it_left(client: httpx.Client) -> None:
    """Stop and kill are refused; but kill gets what is left of its group, status unchanged."""
    name = run(client, "true")["name"]
    stop, kill = client.delete(f"/process/{name}"), client.delete(f"/process/{name}/kill")
    assert stop.json() == {"error": f"process with Identifier {name} is not running"}
    assert kill.json() == {
        "error": f"failed to kill process with Identifier {name}: no such process"
    }
    assert (stop.status_code, kill.status_code) == (404, 404)
    left = run(client, "sleep 60 & echo $!")
    pid = int(left["stdout"])
    assert alive(pid)
    assert client.delete(f"/process/{left['name']}/kill").status_code == 200
    until(lambda: not alive(pid))
    assert client.get(f"/process/{left['name']}").json()["status"] == "completed"


def test_background_child_writes_on(client: httpx.Client) -> None:
    """Status and stream end with the shell; what comes later is in the logs."""
    name = start(client, "(sleep 0.4; echo late) & echo first")["name"]
    assert client.get(f"/process/{name}/logs/stream").text == "stdout:first\n"
    assert client.get(f"/process/{name}").json()["status"] == "completed"
    until(lambda: raw(client, name) == b"first\nlate\n")
    assert client.get(f"/process/{name}/logs").json()["logs"] == "first\nlate\n"


@pytest.mark.parametrize(
    ("method", "path", "status", "text"),
    [
        ("GET", "/process/{}", 404, "process not found"),
        ("GET", "/process/{}/logs", 404, "process with PID {} not found"),
        ("GET", "/process/{}/logs/stream", 200, "process with Identifier {} not found"),
        ("DELETE", "/process/{}", 404, "process with Identifier {} not found"),
        ("DELETE", "/process/{}/kill", 404, "process with Identifier {} not found"),
    ],
)
@pytest.mark.parametrize("name", ["nope", "999999"])
def test_unknown_process(
    client: httpx.Client, method: str, path: str, status: int, text: str, name: str
) -> None:
    """Each route in its own words."""
    answer = client.request(method, path.format(name))
    assert (answer.status_code, answer.json()) == (status, {"error": text.format(name)})


@pytest.mark.parametrize("path", ["/nope", "/process/a%2Fb", "/process/a/b"])
def test_unknown_route_and_method(client: httpx.Client, path: str) -> None:
    """A text 404, never a 405."""
    for answer in (client.get(path), client.patch("/process"), client.put("/process/a")):
        assert (answer.status_code, answer.text) == (404, "404 page not found")


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"{not json", "invalid request body: "),
        (b"[]", "invalid request body: "),
        (b'{"name":"x"}', "'Command' failed on the 'required' tag"),
        (b'{"command":""}', "'Command' failed on the 'required' tag"),
        (b'{"command":3}', "invalid request body: "),
        (b'{"command":"x","env":{"A":1}}', "invalid request body: "),
        (b'{"command":"x","timeout":"1"}', "invalid request body: "),
        (b'{"command":"x","maxRestarts":true}', "invalid request body: "),
        (b'{"command":"x","waitForPorts":[99999]}', "invalid request body: "),
        (b"[" * 100_000, "invalid request body: "),
    ],
)
def test_bad_requests(client: httpx.Client, body: bytes, text: str) -> None:
    """400, also where NDJSON was asked for."""
    for accept in ("application/json", "text/event-stream"):
        answer = client.post("/process", content=body, headers={"Accept": accept})
        assert answer.status_code == 400
        assert text in answer.json()["error"]


@pytest.mark.parametrize(
    ("members", "text"),
    [
        ({"workingDir": "/etc/hostname"}, "fork/exec /bin/sh: not a directory"),
        ({"name": "a/b"}, "no such file or directory"),
        ({"name": "../x"}, "no such file or directory"),
        ({"name": "n" * 250}, "file name too long"),
        ({"name": "a\0b"}, "invalid argument"),
        ({"command": "a\0b"}, "invalid argument"),
        ({"env": {"A": "a\0b"}}, "invalid argument"),
        ({"env": {"A=B": "c"}}, "invalid argument"),
    ],
)
def test_cannot_start(client: httpx.Client, members: dict[str, Any], text: str) -> None:
    """422 with the reason, and no entry."""
    before = len(client.get("/process").json())
    answer = client.post("/process", json={"command": "true", **members})
    assert answer.status_code == 422, answer.text
    assert answer.json()["error"].startswith("failed to start process: ")
    assert text in answer.json()["error"]
    assert len(client.get("/process").json()) == before


def test_command_not_found_is_no_error_of_the_request(client: httpx.Client) -> None:
    """The shell's 127."""
    facts = run(client, "nosuchcommand --x")
    assert (facts["status"], facts["exitCode"]) == ("failed", 127)
    assert "not found" in facts["stderr"]


def test_working_dir_forms(client: httpx.Client) -> None:
    """``~`` is the scratch folder, doubled slashes are one."""
    home = run(client, "pwd")["stdout"]
    assert run(client, "pwd", workingDir="~")["stdout"] == home
    facts = run(client, "pwd", workingDir="//tmp//")
    assert (facts["workingDir"], facts["stdout"]) == ("/tmp/", "/tmp\n")


def test_running_name_is_taken(client: httpx.Client) -> None:
    """400 in both forms, and nothing is started."""
    name = start(client, "sleep 60")["name"]
    for accept in ("application/json", "text/event-stream"):
        body = {"command": "true", "name": name}
        answer = client.post("/process", json=body, headers={"Accept": accept})
        assert answer.status_code == 400
        error = f"process with name '{name}' already exists and is running"
        assert answer.json() == {"error": error}
    client.delete(f"/process/{name}/kill")


def test_reused_name_starts_new_logs(client: httpx.Client) -> None:
    """The second run has its own output everywhere; the first keeps its own, by pid."""
    first = run(client, "printf 'first unterminated'", name="again")
    second = run(client, "echo second", name="again")
    assert raw(client, "again") == b"second\n"
    assert client.get("/process/again/logs/stream").text == "stdout:second\n"
    assert client.get("/process/again").json()["pid"] == second["pid"]
    old = client.get(f"/process/{first['pid']}").json()
    assert old["stdout"] == "first unterminated"
    stream = client.get(f"/process/{first['pid']}/logs/stream").text
    assert stream == "stdout:first unterminated"


@pytest.mark.parametrize(
    "name", ["with blank", "50%", "a?b#c", "ünï", ".", "..", "-", "4242424", "007"]
)
def test_odd_names(client: httpx.Client, name: str) -> None:
    """Any name that is one file name works, percent-encoded; numbers, too."""
    run(client, "echo hi", name=name)
    quoted = "".join(f"%{byte:02X}" for byte in name.encode())
    assert client.get(f"/process/{quoted}/logs").json()["stdout"] == "hi\n"
    assert raw(client, quoted) == b"hi\n"


def test_many_readers_each_get_everything(client: httpx.Client, service: LocalService) -> None:
    """Twenty live readers, one that never reads, and a fast answer beside them."""
    count = 200_000
    name = start(client, f"sleep 0.3; seq 1 {count}; sleep 0.3")["name"]
    expected = "".join(f"stdout:{i}\n" for i in range(1, count + 1))

    def read() -> bool:
        with service.client() as reader:
            return reader.get(f"/process/{name}/logs/stream").text == expected

    with (
        client.stream("GET", f"/process/{name}/logs/stream"),  # a client that does not read
        ThreadPoolExecutor(20) as pool,
        service.client() as other,
    ):
        readers = [pool.submit(read) for _ in range(20)]
        begun = time.monotonic()
        assert other.get(f"/process/{name}").status_code == 200
        assert run(other, "echo quick")["stdout"] == "quick\n"
        assert time.monotonic() - begun < 5
        assert all(reader.result(60) for reader in readers)


def test_readers_that_hang_up_are_forgotten(client: httpx.Client, service: LocalService) -> None:
    """Clients that stop in the middle of 100 MB hold nobody up, and leave no open file behind."""
    running = psutil.Process(service.facts["pid"])
    name = start(client, "yes | head -c 100000000; sleep 60")["name"]
    until(lambda: log_size(client, name) == 100_000_000)
    before = running.num_fds()
    begun = time.monotonic()
    for _ in range(10):
        with service.client() as other, other.stream("GET", f"/process/{name}/logs/stream") as body:
            next(body.iter_raw())
    assert client.get(f"/process/{name}").status_code == 200
    assert time.monotonic() - begun < 5
    until(lambda: running.num_fds() <= before)
    assert running.memory_info().rss < 250_000_000
    client.delete(f"/process/{name}/kill")


def log_size(client: httpx.Client, name: str) -> int:
    """Return the size of a process's stdout file."""
    files = client.get("/filesystem/%2Fvar%2Flog%2Fsandbox-api").json()["files"]
    return next((int(f["size"]) for f in files if f["name"] == f"{name}.stdout.log"), 0)


def test_lines_are_live(client: httpx.Client, service: LocalService) -> None:
    """A line is with the client in milliseconds: no polling delay."""
    code = "import time\nfor i in range(50): print(time.time(), flush=True); time.sleep(0.01)"
    name = f"live-{uuid.uuid4().hex[:8]}"
    release = threading.Event()
    delays: list[float] = []

    def read() -> None:
        with service.client() as reader:
            until(lambda: reader.get(f"/process/{name}").status_code == 200)
            with reader.stream("GET", f"/process/{name}/logs/stream") as response:
                release.set()
                for line in response.iter_lines():
                    delays.append(time.time() - float(line.removeprefix("stdout:")))

    thread = threading.Thread(target=read)
    thread.start()
    start(client, f'sleep 0.3; python3 -c "{code}"', name=name)
    thread.join(30)
    assert release.is_set()
    assert len(delays) == 50
    assert sorted(delays)[25] < 0.02


def test_hang_up_leaves_the_process(client: httpx.Client) -> None:
    """A client that goes away in the middle of NDJSON changes nothing; it is found by name."""
    name = f"drop-{uuid.uuid4().hex[:8]}"
    body = {"command": "echo one; sleep 0.5; echo two", "name": name}
    headers = {"Accept": "text/event-stream"}
    with client.stream("POST", "/process", json=body, headers=headers) as response:
        next(response.iter_lines())
    facts = until(lambda: ended(client, name))
    assert (facts["status"], facts["stdout"]) == ("completed", "one\ntwo\n")


def test_keep_alive_default_and_answer(client: httpx.Client) -> None:
    """The answer says what was asked for; killed in time, a waiting one is a 422."""
    assert run(client, "true", keepAlive=True)["keepAlive"] is True
    assert run(client, "true")["keepAlive"] is False
    body = {"command": "sleep 60", "name": "overdue", "keepAlive": True, "timeout": 1}
    answer = client.post("/process", json=body | {"waitForCompletion": True})
    assert answer.status_code == 422
    assert answer.json() == {"error": "process timed out after 1 seconds"}
    assert until(lambda: ended(client, "overdue"))["status"] == "killed"
