"""File routes and names: no spelling of a path leads out of the sandbox, and no name breaks anything."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest

from tests.attacks import head, sent, status
from tests.local_service import LOGS, LocalService, run

SECRET = "a secret outside of the sandbox"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalService]:
    """A service with a secret beside its state folder, and links that lead there."""
    service = LocalService(tmp_path_factory.mktemp("paths")).start()
    (service.folder / "dir" / "secret").write_text(SECRET)
    with service.client() as client:
        out = service.folder / "dir"
        run(client, f"ln -s {out} out; ln -s {out}/secret link; mkdir in; ln -s ../out in/up")
        run(
            client,
            "ln -s loop loop; ln -s pool1 pool; ln -s pool pool1; mkfifo pipe; echo x > file",
        )
        run(client, "echo said", name="log")
    yield service
    service.end()


@pytest.fixture
def client(service: LocalService) -> Iterator[httpx.Client]:
    """A client of the sandbox ``local``."""
    with service.client() as client:
        yield client


def spellings(service: LocalService) -> list[str]:
    """Return ways to write a path, as they stand in the URL, that would reach the secret."""
    top = str(service.folder / "dir" / "secret")
    work = str(service.folder / "dir" / "sandboxes" / "local" / "work")
    up = "../../../secret"
    plain = [
        up,
        "/" + up,
        f"{work}/{up}",
        f"/var/log/sandbox-api/../../../{top}",
        f"/tmp/blaxel-jupyter-x/../..{top}",
        top,
        "/" + top,
        f"./{up}",
        "in/../" + up,
        "out/secret",
        "in/up/secret",
        "link",
        f"/proc/self/root{top}",
        f"/proc/self/cwd/{top}",
        f"file:{top}",
        f"~/{up}",
        f"{work}\0/../{up}",
        top + "\0.txt",
    ]
    encoded = [quote(path, safe=kept) for path in plain for kept in ("", "/")]
    odd = [
        "%2e%2e%2f%2e%2e%2f%2e%2e%2fsecret",
        "..%2f..%2f..%2fsecret",
        "%252e%252e%252f%252e%252e%252f%252e%252e%252fsecret",
        "..%252f..%252f..%252fsecret",
        "..%5c..%5c..%5csecret",
        "..\\..\\..\\secret",
        "%c0%ae%c0%ae/%c0%ae%c0%ae/%c0%ae%c0%ae/secret",
        "%e0%80%ae%e0%80%ae/secret",
        "%uff0e%uff0e/secret",
        quote("．．/．．/．．/secret"),
        quote("‥/‥/‥/secret"),
        "....//....//....//secret",
        "..;/..;/..;/secret",
        ".%00./.%00./.%00./secret",
        "%2e%2e/%2e%2e/%2e%2e/secret?download=true",
    ]
    return encoded + odd


def test_no_spelling_of_a_path_leads_out(service: LocalService) -> None:
    """Read, written, made a folder, deleted: refused or not there, and the secret is as it was."""
    secret = service.folder / "dir" / "secret"
    tried = 0
    for path in spellings(service):
        for method, body in (("GET", b""), ("PUT", b'{"content":"x"}'), ("DELETE", b"")):
            target = f"/sandboxes/local/filesystem/{path}"
            lines = [f"Content-Length: {len(body)}", "Accept: application/octet-stream"]
            answer = sent(service, head(service, *lines, path=target, method=method) + body)
            assert SECRET.encode() not in answer, (method, path)
            assert status(answer) in (200, 400, 403, 404, 422, 500), (method, path, answer)
            assert b"Internal Server Error" not in answer
            assert secret.read_text() == SECRET, (method, path)
            tried += 1
    assert tried > 100
    outside = {each.name for each in (service.folder / "dir").iterdir()}
    assert outside <= {"sandboxes", "secret", "serve.lock", *_database()}


def _database() -> set[str]:
    return {f"tasks.sqlite3{end}" for end in ("", "-wal", "-shm")}


@pytest.mark.parametrize("path", ["loop", "pool", "loop/x", "pipe", "in/up", "out"])
def test_links_and_pipes_are_not_followed(client: httpx.Client, path: str) -> None:
    """A link in a circle, a pipe that nobody writes, a link to a folder: answered at once."""
    for method in ("GET", "PUT"):
        answer = client.request(method, f"/filesystem/{path}", json={"content": "x"})
        assert answer.status_code in (403, 404, 422, 500), (method, answer.text)
        assert "error" in answer.json()


def test_logs_belong_to_their_processes(client: httpx.Client) -> None:
    """Not written, not deleted, no folder made among them, not even further down."""
    before = {each["name"] for each in client.get(LOGS).json()["files"]}
    for path in ("log.stdout.log", "new", "a%2Fb", "a%2Fb%2Fc"):
        for body in ({"content": "x"}, {"isDirectory": True}):
            assert client.put(f"{LOGS}%2F{path}", json=body).status_code == 403
        assert client.delete(f"{LOGS}%2F{path}").status_code == 403
    listed = client.get(LOGS).json()
    assert ({each["name"] for each in listed["files"]}, listed["subdirectories"]) == (before, [])


NAMES = [
    ".",
    "..",
    "...",
    " ",
    "-rf",
    "a b",
    "a\nb",
    "a\r\nX-Injected: yes",
    "\t",
    "\x7f",
    "\x1b[31m",
    "é",
    "e\u0301",
    "\u202egnp.exe",
    "😀",
    "%2e%2e",
    "%00",
    "a%2Fb",
    "a\\b",
    "a;b",
    "a'b\"c",
    "$(touch x)",
    "`id`",
    "*",
    "CON",
    "x" * 240,
    "\ud800",
]


@pytest.mark.parametrize("name", NAMES)
def test_strange_process_names_are_names(client: httpx.Client, name: str) -> None:
    """A name that a file can have is taken as it is, found again, and harms nobody."""
    body = f'{{"command": "echo fine", "waitForCompletion": true, "name": {_json(name)}}}'
    facts = client.post("/process", content=body.encode()).json()
    assert (facts["status"], facts["stdout"]) == ("completed", "fine\n")
    assert facts["name"] == name.replace("\ud800", "\ufffd")
    path = quote(facts["name"], safe="")
    in_url = facts["pid"] if path in (".", "..") else path  # which a client would resolve
    found = client.get(f"/process/{in_url}/logs")
    assert (found.status_code, found.json()["stdout"]) == (200, "fine\n")
    assert "x-injected" not in found.headers
    file = client.get(f"{LOGS}%2F{path}.stdout.log", headers={"Accept": "application/octet-stream"})
    assert (file.status_code, file.content) == (200, b"fine\n")
    assert "x-injected" not in file.headers


def _json(text: str) -> str:
    return '"' + "".join(f"\\u{unit:04x}" for unit in _units(text)) + '"'


def _units(text: str) -> Iterator[int]:
    data = text.encode("utf-16-be", "surrogatepass")
    yield from (data[at] << 8 | data[at + 1] for at in range(0, len(data), 2))


@pytest.mark.parametrize("name", ["a/b", "../up", "/etc/passwd", "a\0b", "x" * 300, "é" * 150])
def test_names_that_are_no_file_name_are_refused(client: httpx.Client, name: str) -> None:
    """With the real server's words, and nothing is left behind."""
    answer = client.post("/process", json={"command": "true", "name": name})
    assert answer.status_code == 422
    assert answer.json()["error"].startswith("failed to start process: open ")


