"""File routes of the local service: protocol 4.9's table, the watch, and what is refused."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.local_service import LOGS, LocalService, raw, run, until

DATA = b"0123456789abcdefghij\n"
DOWNLOAD = {"Accept": "application/octet-stream"}
FILE = f"{LOGS}%2Frng.stdout.log"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalService]:
    """One service for this file, with the processes of the captured scenario ``raw_ranges``."""
    service = LocalService(tmp_path_factory.mktemp("files")).start()
    with service.client() as client:
        run(client, r"printf '0123456789abcdefghij\n'; printf e1 >&2", name="rng")
    yield service
    service.end()


@pytest.fixture
def client(service: LocalService) -> Iterator[httpx.Client]:
    """A client of the sandbox ``local``."""
    with service.client() as client:
        yield client


@pytest.fixture
def scratch(service: LocalService) -> Path:
    """The folder in which commands run."""
    return service.folder / "dir" / "sandboxes" / "local" / "work"


@pytest.mark.parametrize(
    ("wanted", "content_range", "body"),
    [
        ("bytes=0-", "bytes 0-20/21", DATA),
        ("bytes=5-", "bytes 5-20/21", DATA[5:]),
        ("bytes=20-", "bytes 20-20/21", b"\n"),
        ("bytes=2-4", "bytes 2-4/21", b"234"),
        ("bytes=15-99", "bytes 15-20/21", DATA[15:]),
        ("bytes=-3", "bytes 18-20/21", DATA[-3:]),
        ("bytes=-999", "bytes 0-20/21", DATA),
    ],
)
def test_range(client: httpx.Client, wanted: str, content_range: str, body: bytes) -> None:
    """206 with the part that is there."""
    answer = client.get(FILE, headers={**DOWNLOAD, "Range": wanted})
    assert (answer.status_code, answer.content) == (206, body)
    assert answer.headers["content-range"] == content_range
    assert answer.headers["content-length"] == str(len(body))
    assert answer.headers["accept-ranges"] == "bytes"
    assert answer.headers["content-type"].startswith("text/plain")
    assert "last-modified" in answer.headers


@pytest.mark.parametrize(
    ("wanted", "content_range", "body"),
    [
        ("bytes=21-", "bytes */21", b"invalid range: failed to overlap\n"),
        ("bytes=500-", "bytes */21", b"invalid range: failed to overlap\n"),
        ("bytes=abc", None, b"invalid range\n"),
        ("bytes=-", None, b"invalid range\n"),
        ("bytes=5-4", None, b"invalid range\n"),
        ("lines=0-1", None, b"invalid range\n"),
    ],
)
def test_range_416(
    client: httpx.Client, wanted: str, content_range: str | None, body: bytes
) -> None:
    """416 where there is nothing, without the headers of a file."""
    answer = client.get(FILE, headers={**DOWNLOAD, "Range": wanted})
    assert (answer.status_code, answer.content) == (416, body)
    assert answer.headers.get("content-range") == content_range
    assert not {"accept-ranges", "last-modified", "cache-control"} & set(answer.headers)


def test_several_ranges(client: httpx.Client) -> None:
    """206 in parts."""
    answer = client.get(FILE, headers={**DOWNLOAD, "Range": "bytes=0-1,5-6"})
    assert answer.status_code == 206
    kind, _, boundary = answer.headers["content-type"].partition("; boundary=")
    assert kind == "multipart/byteranges"
    parts = answer.content.split(b"--" + boundary.encode())
    assert b"Content-Range: bytes 5-6/21" in parts[2]
    assert parts[2].endswith(b"\r\n\r\n56\r\n")


def test_empty_file_is_200_whatever_the_range(client: httpx.Client) -> None:
    """An empty file has no range to be outside of."""
    run(client, "true", name="rng0")
    for headers in ({}, {"Range": "bytes=0-"}, {"Range": "bytes=5-"}):
        answer = client.get(f"{LOGS}%2Frng0.stdout.log", headers=DOWNLOAD | headers)
        assert (answer.status_code, answer.headers["content-length"]) == (200, "0")


def test_conditional_headers(client: httpx.Client) -> None:
    """If-Range and If-Modified-Since compare with the file's date."""
    date = client.get(FILE, headers=DOWNLOAD).headers["last-modified"]
    old = "Mon, 01 Jan 2024 00:00:00 GMT"
    part = {**DOWNLOAD, "Range": "bytes=5-"}
    assert client.get(FILE, headers=part | {"If-Range": date}).status_code == 206
    assert client.get(FILE, headers=part | {"If-Range": old}).content == DATA
    assert client.get(FILE, headers=DOWNLOAD | {"If-Modified-Since": date}).status_code == 304


