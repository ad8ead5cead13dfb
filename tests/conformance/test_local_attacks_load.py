"""Too much of everything: bodies, heads, connections, readers that do not read.

Others are served all the while, and memory and open files are bounded.
"""

from __future__ import annotations

import contextlib
import json
import resource
import select
import socket
import time
from collections.abc import Iterator

import httpx
import psutil
import pytest

from blaxel_jupyter.local import answers, door
from blaxel_jupyter.local.live_run import BLOCK, PIECE, LiveRun, Place
from blaxel_jupyter.local.task_store import Run
from tests.attacks import PATIENCE, address, connected, head, said, sent, status
from tests.local_service import LocalService, run, until

MiB = 1024 * 1024
MANY = 1000
STREAM = "/sandboxes/local/process/big/logs/stream"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalService]:
    """A service with a long log, and a long run of a task."""
    service = LocalService(tmp_path_factory.mktemp("load")).start()
    with service.client() as client:
        run(client, "seq 2000000", name="big")
    yield service
    service.end()


@pytest.fixture(autouse=True)
def enough_descriptors() -> Iterator[None]:
    """Let this test have a thousand connections."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = 4096 if hard == resource.RLIM_INFINITY else min(hard, 4096)
    if soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def process_of(service: LocalService) -> psutil.Process:
    """Return the service's process."""
    assert service.process is not None
    return psutil.Process(service.process.pid)


def served(service: LocalService) -> None:
    """Check that an owner's request is answered, and a command runs."""
    with service.client() as client:
        assert run(client, "echo fine")["stdout"] == "fine\n"


@contextlib.contextmanager
def crowd(
    service: LocalService, request: bytes, count: int = MANY
) -> Iterator[list[socket.socket]]:
    """Open many connections, each of which sends the same bytes and reads nothing."""
    with contextlib.ExitStack() as stack:
        opened = []
        for _ in range(count):
            each = stack.enter_context(socket.socket())
            each.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            each.settimeout(PATIENCE)
            each.connect(address(service))
            with contextlib.suppress(ConnectionError):
                each.sendall(request)
            opened.append(each)
        yield opened


def closed(connections: list[socket.socket]) -> int:
    """Count those that the service has hung up on."""
    poll = select.poll()
    for each in connections:
        poll.register(each, select.POLLRDHUP)
    return sum(1 for _, event in poll.poll(0) if event & (select.POLLRDHUP | select.POLLHUP))