@pytest.mark.parametrize(
    "name",
    [
        "..",
        ".",
        "",
        "a/b",
        "../x",
        "A",
        "ä",
        "a b",
        "a\n",
        "\n",
        "-a",
        "a-",
        "a" * 50,
        "a\0",
        "a.b",
    ],
)
def test_bad_sandbox_names(service: LocalService, name: str) -> None:
    """Refused where one is made, unknown where one is used; no folder is made for it."""
    folder = service.folder / "dir" / "sandboxes"
    before = sorted(each.name for each in folder.iterdir())
    with service.client("") as client:
        if name:
            made = client.post("/v0/sandboxes", json={"metadata": {"name": name}})
            assert made.status_code == 400
        for path in (
            f"/sandboxes/{quote(name, safe='')}/process",
            f"/v0/sandboxes/{quote(name, safe='')}",
        ):
            answer = sent(service, head(service, path=path))
            assert (
                status(answer) in (200, 404) if name in ("", ".", "..") else status(answer) == 404
            )
    assert sorted(each.name for each in folder.iterdir()) == before


def test_long_paths_and_deep_ones(client: httpx.Client) -> None:
    """An error of the file system, in the API's shape; nothing is made on the way."""
    for path in ("x" * 300, "/".join("d" * 900), "x/" * 500 + "y"):
        got = client.get(f"/filesystem/{path}")
        assert got.status_code in (404, 500)
        assert "error" in got.json()
        put = client.put(f"/filesystem/{path}", json={"content": "x"})
        assert put.status_code in (200, 422)


@pytest.mark.parametrize("mode", ["777", "4755", "0", "-1", "99", "x", "7" * 5000])
def test_modes_of_uploads(service: LocalService, client: httpx.Client, mode: str) -> None:
    """Only permission bits; what is no octal number is refused."""
    answer = client.put("/filesystem/moded", json={"content": "x", "permissions": mode})
    path = service.folder / "dir" / "sandboxes" / "local" / "work" / "moded"
    if answer.status_code == 200:
        assert os.stat(path).st_mode & 0o7000 == 0
        path.unlink()
    else:
        assert answer.status_code == 400


def test_a_recording_is_a_regular_file(service: LocalService) -> None:
    """A pipe, a device or a folder as recording is refused at once; the service does not wait for it."""
    pipe = service.folder / "dir" / "sandboxes" / "local" / "work" / "pipe"
    assert Path(pipe).is_fifo()
    with service.client("/api/v1") as client:
        for prompt in (str(pipe), "/dev/zero", "/dev/tty", "/", "/proc/self/mem", "x" * 5000):
            answer = client.post("/tasks", json={"prompt": prompt, "agent": "replay"}, timeout=20)
            assert answer.status_code == 400, prompt
