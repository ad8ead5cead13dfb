"""Who is let into the local service: nobody without the token, no page, and nobody under another name."""

from __future__ import annotations

import hmac
import inspect
import socket
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from blaxel_jupyter.local.guard import Guard
from tests.attacks import address, connected, head, said, sent, status
from tests.local_service import LocalService, program, run

PATHS = (
    "/",
    "/health",
    "/docs",
    "/openapi.json",
    "/v0/sandboxes",
    "/sandboxes/local/process",
    "/sandboxes/local/filesystem/%2Fetc%2Fpasswd",
    "/sandboxes/local/watch/filesystem/%2Fvar%2Flog%2Fsandbox-api",
    "/api/v1/tasks",
    "/api/v1/agent/stream?runId=x",
    "//sandboxes/local/process",
    "/api/v1/../../sandboxes/local/process",
)
METHODS = ("GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "HEAD", "BREW")


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalService]:
    """One service for this file, started as a notebook does it, so that it has a log."""
    service = LocalService(tmp_path_factory.mktemp("attacks"))
    child = program(service, "local.ensure()")
    assert child.wait(60) == 0, child.communicate()[0]
    assert child.stdout is not None
    child.stdout.close()
    yield service
    stopped = program(service, "local.stop()")
    stopped.communicate(timeout=60)


def serve_log(service: LocalService) -> Path:
    """Return where the service's messages go."""
    return next((service.folder / "state").glob("blaxel-jupyter/*/serve.log"))


@pytest.mark.parametrize("path", PATHS)
def test_every_route_is_closed_without_the_token(service: LocalService, path: str) -> None:
    """Whatever the method: 401, nothing said of what is there, and the connection is closed."""
    host, port = address(service)
    for method in METHODS:
        for key in ("", "Authorization: Bearer \r\n", "Authorization: Bearer wrong\r\n"):
            given = f"{method} {path} HTTP/1.1\r\nHost: {host}:{port}\r\n{key}\r\n"
            answer = sent(service, given.encode())
            assert status(answer) in (401, 400), (method, answer)
            assert b"connection: close" in answer.lower()
            for told in (b"access-control", b"server:", b"Traceback", str(service.folder).encode()):
                assert told.lower() not in answer.lower()


def test_docs_are_not_there_for_the_owner_either(service: LocalService) -> None:
    """No schema, no page, no redirect to one; and no header that lets a page read."""
    with service.client("") as client:
        for path in ("/", "/docs", "/redoc", "/openapi.json", "/favicon.ico", "/static/x"):
            answer = client.get(path)
            assert (answer.status_code, answer.text) == (404, "404 page not found")
        answer = client.options("/sandboxes/local/process")
        assert (answer.status_code, "allow" in answer.headers) == (404, False)
        assert not any(name.startswith("access-control") for name in answer.headers)


def test_a_token_in_the_url_is_refused_and_never_logged(service: LocalService) -> None:
    """In the query, in the path, as user name: refused; the log holds no part of it."""
    token, (host, port) = service.facts["token"], address(service)
    for path in (f"/health?token={token}", f"/health?access_token={token}", f"/{token}/health"):
        assert httpx.get(f"{service.url}{path}").status_code == 401
    user = httpx.get(f"http://owner:{token}@{host}:{port}/health")
    assert user.status_code == 401  # Basic, not Bearer
    sent(service, f"GET /\0?token={token} HTTP/1.1\r\n\r\n".encode())
    assert token[:12] not in serve_log(service).read_text()


def test_bad_requests_do_not_fill_the_log(service: LocalService) -> None:
    """A stranger's garbage costs no byte of the owner's disk."""
    before = serve_log(service).stat().st_size
    for garbage in (b"\0\0\0\0\r\n\r\n", b"GET / HTTP/x\r\n\r\n", b"\x16\x03\x01\x02\0\r\n\r\n"):
        for _ in range(40):
            assert status(sent(service, garbage)) == 400
    upgrade = head(service, "Connection: Upgrade", "Upgrade: websocket")
    for _ in range(40):
        assert status(sent(service, upgrade)) == 200  # no WebSocket here: an ordinary request
    assert serve_log(service).stat().st_size == before


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:{port}",
        "127.0.0.1",
        "localhost",
        "127.0.0.1:{other}",
        "127.0.0.1:{port}.evil.example",
        "127.0.0.1:{port}@evil.example",
        "evil.example@127.0.0.1:{port}",
        "127.0.0.1.evil.example:{port}",
        "127.0.0.2:{port}",
        "0.0.0.0:{port}",
        "[::1]:{port}",
        "127.1:{port}",
        "2130706433:{port}",
        "localhost.:{port}",
        "127.0.0.1:0{port}",
        "127.0.0.1: {port}",
        "",
    ],
)
def test_other_names_of_the_service_are_refused(service: LocalService, host: str) -> None:
    """DNS rebinding: a page under a name of its own reaches the port, but is told nothing."""
    name, port = address(service)
    given = head(service).replace(
        f"Host: {name}:{port}".encode(), f"Host: {host.format(port=port, other=port + 1)}".encode()
    )
    assert status(sent(service, given)) in (400, 403)
    again = given.replace(b"/health", b"/api/v1/tasks")
    assert status(sent(service, again)) in (400, 403)