@pytest.mark.parametrize("line", ["Content-Length: 10737418240", "Transfer-Encoding: chunked"])
def test_huge_bodies_are_refused(service: LocalService, line: str) -> None:
    """Ten gigabytes announced: at once. Without an end: when it is too much. Nothing is kept."""
    before = process_of(service).memory_info().rss
    request = head(service, line, path="/sandboxes/local/process", method="POST")
    block = b"10000\r\n" + b" " * 65536 + b"\r\n" if "chunked" in line else b" " * 65536
    with connected(service) as connection:
        connection.sendall(request)
        with contextlib.suppress(ConnectionError):
            for _ in range(2 * answers.MAX_BODY // 65536):
                connection.sendall(block)
        assert status(said(connection)) == 413
    assert process_of(service).memory_info().rss - before < 3 * answers.MAX_BODY
    served(service)


def test_a_strangers_body_is_not_read(service: LocalService) -> None:
    """Without the token he is answered after the head, and the connection is closed under him."""
    host, port = address(service)
    request = (
        f"POST /v0/sandboxes HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Length: 1073741824\r\n\r\n"
    )
    taken = 0
    with connected(service) as connection:
        connection.sendall(request.encode())
        with contextlib.suppress(ConnectionError):
            for _ in range(1024):
                connection.sendall(b" " * 65536)
                taken += 65536
        assert status(said(connection)) in (0, 401)
    assert taken < 32 * MiB


def test_huge_heads_are_refused(service: LocalService) -> None:
    """A megabyte in one header, in the address, or in many headers: 400, and the connection is closed."""
    for lines, path in (
        ([f"X: {'a' * MiB}"], "/health"),
        ([], "/" + "a" * MiB),
        ([f"X-{n}: {'a' * 100}" for n in range(10_000)], "/health"),
    ):
        assert status(sent(service, head(service, *lines, path=path))) in (0, 400)
    served(service)


def test_a_thousand_slow_connections(service: LocalService) -> None:
    """Half a head each: few are waited for, for some seconds, and the owner is served meanwhile.

    A byte now and then makes the time no longer, on a new connection or on one that was used before;
    nor does half a body, of somebody who has the token.
    """
    files = process_of(service).num_fds()
    with crowd(service, b"GET /health HTTP/1.1\r\nHost: 127") as connections:
        served(service)
        until(lambda: closed(connections) >= MANY - door.MOST_WAITING, PATIENCE)
        assert process_of(service).num_fds() - files <= door.MOST_WAITING + 20
        assert closed(connections[-10:]) == 0  # the newest still have their time
        with connected(service) as new, connected(service) as used, connected(service) as body:
            used.sendall(head(service).replace(b"Connection: close\r\n", b""))
            assert said(used, 100).startswith(b"HTTP/1.1 200")
            body.sendall(head(service, "Content-Length: 9", path="/v0/sandboxes", method="POST"))
            body.sendall(b"{")
            began = time.monotonic()
            gone: dict[str, float] = {}
            while len(gone) < 2 and time.monotonic() - began < door.HEAD + PATIENCE:
                for name, each in (("new", new), ("used", used)):
                    if name not in gone and _drip(each):
                        gone[name] = time.monotonic() - began
                select.select([], [], [], 0.2)
            assert gone.keys() == {"new", "used"}
            assert min(gone.values()) > door.HEAD / 2
            assert closed(connections) == MANY
            body.settimeout(answers.BODY_PAUSE + PATIENCE)
            assert status(said(body)) == 408
            assert time.monotonic() - began > answers.BODY_PAUSE / 2
    until(lambda: process_of(service).num_fds() - files < 20, PATIENCE)
    served(service)


def _drip(connection: socket.socket) -> bool:
    """Send one more byte of a head; return whether the service has hung up."""
    try:
        connection.sendall(b"G")
    except ConnectionError:
        return True
    readable = select.select([connection], [], [], 0)[0]
    return bool(readable) and _ended(connection)


def _ended(connection: socket.socket) -> bool:
    try:
        return connection.recv(65536) == b""
    except ConnectionError:
        return True


def test_a_thousand_readers_that_do_not_read(service: LocalService) -> None:
    """Some hundred streams of a long log are held open, the others are told so; memory is bounded."""
    before = process_of(service).memory_info().rss
    with contextlib.ExitStack() as stack:
        first = []
        for _ in range(MANY):  # one after the other: each has shown that it is the owner's
            [each] = stack.enter_context(crowd(service, head(service, path=STREAM), 1))
            first.append(said(each, 12)[:12])
        served(service)
        assert first.count(b"HTTP/1.1 200") == answers.MOST_STREAMS
        assert first.count(b"HTTP/1.1 503") == MANY - answers.MOST_STREAMS
        grown = process_of(service).memory_info().rss - before
        print(f"{answers.MOST_STREAMS} stopped streams: {grown / MiB:.0f} MiB")
        assert grown < 300 * MiB
        with service.client() as client:
            full = client.get("/process/big/logs/stream")
            assert (full.status_code, full.headers["retry-after"]) == (503, "1")
            assert client.get("/process/big").status_code == 200
    until(lambda: process_of(service).num_fds() < 100, PATIENCE)
    with service.client() as client:
        assert client.get("/process/big/logs/stream").text.endswith("stdout:2000000\n")


def test_large_answers_that_nobody_takes(service: LocalService) -> None:
    """What waits for slow readers is bounded altogether: whoever waits longest is hung up on."""
    peak, held = _untaken(service, "/sandboxes/local/process/big/logs")
    print(f"{LARGE} answers of 8 MiB that nobody takes: {peak / MiB:.0f} MiB")
    assert held < LARGE - 10
    assert peak < 3 * door.MOST_UNTAKEN


def test_streams_of_a_long_run_that_nobody_takes(service: LocalService) -> None:
    """A reader of a stored run holds some hundred kilobytes of it, however long it is."""
    bulk = [{"type": "text-delta", "id": "m", "delta": "." * 100_000}] * 4
    call = {"toolCallId": "c{}", "toolName": "bash"}
    events = [
        event
        for number in range(50)
        for event in (
            *bulk,
            {"type": "tool-call-start", **call, "toolCallId": f"c{number}"},
        )
    ]
    prompt = "\n".join(json.dumps(each) for each in [*events, {"type": "finish"}])
    asked = {"prompt": prompt, "agent": "replay", "model": "replay/0"}
    with service.client("/api/v1") as client:
        run_id = client.post("/tasks", json=asked).json()["runId"]
        until(lambda: client.get(f"/tasks/{run_id}/status").json()["status"] == "completed", 60)
    peak, held = _untaken(service, f"/api/v1/tasks/{run_id}/logs/stream")
    print(f"{LARGE} streams of a run of 20 MB that nobody takes: {peak / MiB:.0f} MiB")
    assert held > LARGE - 10  # all are still open, give or take what others of ours have
    assert peak < 300 * MiB


LARGE = 60


def _untaken(service: LocalService, path: str) -> tuple[int, int]:
    """Ask for something many times and take nothing; return bytes and open files that this needed."""
    process = process_of(service)
    memory, files = process.memory_info().rss, process.num_fds()
    peak = 0
    with crowd(service, head(service, path=path), LARGE) as connections:
        for each in connections:
            assert said(each, 12).startswith(b"HTTP/1.1 200")
            peak = max(peak, process.memory_info().rss - memory)
        served(service)
        held = process.num_fds() - files
    until(lambda: process.num_fds() <= files + 5, PATIENCE)
    return peak, held


def test_what_a_slow_reader_missed_comes_in_pieces() -> None:
    """Of a run that goes on and has dropped its beginning: all text once, little of it at a time."""
    live = LiveRun(Run("r", "owner", "c", "m", 0), max_events=10)
    place = Place()
    wanted = ""
    for kind in ("text", "reasoning", "text"):
        for number in range(400):
            wanted += (delta := f"{number:05d}" * 1000)
            live.emit({"type": f"{kind}-delta", "id": kind, "delta": delta})
    shown = ""
    while found := live.read(place):
        assert sum(len(each.data) for each in found) < BLOCK + 2 * PIECE
        shown += "".join(json.loads(each.data).get("delta", "") for each in found)
    assert shown == wanted


def test_many_ranges_of_a_file_are_not_gathered(service: LocalService) -> None:
    """A few overlapping megabytes are one answer in parts; more is the whole file, as a stream."""
    with service.client() as client:
        path = "/filesystem/%2Fvar%2Flog%2Fsandbox-api%2Fbig.stdout.log"
        wanted = {"Accept": "application/octet-stream", "Range": "bytes=0-6000000,6000001-14000000"}
        with client.stream("GET", path, headers=wanted) as answer:
            assert answer.status_code in (200, 206)
            assert not answer.headers["content-type"].startswith("multipart")


def test_json_bombs(service: LocalService) -> None:
    """Deep, wide, long: refused or done in bounded memory, and the next request is answered."""
    before = process_of(service).memory_info().rss
    with httpx.Client(base_url=service.url, headers=service.headers, timeout=120) as client:
        for body in (
            b"[" * MiB,
            b'{"a":' * MiB,
            b"[" + b"[]," * MiB + b"1]",
            b'{"a":1' + b"0" * MiB + b"}",
        ):
            assert client.post("/sandboxes/local/process", content=body).status_code == 400
            assert client.put("/sandboxes/local/filesystem/x", content=body).status_code == 400
    assert process_of(service).memory_info().rss - before < 512 * MiB
    served(service)