@pytest.mark.parametrize("accept", ["application/json", "*/*", ""])
def test_json_mode(client: httpx.Client, accept: str) -> None:
    """Without a download's Accept: the whole file in JSON, Range ignored."""
    answer = client.get(FILE, headers={"Accept": accept, "Range": "bytes=5-"})
    facts = answer.json()
    assert answer.status_code == 200
    assert facts["path"] == "/var/log/sandbox-api/rng.stdout.log"
    assert (facts["size"], facts["content"]) == (21, DATA.decode())


def test_other_ways_to_download(client: httpx.Client) -> None:
    """``text/plain``, ``?download=true`` and a doubled slash do as well."""
    part = {"Range": "bytes=5-"}
    double = "/filesystem//var/log/sandbox-api/rng.stdout.log"
    assert client.get(FILE, headers=part | {"Accept": "text/plain"}).content == DATA[5:]
    assert client.get(FILE + "?download=true", headers=part).content == DATA[5:]
    assert client.get(double, headers=part | DOWNLOAD).content == DATA[5:]


def test_missing_file_and_head(client: httpx.Client) -> None:
    """404 in the sandbox's words; HEAD is 200 for everything, without a length."""
    answer = client.get(f"{LOGS}%2Fmissing.log", headers=DOWNLOAD)
    assert answer.status_code == 404
    assert answer.json() == {
        "error": "stat /var/log/sandbox-api/missing.log: no such file or directory"
    }
    for path in (FILE, f"{LOGS}%2Fmissing.log", "/process/nope"):
        head = client.head(path)
        assert head.status_code == 200
        assert "content-length" not in head.headers


def test_listing(client: httpx.Client) -> None:
    """The log folder's listing has every file's size."""
    files = {each["name"]: each for each in client.get(LOGS).json()["files"]}
    assert files["rng.stdout.log"]["size"] == 21
    assert files["rng.stderr.log"]["path"] == "/var/log/sandbox-api/rng.stderr.log"


def test_big_download_is_a_snapshot(client: httpx.Client) -> None:
    """Tens of megabytes come exactly; what is written meanwhile comes with the next request."""
    command = "head -c 30000000 /dev/zero; while :; do echo more; done"
    name = client.post("/process", json={"command": command}).json()["name"]
    headers = {**DOWNLOAD, "Range": "bytes=1-"}
    path = f"{LOGS}%2F{name}.stdout.log"

    def grown() -> bool:
        answer = client.get(path, headers={**DOWNLOAD, "Range": "bytes=30000001-30000004"})
        return answer.status_code == 206 and len(answer.content) == 4

    until(grown)
    answer = client.get(path, headers=headers)
    client.delete(f"/process/{name}/kill")
    assert len(answer.content) == int(answer.headers["content-length"]) > 30_000_000
    assert answer.content[:29_999_999] == bytes(29_999_999)
    assert set(answer.content[29_999_999:].split(b"\n")[:-1]) == {b"more"}


@pytest.mark.parametrize(
    "path",
    [
        "%2Fetc%2Fpasswd",
        "/etc/passwd",
        "..%2F..%2Fsandbox.json",
        "%2Fvar%2Flog%2Fsandbox-api%2F..%2Fstate",
        "a%2F..%2F..%2Fb",
        "%2Ftmp%2Fblaxel-jupyter-a%2Fb",
        "%2Ftmp%2Fother",
        "%2Fproc%2Fself%2Fenviron",
        "leak",
        "leaks%2Fpasswd",
        "pipe",
        "%2Fvar%2Flog%2Fsandbox-api%2Fleak.stdout.log",
    ],
)
def test_refused_paths(client: httpx.Client, scratch: Path, path: str) -> None:
    """No way out of the scratch folder: not by dots, escapes, links or special files."""
    run(
        client,
        "ln -sf /etc/passwd leak; ln -sfn /etc leaks; [ -p pipe ] || mkfifo pipe;"
        "ln -sf /etc/passwd ../logs/leak.stdout.log",
    )
    answer = client.get(f"/filesystem/{path}", headers=DOWNLOAD)
    assert answer.status_code == 403, answer.text
    assert isinstance(answer.json()["error"], str)
    if path != "pipe":
        written = client.put(f"/filesystem/{path}", json={"content": "x"})
        assert written.status_code == 403
    assert "root:" in Path("/etc/passwd").read_text()