def test_absent_doubled_and_forwarded_hosts(service: LocalService) -> None:
    """A request without Host or with two is refused; forwarded names count for nothing."""
    host, port = address(service)
    ours = f"Host: {host}:{port}\r\n".encode()
    plain = head(service)
    assert status(sent(service, plain)) == 200
    assert status(sent(service, plain.replace(ours, b""))) == 400
    assert status(sent(service, plain.replace(ours, b"").replace(b"HTTP/1.1", b"HTTP/1.0"))) == 403
    for two in (ours + b"Host: evil.example\r\n", b"Host: evil.example\r\n" + ours):
        assert status(sent(service, plain.replace(ours, two))) in (400, 403)
    for name in (b"X-Forwarded-Host", b"X-Host", b"Forwarded", b"X-Original-URL"):
        foreign = b"Host: evil.example\r\n" + name + b": 127.0.0.1:%d\r\n" % port
        assert status(sent(service, plain.replace(ours, foreign))) == 403
    assert status(sent(service, head(service, "X-Forwarded-Host: evil.example"))) == 200


def test_absolute_addresses_are_refused(service: LocalService) -> None:
    """The form that proxies are asked with: the name in it could be any."""
    host, port = address(service)
    for target in (f"http://evil.example:{port}/health", f"http://{host}:{port}/health", "*"):
        assert status(sent(service, head(service, path=target))) == 403


@pytest.mark.parametrize(
    "line",
    [
        "Origin: http://localhost:8888",
        "Origin: null",
        "Origin: ",
        "Sec-Fetch-Site: same-origin",
        "Sec-Fetch-Dest: script",
    ],
)
def test_pages_are_refused_even_with_the_token(service: LocalService, line: str) -> None:
    """Whatever a browser adds to a page's request gives it away, in both APIs."""
    for path in ("/health", "/sandboxes/local/process", "/api/v1/tasks", "/proof?challenge=x"):
        answer = sent(service, head(service, line, path=path))
        assert status(answer) == 403
        assert b"web pages are refused" in answer


def test_what_node_adds_does_no_harm(service: LocalService) -> None:
    """Its fetch is a program's, with one header that else only browsers send."""
    assert status(sent(service, head(service, "Sec-Fetch-Mode: cors", "Accept-Language: *"))) == 200


def test_keys_are_compared_in_constant_time(service: LocalService) -> None:
    """By ``hmac.compare_digest``; a key with a right beginning takes no longer than one without."""
    for check in (Guard._no_owner, Guard._no_user):
        assert "hmac.compare_digest" in inspect.getsource(check)
        assert "==" not in inspect.getsource(check).replace("len(given) == 1", "")
    token = service.facts["token"]
    taken: dict[str, list[float]] = {token[:-1] + "_": [], "_" + token[1:]: []}
    with httpx.Client(base_url=service.url) as client:
        for _ in range(40):
            for key, times in taken.items():
                began = time.perf_counter()
                assert client.get("/x", headers={"Authorization": f"Bearer {key}"}).is_error
                times.append(time.perf_counter() - began)
    early, late = (statistics.median(times) for times in taken.values())
    assert max(early, late) < 5 * min(early, late)  # both the same noise, no order of magnitude


def test_keys_that_are_no_text(service: LocalService) -> None:
    """Bytes of any kind in the header are a wrong key, not an error."""
    for key in (
        b"\xff\xfe",
        b"Bearer \xc3\xa9",
        b"Bearer " + b"a" * 10_000,
        b"Bearer\t",
        b"Basic x",
    ):
        given = head(service).replace(f"Bearer {service.facts['token']}".encode(), key)
        assert status(sent(service, given)) in (400, 401)