def test_scratch_files(client: httpx.Client, scratch: Path) -> None:
    """Written, read and removed by relative or absolute path."""
    answer = client.put("/filesystem/a/b.txt", json={"content": "é\n", "permissions": "0640"})
    assert answer.status_code == 200, answer.text
    path = scratch / "a" / "b.txt"
    assert path.read_text() == "é\n"
    assert path.stat().st_mode & 0o777 == 0o640
    absolute = "/filesystem/" + str(path).replace("/", "%2F")
    assert client.get(absolute, headers=DOWNLOAD).text == "é\n"
    assert client.delete(absolute).status_code == 200
    assert client.delete(absolute).status_code == 404
    assert client.put("/filesystem/x", content=b"[]").status_code == 400


def test_shared_files_are_new_and_private(client: httpx.Client) -> None:
    """``/tmp/blaxel-jupyter-*``: mode 0600, never over an existing file or a link."""
    path = Path(f"/tmp/blaxel-jupyter-{uuid.uuid4().hex}")
    url = f"/filesystem/%2Ftmp%2F{path.name}"
    asked = {"content": "echo hi\n", "permissions": "0777"}
    try:
        assert client.put(url, json=asked).status_code == 200
        assert path.stat().st_mode & 0o777 == 0o600
        assert run(client, f"sh {path}")["stdout"] == "hi\n"
        refused = client.put(url, json=asked)
        assert (refused.status_code, "file exists" in refused.text) == (422, True)
        assert client.delete(url).status_code == 200
        path.symlink_to("/etc/passwd")
        assert client.put(url, json=asked).status_code == 422
        assert client.get(url, headers=DOWNLOAD).status_code != 200
    finally:
        path.unlink(missing_ok=True)


def test_logs_are_not_written_by_clients(client: httpx.Client) -> None:
    """A log file can be read, not replaced or deleted."""
    assert client.put(FILE, json={"content": "x"}).status_code == 403
    assert client.delete(FILE).status_code == 403
    assert raw(client, "rng") == DATA


def test_process_stat(client: httpx.Client) -> None:
    """200 while the process lives, 404 after."""
    pid = client.post("/process", json={"command": "sleep 60"}).json()["pid"]
    path = f"/filesystem/%2Fproc%2F{pid}%2Fstat"
    assert client.get(path).json()["content"].startswith(f"{pid} (")
    client.delete(f"/process/{pid}/kill")
    until(lambda: client.get(path).status_code == 404)
    assert client.get("/filesystem/%2Fproc%2F1%2Fstat").status_code == 404


def test_watch(client: httpx.Client, service: LocalService) -> None:
    """One line for each file that changes, from the moment the head has arrived."""
    name, other = f"w-{uuid.uuid4().hex[:8]}", f"o-{uuid.uuid4().hex[:8]}"
    seen: list[dict[str, object]] = []
    with client.stream("GET", f"/watch{LOGS}?ignore=/{other},nothing") as response:
        assert response.headers["content-type"] == "text/plain; charset=utf-8"
        with service.client() as writer:
            for each in (other, name):
                run(writer, "echo a; sleep 0.1; echo b >&2; sleep 0.1; echo c", name=each)
        for line in response.iter_lines():
            seen.append(json.loads(line))
            if sum(each["op"] == "WRITE" for each in seen) == 3:
                break
    assert {(each["path"], each["error"]) for each in seen} == {("/var/log/sandbox-api", None)}
    assert [(each["op"], each["name"]) for each in seen] == [
        ("CREATE", f"{name}.stdout.log"),
        ("CREATE", f"{name}.stderr.log"),
        ("WRITE", f"{name}.stdout.log"),
        ("WRITE", f"{name}.stderr.log"),
        ("WRITE", f"{name}.stdout.log"),
    ]


def test_watch_of_another_folder(client: httpx.Client) -> None:
    """Only the log folder is watched."""
    answer = client.get("/watch/filesystem/%2Fno%2Fsuch")
    assert (answer.status_code, answer.json()) == (400, {"error": "path is not a directory"})


def test_flood_costs_the_watch_little(client: httpx.Client, service: LocalService) -> None:
    """100,000 writes give events by the hundred, not one each."""
    lines: list[str] = []
    ready = threading.Event()

    def watch() -> None:
        with service.client() as watcher, watcher.stream("GET", f"/watch{LOGS}") as response:
            ready.set()
            for line in response.iter_lines():
                lines.append(line)
                if "end.stdout.log" in line and "WRITE" in line:
                    return

    thread = threading.Thread(target=watch)
    thread.start()
    ready.wait(10)
    code = "import os\nfor i in range(100000): os.write(1, b'x\\n')"
    facts = run(client, f'python3 -c "{code}"')
    run(client, "echo end", name="end")
    thread.join(10)
    assert not thread.is_alive()
    assert len(raw(client, facts["name"])) == 200_000
    assert len(lines) < 5_000