def test_the_service_proves_itself_without_the_token(service: LocalService) -> None:
    """Anybody may have a challenge signed; the signature is the token's, and not the token."""
    token = service.facts["token"]
    answer = httpx.get(f"{service.url}/proof?challenge=abc")
    signed = hmac.new(token.encode(), b"/proof abc", "sha256").hexdigest()
    assert (answer.status_code, answer.text) == (200, signed)
    assert httpx.get(f"{service.url}/proof").status_code == 200
    strange = sent(service, head(service, path="/proof?challenge=%FF%00" + "x" * 9000))
    assert status(strange) == 200
    assert token.encode() not in strange


@pytest.mark.parametrize(
    "lines",
    [
        ["Content-Length: 5", "Content-Length: 50"],
        ["Content-Length: 5", "Transfer-Encoding: chunked"],
        ["Transfer-Encoding: xchunked"],
        ["Transfer-Encoding: chunked, identity"],
        ["Content-Length: -5"],
        ["Content-Length: +5"],
        ["Content-Length: 0x5"],
        ["Content-Length : 5"],
        ["X: a\r\n folded", "Content-Length: 5\n"],
        ["Bad Name: x"],
        ["X: a\0b"],
    ],
)
def test_requests_that_two_readers_read_differently(
    service: LocalService, lines: list[str]
) -> None:
    """One answer at most, then the connection is closed: no second request hides in the body."""
    hidden = head(service, path="/v0/sandboxes", method="DELETE")
    given = head(service, *lines, path="/sandboxes/local/process", method="POST")
    answer = sent(service, given + b"0\r\n\r\n" + hidden)
    assert answer.count(b"HTTP/1.1 ") <= 1
    assert status(answer) in (0, 400, 411, 501), answer


def test_line_ends_and_odd_requests(service: LocalService) -> None:
    """Half requests, wrong versions, no request at all: refused or ended, and others are served."""
    for given in (
        b"GET\r\n\r\n",
        b"GET /health\r\n\r\n",
        b"GET /health HTTP/2.0\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET /he alth HTTP/1.1\r\n\r\n",
        b"GET /\xc3\xa9 HTTP/1.1\r\n\r\n",
        b"\r\n" * 30 + b"GET",
        b"A" * 70_000,
    ):
        with connected(service) as connection:
            connection.sendall(given)
            connection.shutdown(socket.SHUT_WR)
            assert status(said(connection)) in (0, 400, 403)
    with service.client("") as client:
        assert client.get("/health").status_code == 200


def test_run_ids_cannot_be_guessed(service: LocalService) -> None:
    """Random ones: version 4, no two with a common beginning."""
    with service.client("/api/v1") as client:
        made = [client.post("/tasks", json={"prompt": "hi"}).json() for _ in range(6)]
    for name in ("runId", "chatId"):
        ids = [each[name] for each in made]
        assert all(each[14] == "4" for each in ids)
        assert len({each[:8] for each in ids}) == len(ids)


def test_errors_hold_nothing_of_the_inside(service: LocalService) -> None:
    """Wrong bodies of every kind: a status below 500, no traceback and no path of the package."""
    bodies = (b"{", b"[]", b"null", b'"x"', b"\xff", b"[" * 100_000, b'{"a":' * 50_000, b"9" * 5000)
    routes = (
        ("POST", "/sandboxes/local/process"),
        ("PUT", "/sandboxes/local/filesystem/x"),
        ("POST", "/v0/sandboxes"),
        ("POST", "/api/v1/tasks"),
    )
    with service.client("") as client:
        for method, path in routes:
            for body in bodies:
                answer = client.request(method, path, content=body)
                assert 400 <= answer.status_code < 500, (path, body[:9], answer.text)
                for told in ("Traceback", "site-packages", "blaxel_jupyter/", 'File "'):
                    assert told not in answer.text
        compressed = client.post(
            "/sandboxes/local/process",
            content=b"\x1f\x8b\x08\0" + bytes(100),
            headers={"Content-Encoding": "gzip"},
        )
        assert compressed.status_code == 400  # taken as it is: nothing is unpacked


def test_the_owner_is_served_all_the_while(service: LocalService) -> None:
    """After all this, a command runs."""
    with service.client() as client:
        assert run(client, "echo fine")["stdout"] == "fine\n"
    assert "Traceback" not in serve_log(service).read_text()
